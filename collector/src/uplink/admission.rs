//! What the spool takes when it fills up: allowed flows give way first, denials last.

use weir_flow::{Item, RecordKind, Verdict};

/// How full the spool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Pressure {
    /// Everything is taken.
    None,
    /// Half full: no interim counts of allowed flows; a later record has them.
    Half,
    /// Three quarters full: denials and losses only.
    High,
    /// Nothing is taken.
    Full,
}

impl Pressure {
    pub(super) fn of(bytes: u64, bound: u64) -> Self {
        let share = |numerator: u64, denominator: u64| bound / denominator * numerator;
        if bytes < share(1, 2) {
            Self::None
        } else if bytes < share(3, 4) {
            Self::Half
        } else if bytes < bound {
            Self::High
        } else {
            Self::Full
        }
    }

    /// Whether an item is taken.
    pub(super) fn admits(self, item: &Item) -> bool {
        let Item::Flow(record) = item else {
            return self < Self::Full;
        };
        let allowed = record.verdict == Verdict::Forwarded;
        match self {
            Self::None => true,
            Self::Half => !(allowed && record.kind == RecordKind::Updated),
            Self::High => !allowed,
            Self::Full => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_flow::{Record, samples};

    #[test]
    fn allowed_flows_give_way_before_denials() {
        let updated = Item::Flow(Record {
            kind: RecordKind::Updated,
            ..samples::allowed()
        });
        let allowed = Item::Flow(samples::allowed());
        let denied = Item::Flow(samples::denied());
        let loss = Item::Loss(samples::loss());
        for (bytes, expected) in [
            (0, [true, true, true, true]),
            (500, [false, true, true, true]),
            (750, [false, false, true, true]),
            (1000, [false, false, false, false]),
        ] {
            let pressure = Pressure::of(bytes, 1000);
            let items = [&updated, &allowed, &denied, &loss];
            assert_eq!(items.map(|item| pressure.admits(item)), expected, "{bytes}");
        }
    }
}
