//! `weir.v1.FlowExtension`: what `flow.Flow` has no field for.

use prost::Message;
use weir_proto::types::Any;
use weir_proto::weir::v1;

use crate::{PolicyRef, Record, Rule, Tally};

/// Metadata key of a `GetFlows` request by which a client asks for the extension; any value.
pub const EXTENSION_HEADER: &str = "weir-flow-extension";

/// `type_url` of the extension.
pub const EXTENSION_TYPE: &str = "type.googleapis.com/weir.v1.FlowExtension";

pub(super) fn write(record: &Record) -> Any {
    Any {
        type_url: EXTENSION_TYPE.to_owned(),
        value: message(record).encode_to_vec().into(),
    }
}

fn message(record: &Record) -> v1::FlowExtension {
    let counts = &record.counts;
    v1::FlowExtension {
        id: Some(v1::FlowId {
            boot: record.id.boot,
            serial: record.id.serial,
        }),
        record_number: record.number,
        kind: record.kind.as_str().to_owned(),
        reason: record.reason.as_str().to_owned(),
        rule: rule(&record.rule),
        isolated_by: record.isolated_by.iter().map(policy).collect(),
        nearest_miss: record
            .nearest_miss
            .as_deref()
            .unwrap_or_default()
            .to_owned(),
        revision: record.revision,
        mode: record.mode.as_str().to_owned(),
        first_seen: Some(record.first_seen.into()),
        last_seen: Some(record.last_seen.into()),
        egress: tally(&counts.egress),
        ingress: tally(&counts.ingress),
        egress_dropped: tally(&counts.egress_dropped),
        ingress_dropped: tally(&counts.ingress_dropped),
        tcp_flags_egress: record.tcp_flags.egress.into(),
        tcp_flags_ingress: record.tcp_flags.ingress.into(),
        end: record.end.map_or("", |end| end.as_str()).to_owned(),
        source_nat_suspected: record.source_nat_suspected,
        service: record.service.as_ref().map(|service| v1::ServiceRef {
            namespace: service.namespace.to_string(),
            name: service.name.to_string(),
        }),
        protocol: record.protocol.into(),
        ethertype: record.ethertype.map_or(0, u32::from),
        local_kind: record.local.kind.as_str().to_owned(),
        remote_kind: record.remote.kind.as_str().to_owned(),
    }
}

fn rule(rule: &Rule) -> Option<v1::RuleRef> {
    match rule {
        Rule::None => None,
        Rule::Policy {
            policy,
            direction,
            index,
        } => Some(v1::RuleRef {
            policy: Some(self::policy(policy)),
            direction: direction.as_str().to_owned(),
            index: *index,
        }),
    }
}

fn policy(policy: &PolicyRef) -> v1::PolicyRef {
    v1::PolicyRef {
        kind: policy.kind.to_string(),
        namespace: policy.namespace.to_string(),
        name: policy.name.to_string(),
    }
}

fn tally(tally: &Tally) -> Option<v1::Tally> {
    (*tally != Tally::default()).then_some(v1::Tally {
        packets: tally.packets,
        bytes: tally.bytes,
        segments: tally.segments,
    })
}
