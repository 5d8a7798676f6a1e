//! The compiled policy's values as the kernel's, and back.

use std::sync::Arc;

use weir_datapath::abi;
use weir_policy::model::Protocol;
use weir_policy::tables::{
    EndpointSets, Frontend, IdentityId, NodeAddress, Peer, PortRange, PortTable, ProtocolClass,
    RuleId, SetId,
};

use crate::kernel::FrontendKey;

pub(super) fn peer(peer: &Peer) -> abi::Peer {
    let flags = match peer.node {
        NodeAddress::No => 0,
        NodeAddress::Other => abi::peer_flag::NODE,
        NodeAddress::Own => abi::peer_flag::NODE | abi::peer_flag::OWN_NODE,
    };
    abi::Peer {
        identity: peer.identity.0,
        flags,
    }
}

pub(super) fn peer_back(peer: abi::Peer) -> Peer {
    let node = match peer.flags {
        flags if flags & abi::peer_flag::OWN_NODE != 0 => NodeAddress::Own,
        flags if flags & abi::peer_flag::NODE != 0 => NodeAddress::Other,
        _ => NodeAddress::No,
    };
    Peer {
        identity: IdentityId(peer.identity),
        node,
    }
}

pub(super) fn protocol_number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => abi::IPPROTO_TCP,
        Protocol::Udp => abi::IPPROTO_UDP,
        Protocol::Sctp => abi::IPPROTO_SCTP,
    }
}

fn protocol_class(number: u8) -> ProtocolClass {
    match number {
        abi::IPPROTO_TCP => ProtocolClass::Named(Protocol::Tcp),
        abi::IPPROTO_UDP => ProtocolClass::Named(Protocol::Udp),
        abi::IPPROTO_SCTP => ProtocolClass::Named(Protocol::Sctp),
        _ => ProtocolClass::Other,
    }
}

pub(super) fn frontend(frontend: &Frontend) -> FrontendKey {
    FrontendKey {
        address: frontend.address,
        port: frontend.port,
        protocol: protocol_number(frontend.protocol),
    }
}

/// `None` for a protocol that no Service can have.
pub(super) fn frontend_back(key: FrontendKey) -> Option<Frontend> {
    match protocol_class(key.protocol) {
        ProtocolClass::Named(protocol) => Some(Frontend {
            address: key.address,
            protocol,
            port: key.port,
        }),
        ProtocolClass::Other => None,
    }
}

pub(super) fn sets(sets: EndpointSets) -> abi::EndpointSets {
    abi::EndpointSets {
        ingress: sets.ingress.0,
        egress: sets.egress.0,
    }
}

/// `None` for those of a pending endpoint.
pub(super) fn sets_back(sets: abi::EndpointSets) -> Option<EndpointSets> {
    let compiled =
        |set: u32| (set == abi::set::OPEN || set >= abi::set::FIRST).then_some(SetId(set));
    Some(EndpointSets {
        ingress: compiled(sets.ingress)?,
        egress: compiled(sets.egress)?,
    })
}

pub(super) fn verdict_key(set: SetId, identity: IdentityId) -> abi::VerdictKey {
    abi::VerdictKey {
        set: set.0,
        identity: identity.0,
    }
}

pub(super) fn range(range: &PortRange) -> abi::PortRange {
    let protocol = match range.protocol {
        ProtocolClass::Other => abi::PROTOCOL_OTHER,
        ProtocolClass::Named(protocol) => protocol_number(protocol),
    };
    abi::PortRange {
        low: u32::from(protocol) << 16 | u32::from(range.low),
        high: u32::from(protocol) << 16 | u32::from(range.high),
        rule: range.rule.0,
        reserved: 0,
    }
}

fn range_back(range: &abi::PortRange) -> PortRange {
    PortRange {
        protocol: protocol_class((range.low >> 16) as u8),
        low: range.low as u16,
        high: range.high as u16,
        rule: RuleId(range.rule),
    }
}

/// A port table from its entry and its ranges.
pub(super) fn table_back(table: abi::PortTable, ranges: &[abi::PortRange]) -> PortTable {
    match table.count {
        0 => PortTable::All(RuleId(table.first)),
        _ => PortTable::Ranges(ranges.iter().map(range_back).collect::<Arc<[_]>>()),
    }
}
