//! Ports, protocol and TCP flags.

use weir_proto::flow::{FlowFilter, TcpFlags};

use super::{End, FilterError, Test, any};
use crate::hubble::protocol;

pub(super) fn build(filter: &FlowFilter, tests: &mut Vec<Test>) -> Result<(), FilterError> {
    for (field, values, end) in [
        ("source_port", &filter.source_port, End::Source),
        (
            "destination_port",
            &filter.destination_port,
            End::Destination,
        ),
    ] {
        let ports = values.iter().map(|text| port(field, text));
        let ports = ports.collect::<Result<Vec<_>, _>>()?;
        any(tests, ports, move |port, record| {
            has_ports(record.protocol) && end.of(record).port == *port
        });
    }
    let protocols = filter.protocol.iter().map(|word| numbers(word));
    let protocols = protocols.collect::<Result<Vec<_>, _>>()?;
    any(tests, protocols, |numbers, record| {
        numbers.contains(&record.protocol)
    });
    let flags = filter.tcp_flags.iter().map(bits).collect();
    any(tests, flags, |wanted: &u8, record| {
        record.protocol == protocol::TCP && record.opener_tcp_flags() & wanted == *wanted
    });
    Ok(())
}

fn has_ports(number: u8) -> bool {
    matches!(number, protocol::TCP | protocol::UDP | protocol::SCTP)
}

fn port(field: &'static str, text: &str) -> Result<u16, FilterError> {
    text.parse().map_err(|_| FilterError::Value {
        field,
        value: text.to_owned(),
        expected: "a port number from 0 to 65535",
    })
}

fn numbers(word: &str) -> Result<&'static [u8], FilterError> {
    Ok(match word.to_ascii_lowercase().as_str() {
        "tcp" => &[protocol::TCP],
        "udp" => &[protocol::UDP],
        "sctp" => &[protocol::SCTP],
        "icmp" => &[protocol::ICMP, protocol::ICMPV6],
        "icmpv4" => &[protocol::ICMP],
        "icmpv6" => &[protocol::ICMPV6],
        "vrrp" => &[protocol::VRRP],
        "igmp" => &[protocol::IGMP],
        "dns" | "http" | "kafka" => {
            return Err(FilterError::Unsupported {
                field: "protocol",
                reason: "Weir does not look into layer 7",
            });
        }
        _ => {
            return Err(FilterError::Value {
                field: "protocol",
                value: word.to_owned(),
                expected: "one of tcp, udp, sctp, icmp, icmpv4, icmpv6, vrrp, igmp",
            });
        }
    })
}

fn bits(flags: &TcpFlags) -> u8 {
    let bit = |set: bool, bit: u8| if set { bit } else { 0 };
    bit(flags.fin, 0x01)
        | bit(flags.syn, 0x02)
        | bit(flags.rst, 0x04)
        | bit(flags.psh, 0x08)
        | bit(flags.ack, 0x10)
        | bit(flags.urg, 0x20)
        | bit(flags.ece, 0x40)
        | bit(flags.cwr, 0x80)
}
