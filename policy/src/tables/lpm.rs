//! Longest-prefix match over CIDRs, both families, as the kernel's LPM tries do it.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use foldhash::fast::RandomState;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// CIDRs with a value each. Looking up costs one hash for every prefix length in use.
#[derive(Clone, Debug)]
pub struct Networks<T> {
    entries: HashMap<IpNet, T, RandomState>,
    lengths: [BTreeMap<u8, u32>; 2],
}

impl<T> Default for Networks<T> {
    fn default() -> Self {
        Self {
            entries: HashMap::default(),
            lengths: Default::default(),
        }
    }
}

impl<T: PartialEq> PartialEq for Networks<T> {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl<T> Networks<T> {
    /// Adds or replaces a CIDR, whose host bits must be zero; returns the value it had.
    pub fn insert(&mut self, cidr: IpNet, value: T) -> Option<T> {
        let old = self.entries.insert(cidr, value);
        if old.is_none() {
            *self.lengths[family(cidr.addr())]
                .entry(cidr.prefix_len())
                .or_default() += 1;
        }
        old
    }

    /// Removes a CIDR.
    pub fn remove(&mut self, cidr: &IpNet) -> Option<T> {
        let old = self.entries.remove(cidr)?;
        let lengths = &mut self.lengths[family(cidr.addr())];
        if let Some(count) = lengths.get_mut(&cidr.prefix_len()) {
            *count -= 1;
            if *count == 0 {
                lengths.remove(&cidr.prefix_len());
            }
        }
        Some(old)
    }

    /// The value of exactly this CIDR.
    pub fn get(&self, cidr: &IpNet) -> Option<&T> {
        self.entries.get(cidr)
    }

    /// The longest CIDR that covers an address.
    pub fn lookup(&self, address: IpAddr) -> Option<(IpNet, &T)> {
        self.covering(IpNet::from(address)).next()
    }

    /// All CIDRs that cover a CIDR, itself included, longest first.
    pub fn covering(&self, cidr: IpNet) -> impl Iterator<Item = (IpNet, &T)> {
        self.lengths[family(cidr.addr())]
            .range(..=cidr.prefix_len())
            .rev()
            .filter_map(move |(length, _)| {
                let wider = truncate(cidr.addr(), *length);
                self.entries.get(&wider).map(|value| (wider, value))
            })
    }

    /// All CIDRs, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&IpNet, &T)> {
        self.entries.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

fn family(address: IpAddr) -> usize {
    usize::from(address.is_ipv6())
}

fn truncate(address: IpAddr, length: u8) -> IpNet {
    match address {
        IpAddr::V4(address) => Ipv4Net::new_assert(address, length).trunc().into(),
        IpAddr::V6(address) => Ipv6Net::new_assert(address, length).trunc().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(cidrs: &[&str]) -> Networks<()> {
        let mut networks = Networks::default();
        for cidr in cidrs {
            networks.insert(cidr.parse().unwrap(), ());
        }
        networks
    }

    fn longest(networks: &Networks<()>, address: &str) -> Option<String> {
        networks
            .lookup(address.parse().unwrap())
            .map(|(cidr, ())| cidr.to_string())
    }

    #[test]
    fn the_longest_prefix_wins_and_families_never_cross() {
        let networks = networks(&["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "::/0"]);
        assert_eq!(longest(&networks, "10.1.2.3").unwrap(), "10.1.0.0/16");
        assert_eq!(longest(&networks, "10.2.2.3").unwrap(), "10.0.0.0/8");
        assert_eq!(longest(&networks, "11.2.2.3").unwrap(), "0.0.0.0/0");
        assert_eq!(longest(&networks, "2001:db8::1").unwrap(), "::/0");
    }

    #[test]
    fn a_removed_cidr_covers_nothing() {
        let mut networks = networks(&["10.0.0.0/8"]);
        networks.remove(&"10.0.0.0/8".parse().unwrap());
        assert_eq!(longest(&networks, "10.1.2.3"), None);
    }
}
