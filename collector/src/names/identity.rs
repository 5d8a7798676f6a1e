//! Identity numbers for records: derived from namespace and labels alone, so that every node gives the same label
//! set the same number, as Hubble's users expect. They are not the node-local numbers the kernel uses.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

/// Hubble's reserved numbers: unknown.
pub(super) const UNKNOWN: u32 = 0;
/// The collector's own node.
pub(super) const HOST: u32 = 1;
/// Outside the cluster.
pub(super) const WORLD: u32 = 2;
/// Another node.
pub(super) const REMOTE_NODE: u32 = 6;

/// Cluster identities lie in 256..2^24; node-local ones begin above (Hubble's numbering).
const FIRST: u32 = 256;
const LAST: u32 = (1 << 24) - 1;

/// Hands out identity numbers. Two label sets that hash alike get different numbers: the later one in the order of
/// arrival takes the next free number, and the collision is counted.
#[derive(Debug, Default)]
pub struct IdentityNumbers {
    owners: HashMap<u32, Arc<str>>,
    collisions: u64,
}

impl IdentityNumbers {
    /// The number of the label set `labels` (sorted `key=value`) in `namespace`.
    pub fn number(&mut self, namespace: &str, labels: &[Arc<str>]) -> u32 {
        let mut text = String::with_capacity(64);
        text.push_str(namespace);
        for label in labels {
            text.push('\0');
            text.push_str(label);
        }
        let mut number = FIRST + (fnv1a(text.as_bytes()) % u64::from(LAST - FIRST + 1)) as u32;
        loop {
            match self.owners.entry(number) {
                Entry::Vacant(free) => {
                    free.insert(text.into());
                    return number;
                }
                Entry::Occupied(taken) if **taken.get() == *text => return number,
                Entry::Occupied(_) => {
                    self.collisions += 1;
                    number = if number == LAST { FIRST } else { number + 1 };
                }
            }
        }
    }

    /// No object has the number's label set any more. It gets the same number again if it comes back.
    pub fn forget(&mut self, number: u32) {
        self.owners.remove(&number);
    }

    /// How often two label sets met at one number.
    pub fn collisions(&self) -> u64 {
        self.collisions
    }

    /// The number of those whose labels are not known.
    pub const UNKNOWN: u32 = UNKNOWN;
    /// The number of the collector's own node.
    pub const HOST: u32 = HOST;
    /// The number of all other nodes.
    pub const REMOTE_NODE: u32 = REMOTE_NODE;
}

/// FNV-1a, 64 bits: a fixed, seedless hash, because the number must be the same on every node.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_label_sets_have_equal_numbers_on_every_node() {
        let labels: Vec<Arc<str>> = vec!["app=web".into(), "tier=front".into()];
        let (mut a, mut b) = (IdentityNumbers::default(), IdentityNumbers::default());
        b.number("other", &labels);
        assert_eq!(a.number("shop", &labels), b.number("shop", &labels));
        assert_ne!(a.number("shop", &labels), a.number("other", &labels));
        assert!(a.number("shop", &labels) >= FIRST);
    }
}
