//! What an interface itself has counted.

use crate::Error;

/// The counters of one interface, as `/proc/net/dev` has them. Bytes include the Ethernet header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterfaceCounters {
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Packets that were dropped on reception.
    pub rx_dropped: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Packets that were dropped on sending.
    pub tx_dropped: u64,
}

impl InterfaceCounters {
    /// Reads them in the calling thread's namespace. (`/sys/class/net` would show the namespace sysfs was mounted in.)
    pub(crate) fn read(interface: &str) -> Result<Self, Error> {
        let path = "/proc/thread-self/net/dev";
        let table = std::fs::read_to_string(path).map_err(Error::path("read", path))?;
        Self::parse(&table, interface).ok_or_else(|| Error::NotFound {
            kind: "interface",
            name: interface.to_owned(),
        })
    }

    fn parse(table: &str, interface: &str) -> Option<Self> {
        let (_, row) = table
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.trim() == interface)?;
        let columns: Vec<u64> = row
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()
            .ok()?;
        Some(Self {
            rx_bytes: *columns.first()?,
            rx_packets: *columns.get(1)?,
            rx_dropped: *columns.get(3)?,
            tx_bytes: *columns.get(8)?,
            tx_packets: *columns.get(9)?,
            tx_dropped: *columns.get(11)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_found_by_its_whole_name() {
        let table = "Inter-|   Receive                                                |  Transmit\n \
             face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n\
             veth10:     1       2    3    4    0     0          0         0        5       6    7    8    0     0       0          0\n \
             veth1:    11      12    0   14    0     0          0         0       15      16    0   18    0     0       0          0\n";
        let counters = InterfaceCounters::parse(table, "veth1").unwrap();
        assert_eq!(
            (counters.rx_bytes, counters.rx_packets, counters.rx_dropped),
            (11, 12, 14)
        );
        assert_eq!(
            (counters.tx_bytes, counters.tx_packets, counters.tx_dropped),
            (15, 16, 18)
        );
        assert_eq!(InterfaceCounters::parse(table, "eth0"), None);
    }
}
