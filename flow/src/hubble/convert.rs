//! A record as a `flow.Flow`.

use std::net::IpAddr;

use weir_proto::flow::{
    self, CiliumEventType, Emitter, Flow, FlowType, Ip, IpVersion, Layer4, Policy, TcpFlags,
    TraceReason, TrafficDirection, layer4,
};
use weir_proto::types::BoolValue;

use super::event::{Event, TracePoint, drop_reason, match_type, sub_type};
use super::labels::labels;
use super::summary::{protocol, summary};
use super::{CLUSTER, extension, node_name};
use crate::sides::Side;
use crate::{Direction, EndpointKind, PolicyRef, Record, Rule, Verdict};

/// Whether a flow carries `weir.v1.FlowExtension`.
///
/// Hubble's CLI cannot print a message with an extension whose type it does not know as JSON (protojson refuses it),
/// so it is sent only to clients that ask for it by [`super::EXTENSION_HEADER`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// With it: the record can be read back.
    Attached,
    /// Without it.
    Omitted,
}

/// The flow that a record is to Hubble's clients.
#[allow(
    deprecated,
    reason = "clients still read drop_reason, reply and Summary"
)]
pub fn to_flow(record: &Record, extension: Extension) -> Flow {
    let (source, destination) = (record.source(), record.destination());
    let event = Event::of(record);
    let dropped = record.verdict == Verdict::Dropped;
    let drop_number = if dropped {
        drop_reason(record.reason).number
    } else {
        0
    };
    let mut flow = Flow {
        time: Some(record.time.into()),
        uuid: uuid(record),
        verdict: verdict_number(record.verdict) as i32,
        drop_reason: drop_number.unsigned_abs(),
        drop_reason_desc: drop_number,
        ip: ip(record, &source, &destination),
        l4: layer4(record, &source, &destination),
        source: Some(endpoint(&source)),
        destination: Some(endpoint(&destination)),
        r#type: FlowType::L3L4 as i32,
        node_name: record.node.to_string(),
        source_names: names(&source),
        destination_names: names(&destination),
        event_type: Some(CiliumEventType {
            r#type: event.number(),
            sub_type: sub_type(record),
        }),
        source_service: service(&source),
        destination_service: service(&destination),
        traffic_direction: direction_number(record.direction) as i32,
        is_reply: (!dropped).then_some(BoolValue { value: false }),
        emitter: Some(Emitter {
            name: "weir".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }),
        summary: summary(record),
        policy_log: policy_log(record),
        ..Flow::default()
    };
    match event {
        Event::PolicyVerdict => flow.policy_match_type = match_type(record).number,
        Event::Trace => {
            flow.trace_observation_point = TracePoint::of(record.direction).observation_point;
            flow.trace_reason = TraceReason::Established as i32;
        }
        Event::Drop => {}
    }
    policies(record, &mut flow);
    if extension == Extension::Attached {
        flow.extensions = Some(extension::write(record));
    }
    flow
}

/// The same for the same record: a name of (node, flow id, record number), in the form of a UUID (version 8, RFC 9562).
/// Several nodes may share one kernel, and thus its boot.
pub fn uuid(record: &Record) -> String {
    let (boot, serial) = (record.id.boot.to_be_bytes(), record.id.serial.to_be_bytes());
    let number = record.number.to_be_bytes();
    let bytes = boot.iter().chain(&serial).chain(&number);
    let hash = fnv1a(bytes.chain(record.node.as_bytes()).copied());
    let hash = hash & !(0xf << 76) | (0x8 << 76);
    let hash = hash & !(0b11 << 62) | (0b10 << 62);
    let text = format!("{hash:032x}");
    let (a, b) = (&text[..8], &text[8..12]);
    let (c, d, e) = (&text[12..16], &text[16..20], &text[20..]);
    format!("{a}-{b}-{c}-{d}-{e}")
}

/// FNV-1a with 128 bits: stable for ever, unlike the hashers of hash maps.
fn fnv1a(bytes: impl Iterator<Item = u8>) -> u128 {
    bytes.fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    })
}

/// Hubble's verdict.
pub const fn verdict_number(verdict: Verdict) -> flow::Verdict {
    match verdict {
        Verdict::Forwarded => flow::Verdict::Forwarded,
        Verdict::Dropped => flow::Verdict::Dropped,
        Verdict::Audit => flow::Verdict::Audit,
    }
}

/// Hubble's direction.
pub const fn direction_number(direction: Direction) -> TrafficDirection {
    match direction {
        Direction::Ingress => TrafficDirection::Ingress,
        Direction::Egress => TrafficDirection::Egress,
    }
}

fn ip(record: &Record, source: &Side<'_>, destination: &Side<'_>) -> Option<Ip> {
    let version = match record.local_ip {
        IpAddr::V4(_) => IpVersion::IPv4,
        IpAddr::V6(_) => IpVersion::IPv6,
    };
    record.ethertype.is_none().then(|| Ip {
        source: source.ip.to_string(),
        destination: destination.ip.to_string(),
        ip_version: version as i32,
        ..Ip::default()
    })
}

