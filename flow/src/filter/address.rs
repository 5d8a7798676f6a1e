//! `source_ip`, `destination_ip`, `ip_version`: exact addresses and CIDRs.

use std::net::IpAddr;

use ipnet::IpNet;
use weir_proto::flow::{FlowFilter, IpVersion};

use super::{End, FilterError, Test, any};
use crate::Record;

pub(super) fn build(filter: &FlowFilter, tests: &mut Vec<Test>) -> Result<(), FilterError> {
    for (field, values, end) in [
        ("source_ip", &filter.source_ip, End::Source),
        ("destination_ip", &filter.destination_ip, End::Destination),
    ] {
        let networks = values.iter().map(|text| network(field, text));
        let networks = networks.collect::<Result<Vec<_>, _>>()?;
        any(tests, networks, move |network, record| {
            has_addresses(record) && network.contains(&end.of(record).ip)
        });
    }
    any(tests, filter.ip_version.clone(), |version, record| {
        *version == ip_version(record) as i32
    });
    Ok(())
}

fn network(field: &'static str, text: &str) -> Result<IpNet, FilterError> {
    let address = text.parse::<IpAddr>().map(IpNet::from);
    address
        .or_else(|_| text.parse())
        .map_err(|_| FilterError::Value {
            field,
            value: text.to_owned(),
            expected: "an IP address or CIDR",
        })
}

/// Packets that were no IP packets have no addresses, only placeholders.
fn has_addresses(record: &Record) -> bool {
    record.ethertype.is_none()
}

fn ip_version(record: &Record) -> IpVersion {
    match record.local_ip {
        _ if !has_addresses(record) => IpVersion::IpNotUsed,
        IpAddr::V4(_) => IpVersion::IPv4,
        IpAddr::V6(_) => IpVersion::IPv6,
    }
}
