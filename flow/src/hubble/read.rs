//! A `flow.Flow` with its extension as a record.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use prost::{DecodeError, Message};
use weir_proto::flow::{self, Flow, layer4};
use weir_proto::weir::v1;

use super::extension::EXTENSION_TYPE;
use super::labels;
use crate::{
    Counts, Direction, EndReason, Endpoint, EndpointKind, FlowId, Icmp, Mode, PolicyRef, Reason,
    Record, RecordKind, Rule, ServiceRef, Tally, TcpFlags, Timestamp, Verdict, Workload,
};

/// A flow is not one that [`super::to_flow`] made with its extension.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It comes from elsewhere, or the extension was not asked for.
    #[error("the flow carries no {EXTENSION_TYPE}")]
    NoExtension,
    /// The extension is damaged.
    #[error("reading {EXTENSION_TYPE}: {0}")]
    Extension(#[from] DecodeError),
    /// A field is missing or outside its vocabulary.
    #[error("flow field {field}: unknown value {value:?}")]
    Field {
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
    },
}

fn field<T>(
    field: &'static str,
    value: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T, ReadError> {
    parse(value).ok_or_else(|| ReadError::Field {
        field,
        value: value.to_owned(),
    })
}

/// The record that a flow was made of.
///
/// # Errors
/// The flow has no extension, or one that is not understood.
pub fn from_flow(flow: &Flow) -> Result<Record, ReadError> {
    let any = flow.extensions.as_ref();
    let any = any.filter(|any| any.type_url == EXTENSION_TYPE);
    let any = any.ok_or(ReadError::NoExtension)?;
    let extension = v1::FlowExtension::decode(any.value.clone())?;
    let direction = direction(flow)?;
    let (source, destination) = sides(flow)?;
    let (local, remote) = match direction {
        Direction::Egress => (source, destination),
        Direction::Ingress => (destination, source),
    };
    let id = extension.id.unwrap_or_default();
    let end = extension.end.as_str();
    let miss = extension.nearest_miss.as_str();
    Ok(Record {
        time: time(flow.time.as_ref()),
        id: FlowId {
            boot: id.boot,
            serial: id.serial,
        },
        number: extension.record_number,
        kind: field("kind", &extension.kind, RecordKind::parse)?,
        first_seen: time(extension.first_seen.as_ref()),
        last_seen: time(extension.last_seen.as_ref()),
        node: flow.node_name.as_str().into(),
        local: local.endpoint(&extension.local_kind)?,
        remote: remote.endpoint(&extension.remote_kind)?,
        service: extension.service.as_ref().map(service),
        local_ip: local.ip,
        remote_ip: remote.ip,
        local_port: local.port,
        remote_port: remote.port,
        icmp: icmp(flow),
        protocol: number("protocol", extension.protocol)?,
        direction,
        verdict: verdict(flow)?,
        reason: field("reason", &extension.reason, Reason::parse)?,
        rule: Arc::new(rule(extension.rule.as_ref())?),
        isolated_by: extension.isolated_by.iter().map(policy).collect(),
        nearest_miss: (!miss.is_empty()).then(|| miss.into()),
        revision: extension.revision,
        mode: field("mode", &extension.mode, Mode::parse)?,
        counts: counts(&extension),
        tcp_flags: TcpFlags {
            egress: number("tcp_flags_egress", extension.tcp_flags_egress)?,
            ingress: number("tcp_flags_ingress", extension.tcp_flags_ingress)?,
        },
        end: match end {
            "" => None,
            end => Some(field("end", end, EndReason::parse)?),
        },
        source_nat_suspected: extension.source_nat_suspected,
        ethertype: match extension.ethertype {
            0 => None,
            ethertype => Some(number("ethertype", ethertype)?),
        },
    })
}

fn number<T: TryFrom<u32>>(field: &'static str, value: u32) -> Result<T, ReadError> {
    T::try_from(value).map_err(|_| ReadError::Field {
        field,
        value: value.to_string(),
    })
}

fn time(time: Option<&weir_proto::types::Timestamp>) -> Timestamp {
    time.map(Timestamp::from).unwrap_or_default()
}

/// What the flow says about one side.
struct FlowSide<'a> {
    endpoint: Option<&'a flow::Endpoint>,
    names: &'a [String],
    service: Option<&'a flow::Service>,
    ip: IpAddr,
    port: u16,
}

fn sides(flow: &Flow) -> Result<(FlowSide<'_>, FlowSide<'_>), ReadError> {
    let address = |name, text: &str| field(name, text, |text| text.parse().ok());
    let (source_ip, destination_ip) = match &flow.ip {
        Some(ip) => (
            address("IP.source", &ip.source)?,
            address("IP.destination", &ip.destination)?,
        ),
        None => (
            IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        ),
    };
    let (source_port, destination_port) = ports(flow)?;
    let source = FlowSide {
        endpoint: flow.source.as_ref(),
        names: &flow.source_names,
        service: flow.source_service.as_ref(),
        ip: source_ip,
        port: source_port,
    };
    let destination = FlowSide {
        endpoint: flow.destination.as_ref(),
        names: &flow.destination_names,
        service: flow.destination_service.as_ref(),
        ip: destination_ip,
        port: destination_port,
    };
    Ok((source, destination))
}