fn layer4(record: &Record, source: &Side<'_>, destination: &Side<'_>) -> Option<Layer4> {
    let (source_port, destination_port) = (source.port.into(), destination.port.into());
    let icmp = record
        .icmp
        .map_or((0, 0), |icmp| (icmp.kind.into(), icmp.code.into()));
    let protocol = match record.protocol {
        protocol::TCP => layer4::Protocol::Tcp(flow::Tcp {
            source_port,
            destination_port,
            flags: Some(tcp_flags(record.opener_tcp_flags())),
        }),
        protocol::UDP => layer4::Protocol::Udp(flow::Udp {
            source_port,
            destination_port,
        }),
        protocol::SCTP => layer4::Protocol::Sctp(flow::Sctp {
            source_port,
            destination_port,
        }),
        protocol::ICMP => layer4::Protocol::IcmPv4(flow::IcmPv4 {
            r#type: icmp.0,
            code: icmp.1,
        }),
        protocol::ICMPV6 => layer4::Protocol::IcmPv6(flow::IcmPv6 {
            r#type: icmp.0,
            code: icmp.1,
        }),
        protocol::IGMP => layer4::Protocol::Igmp(flow::Igmp::default()),
        protocol::VRRP => layer4::Protocol::Vrrp(flow::Vrrp::default()),
        _ => return None,
    };
    Some(Layer4 {
        protocol: Some(protocol),
    })
}

fn tcp_flags(bits: u8) -> TcpFlags {
    let set = |bit: u8| bits & bit != 0;
    TcpFlags {
        fin: set(0x01),
        syn: set(0x02),
        rst: set(0x04),
        psh: set(0x08),
        ack: set(0x10),
        urg: set(0x20),
        ece: set(0x40),
        cwr: set(0x80),
        ns: false,
    }
}

fn endpoint(side: &Side<'_>) -> flow::Endpoint {
    let endpoint = side.endpoint;
    let pod = matches!(endpoint.kind, EndpointKind::Pod | EndpointKind::Unknown);
    let in_cluster = endpoint.kind != EndpointKind::World;
    let workloads = endpoint.workload.iter().map(|workload| flow::Workload {
        name: workload.name.to_string(),
        kind: workload.kind.to_string(),
    });
    flow::Endpoint {
        identity: endpoint.identity,
        cluster_name: if in_cluster { CLUSTER } else { "" }.to_owned(),
        namespace: endpoint.namespace.to_string(),
        labels: labels(endpoint).map(|label| label.to_string()).collect(),
        pod_name: if pod { &endpoint.name } else { "" }.to_owned(),
        workloads: workloads.collect(),
        ..flow::Endpoint::default()
    }
}

fn names(side: &Side<'_>) -> Vec<String> {
    node_name(side.endpoint)
        .map(ToString::to_string)
        .into_iter()
        .collect()
}

fn service(side: &Side<'_>) -> Option<flow::Service> {
    let endpoint = side.endpoint;
    let (name, namespace) = match side.service {
        Some(service) => (&service.name, &service.namespace),
        None if endpoint.kind == EndpointKind::Service => (&endpoint.name, &endpoint.namespace),
        None => return None,
    };
    Some(flow::Service {
        name: name.to_string(),
        namespace: namespace.to_string(),
    })
}

/// The four lists of policies: by direction, the one that allowed, or those that isolate and so denied by default.
fn policies(record: &Record, flow: &mut Flow) {
    let (allowed, denied) = match record.direction {
        Direction::Ingress => (&mut flow.ingress_allowed_by, &mut flow.ingress_denied_by),
        Direction::Egress => (&mut flow.egress_allowed_by, &mut flow.egress_denied_by),
    };
    match &*record.rule {
        Rule::Policy {
            policy,
            direction,
            index,
        } => {
            let mut policy = hubble_policy(policy, record.revision);
            policy
                .labels
                .push(format!("weir:rule={direction}[{index}]"));
            if record.verdict == Verdict::Dropped {
                denied.push(policy);
            } else {
                allowed.push(policy);
            }
        }
        Rule::None if record.verdict == Verdict::Forwarded => {}
        Rule::None => {
            let isolating = record.isolated_by.iter();
            denied.extend(isolating.map(|policy| hubble_policy(policy, record.revision)));
        }
    }
}

fn hubble_policy(policy: &PolicyRef, revision: u64) -> Policy {
    let label = |key: &str, value: &str| format!("k8s:io.cilium.k8s.policy.{key}={value}");
    Policy {
        name: policy.name.to_string(),
        namespace: policy.namespace.to_string(),
        labels: vec![
            label("derived-from", &policy.kind),
            label("name", &policy.name),
            label("namespace", &policy.namespace),
        ],
        revision,
        kind: policy.kind.to_string(),
    }
}

fn policy_log(record: &Record) -> Vec<String> {
    let miss = record.nearest_miss.iter();
    miss.map(|miss| format!("nearest miss: {miss}")).collect()
}
