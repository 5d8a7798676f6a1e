//! Port tables: built from claims in order of precedence, searched by (protocol, port).

use std::collections::BTreeSet;

use super::{PortRange, PortTable, ProtocolClass, RuleId};
use crate::model::Protocol;

impl ProtocolClass {
    /// What port tables are sorted by: 0 for [`ProtocolClass::Other`], else the IP protocol number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Other => 0,
            Self::Named(protocol) => protocol.number(),
        }
    }

    /// All classes in the order of their numbers.
    pub const ALL: [Self; 4] = [
        Self::Other,
        Self::Named(Protocol::Tcp),
        Self::Named(Protocol::Udp),
        Self::Named(Protocol::Sctp),
    ];

    const fn last_port(self) -> u16 {
        match self {
            Self::Other => 0,
            Self::Named(_) => u16::MAX,
        }
    }
}

impl PortTable {
    /// The rule that decides a protocol and port, if any. The port of [`ProtocolClass::Other`] is not looked at.
    pub fn rule(&self, protocol: ProtocolClass, port: u16) -> Option<RuleId> {
        match self {
            Self::All(rule) => Some(*rule),
            Self::Ranges(ranges) => {
                let port = match protocol {
                    ProtocolClass::Other => 0,
                    ProtocolClass::Named(_) => port,
                };
                let after =
                    ranges.partition_point(|range| (range.protocol, range.low) <= (protocol, port));
                let range = ranges.get(after.checked_sub(1)?)?;
                (range.protocol == protocol && port <= range.high).then_some(range.rule)
            }
        }
    }

    /// Its ranges; those of [`PortTable::All`] are written out.
    pub fn ranges(&self) -> Vec<PortRange> {
        match self {
            Self::All(rule) => everything(*rule).collect(),
            Self::Ranges(ranges) => ranges.to_vec(),
        }
    }
}

fn everything(rule: RuleId) -> impl Iterator<Item = PortRange> {
    ProtocolClass::ALL
        .into_iter()
        .map(move |protocol| PortRange {
            protocol,
            low: 0,
            high: protocol.last_port(),
            rule,
        })
}

/// Ports that a rule allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Claim {
    /// Every protocol and port.
    All(RuleId),
    /// One range.
    Range(PortRange),
}

/// Merges claims, the most preferred first, to a table; `None` if there are none.
pub(crate) fn build(claims: &[Claim]) -> Option<PortTable> {
    match claims {
        [] => return None,
        [Claim::All(rule), ..] => return Some(PortTable::All(*rule)),
        _ => {}
    }
    let ranges = sweep(&written_out(claims));
    let first = ranges.first()?;
    let rule = first.rule;
    if ranges.len() == 4 && everything(rule).eq(ranges.iter().copied()) {
        return Some(PortTable::All(rule));
    }
    Some(PortTable::Ranges(ranges.into()))
}

fn written_out(claims: &[Claim]) -> Vec<PortRange> {
    let mut ranges = Vec::with_capacity(claims.len());
    for claim in claims {
        match claim {
            Claim::Range(range) => ranges.push(*range),
            Claim::All(rule) => {
                ranges.extend(everything(*rule));
                break; // nothing is left for the claims behind it
            }
        }
    }
    ranges
}

