//! Denial entries made in advance: one per endpoint, direction, reason and family, so that a refusal that finds the
//! denial table full is still counted under its reason.

use weir_datapath::abi::{
    self, Denial, DenialKey4, DenialKey6, Direction, Reason, endpoint_protocol, rule,
};

/// The reasons for which a packet is refused.
pub const REFUSALS: [Reason; 17] = [
    Reason::DefaultDeny,
    Reason::Pending,
    Reason::NoBackends,
    Reason::MixedBackends,
    Reason::NotSyn,
    Reason::IcmpUnrelated,
    Reason::TableFull,
    Reason::FragNoFirst,
    Reason::FragTooShort,
    Reason::ShortHeader,
    Reason::ExtensionHeaders,
    Reason::UnknownEthertype,
    Reason::Vlan,
    Reason::SpoofedSource,
    Reason::SpoofedNeighbour,
    Reason::RogueRouter,
    Reason::MalformedHeader,
];

/// Address family of a denial table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// `DENIALS4`, which also counts what is no IP packet.
    V4,
    /// `DENIALS6`.
    V6,
}

/// One entry made in advance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Overflow {
    /// Endpoint number.
    pub endpoint: u32,
    /// Direction of the refused packets.
    pub direction: Direction,
    /// Their reason.
    pub reason: Reason,
    /// Which table.
    pub family: Family,
}

impl Overflow {
    /// All entries of one endpoint.
    pub fn all(endpoint: u32) -> impl Iterator<Item = Self> {
        let families = [Family::V4, Family::V6].into_iter();
        families.flat_map(move |family| {
            [Direction::Ingress, Direction::Egress]
                .into_iter()
                .flat_map(move |direction| {
                    REFUSALS.into_iter().map(move |reason| Self {
                        endpoint,
                        direction,
                        reason,
                        family,
                    })
                })
        })
    }

    /// Its key in `DENIALS4`.
    pub(super) fn key4(&self) -> DenialKey4 {
        DenialKey4 {
            reason: self.reason as u8,
            direction: self.direction as u8,
            endpoint_protocol: endpoint_protocol(self.endpoint, 0),
            ..DenialKey4::default()
        }
    }

    /// Its key in `DENIALS6`.
    pub(super) fn key6(&self) -> DenialKey6 {
        DenialKey6 {
            reason: self.reason as u8,
            direction: self.direction as u8,
            endpoint_protocol: endpoint_protocol(self.endpoint, 0),
            ..DenialKey6::default()
        }
    }

    /// The entry before it has counted anything. Its serial is of no CPU's sequence (those begin with the CPU's number).
    pub(super) fn entry(&self, now_ns: u64) -> Denial {
        let family = u64::from(self.family == Family::V6);
        let kind = family << 9 | (self.direction as u64) << 8 | self.reason as u64;
        Denial {
            rule: reserved_rule(self.reason),
            first_seen_ns: now_ns,
            serial: 0xffff << 48 | u64::from(self.endpoint) << 16 | kind,
            ..Denial::default()
        }
    }
}

/// The rule id of a refusal that no policy rule made.
fn reserved_rule(reason: Reason) -> u32 {
    match reason {
        Reason::DefaultDeny => rule::DEFAULT_DENY,
        Reason::Pending => rule::PENDING,
        Reason::NoBackends => rule::NO_BACKENDS,
        Reason::MixedBackends => rule::MIXED_BACKENDS,
        _ => abi::rule::NOT_JUDGED,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_overflow_entry_has_a_serial_of_its_own() {
        let serials: HashSet<u64> = (1..4)
            .flat_map(Overflow::all)
            .map(|entry| entry.entry(0).serial)
            .collect();
        assert_eq!(serials.len(), 3 * 2 * 2 * REFUSALS.len());
    }
}