fn ports(flow: &Flow) -> Result<(u16, u16), ReadError> {
    let protocol = flow.l4.as_ref().and_then(|l4| l4.protocol.as_ref());
    let (source, destination) = match protocol {
        Some(layer4::Protocol::Tcp(tcp)) => (tcp.source_port, tcp.destination_port),
        Some(layer4::Protocol::Udp(udp)) => (udp.source_port, udp.destination_port),
        Some(layer4::Protocol::Sctp(sctp)) => (sctp.source_port, sctp.destination_port),
        _ => (0, 0),
    };
    Ok((
        number("l4.source_port", source)?,
        number("l4.destination_port", destination)?,
    ))
}

impl FlowSide<'_> {
    fn endpoint(&self, kind: &str) -> Result<Arc<Endpoint>, ReadError> {
        let kind = field("kind of endpoint", kind, EndpointKind::parse)?;
        let none = flow::Endpoint::default();
        let endpoint = self.endpoint.unwrap_or(&none);
        let name = match kind {
            EndpointKind::Pod | EndpointKind::Unknown => Some(&endpoint.pod_name),
            EndpointKind::Host | EndpointKind::RemoteNode => self.names.first(),
            EndpointKind::Service => self.service.map(|service| &service.name),
            EndpointKind::World => None,
        };
        Ok(Arc::new(Endpoint {
            kind,
            identity: endpoint.identity,
            namespace: endpoint.namespace.as_str().into(),
            name: name.map_or("", String::as_str).into(),
            labels: labels::own(&endpoint.labels),
            workload: endpoint.workloads.first().map(|workload| Workload {
                kind: workload.kind.as_str().into(),
                name: workload.name.as_str().into(),
            }),
        }))
    }
}

fn icmp(flow: &Flow) -> Option<Icmp> {
    let (kind, code) = match flow.l4.as_ref()?.protocol.as_ref()? {
        layer4::Protocol::IcmPv4(icmp) => (icmp.r#type, icmp.code),
        layer4::Protocol::IcmPv6(icmp) => (icmp.r#type, icmp.code),
        _ => return None,
    };
    Some(Icmp {
        kind: u8::try_from(kind).ok()?,
        code: u8::try_from(code).ok()?,
    })
}

fn direction(flow: &Flow) -> Result<Direction, ReadError> {
    match flow.traffic_direction() {
        flow::TrafficDirection::Ingress => Ok(Direction::Ingress),
        flow::TrafficDirection::Egress => Ok(Direction::Egress),
        flow::TrafficDirection::Unknown => Err(ReadError::Field {
            field: "traffic_direction",
            value: flow.traffic_direction.to_string(),
        }),
    }
}

fn verdict(flow: &Flow) -> Result<Verdict, ReadError> {
    match flow.verdict() {
        flow::Verdict::Forwarded => Ok(Verdict::Forwarded),
        flow::Verdict::Dropped => Ok(Verdict::Dropped),
        flow::Verdict::Audit => Ok(Verdict::Audit),
        _ => Err(ReadError::Field {
            field: "verdict",
            value: flow.verdict.to_string(),
        }),
    }
}

fn rule(rule: Option<&v1::RuleRef>) -> Result<Rule, ReadError> {
    let Some(rule) = rule else {
        return Ok(Rule::None);
    };
    let none = v1::PolicyRef::default();
    Ok(Rule::Policy {
        policy: policy(rule.policy.as_ref().unwrap_or(&none)),
        direction: field("rule.direction", &rule.direction, Direction::parse)?,
        index: rule.index,
    })
}

fn policy(policy: &v1::PolicyRef) -> PolicyRef {
    PolicyRef {
        kind: policy.kind.as_str().into(),
        namespace: policy.namespace.as_str().into(),
        name: policy.name.as_str().into(),
    }
}

fn service(service: &v1::ServiceRef) -> Arc<ServiceRef> {
    Arc::new(ServiceRef {
        namespace: service.namespace.as_str().into(),
        name: service.name.as_str().into(),
    })
}

fn counts(extension: &v1::FlowExtension) -> Counts {
    Counts {
        egress: tally(extension.egress),
        ingress: tally(extension.ingress),
        egress_dropped: tally(extension.egress_dropped),
        ingress_dropped: tally(extension.ingress_dropped),
    }
}

fn tally(tally: Option<v1::Tally>) -> Tally {
    let tally = tally.unwrap_or_default();
    Tally {
        packets: tally.packets,
        bytes: tally.bytes,
        segments: tally.segments,
    }
}