/// Sweeps over the ends of all ranges; between two ends the first active range decides.
fn sweep(claims: &[PortRange]) -> Vec<PortRange> {
    let key =
        |protocol: ProtocolClass, port: u16| u32::from(protocol.number()) << 16 | u32::from(port);
    let mut ends: Vec<(u32, usize)> = Vec::with_capacity(claims.len() * 2);
    for (index, claim) in claims.iter().enumerate() {
        ends.push((key(claim.protocol, claim.low), index));
        ends.push((key(claim.protocol, claim.high) + 1, index));
    }
    ends.sort_unstable();
    let mut active = BTreeSet::new();
    let mut ranges: Vec<PortRange> = Vec::new();
    for (position, &(from, index)) in ends.iter().enumerate() {
        if !active.remove(&index) {
            active.insert(index);
        }
        let Some(&(to, _)) = ends.get(position + 1) else {
            break;
        };
        if let Some(&best) = active.first()
            && from < to
        {
            append(&mut ranges, &claims[best], from, to - 1);
        }
    }
    ranges
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the low half of the key is the port"
)]
fn append(ranges: &mut Vec<PortRange>, claim: &PortRange, low: u32, high: u32) {
    let next = PortRange {
        protocol: claim.protocol,
        low: low as u16,
        high: high as u16,
        rule: claim.rule,
    };
    match ranges.last_mut() {
        Some(last)
            if last.protocol == next.protocol
                && last.rule == next.rule
                && u32::from(last.high) + 1 == u32::from(next.low) =>
        {
            last.high = next.high;
        }
        _ => ranges.push(next),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tcp(low: u16, high: u16, rule: u32) -> Claim {
        Claim::Range(PortRange {
            protocol: ProtocolClass::Named(Protocol::Tcp),
            low,
            high,
            rule: RuleId(rule),
        })
    }

    #[test]
    fn the_first_claim_of_a_port_wins_and_neighbours_merge() {
        let table = build(&[tcp(80, 80, 2), tcp(70, 90, 3), tcp(91, 95, 3)]).unwrap();
        let PortTable::Ranges(ranges) = &table else {
            panic!("{table:?}")
        };
        let seen: Vec<_> = ranges.iter().map(|r| (r.low, r.high, r.rule.0)).collect();
        assert_eq!(seen, [(70, 79, 3), (80, 80, 2), (81, 95, 3)]);
    }

    #[test]
    fn a_rule_without_ports_allows_what_is_left_of_every_protocol() {
        let table = build(&[tcp(80, 80, 2), Claim::All(RuleId(3))]).unwrap();
        assert_eq!(table.rule(ProtocolClass::Other, 0), Some(RuleId(3)));
        assert_eq!(
            table.rule(ProtocolClass::Named(Protocol::Tcp), 80),
            Some(RuleId(2))
        );
        assert_eq!(
            table.rule(ProtocolClass::Named(Protocol::Tcp), 65535),
            Some(RuleId(3))
        );
        assert_eq!(
            table.rule(ProtocolClass::Named(Protocol::Sctp), 80),
            Some(RuleId(3))
        );
    }

    #[test]
    fn all_ports_of_tcp_are_not_every_protocol() {
        let table = build(&[tcp(0, 65535, 2)]).unwrap();
        assert_eq!(table.rule(ProtocolClass::Named(Protocol::Udp), 53), None);
        assert_eq!(table.rule(ProtocolClass::Other, 0), None);
    }

    proptest! {
        #[test]
        fn a_table_says_what_its_first_matching_claim_says(
            claims in prop::collection::vec((0usize..4, 0u16..40, 0u16..12, 0u32..6), 1..12),
            protocol in 0usize..4,
            port in 0u16..60,
        ) {
            let claims: Vec<Claim> = claims.into_iter().map(|(protocol, low, length, rule)| {
                let protocol = ProtocolClass::ALL[protocol];
                let low = if protocol == ProtocolClass::Other { 0 } else { low };
                let high = if protocol == ProtocolClass::Other { 0 } else { low + length };
                if length == 11 { Claim::All(RuleId(rule)) }
                else { Claim::Range(PortRange { protocol, low, high, rule: RuleId(rule) }) }
            }).collect();
            let protocol = ProtocolClass::ALL[protocol];
            let port = if protocol == ProtocolClass::Other { 0 } else { port };
            let expected = claims.iter().find_map(|claim| match claim {
                Claim::All(rule) => Some(*rule),
                Claim::Range(r) => (r.protocol == protocol && r.low <= port && port <= r.high).then_some(r.rule),
            });
            prop_assert_eq!(build(&claims).and_then(|table| table.rule(protocol, port)), expected);
        }
    }
}
