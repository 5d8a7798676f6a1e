//! Kernel switches below /proc/sys/net, set in a namespace before its first link is made, which inherits the defaults.

use std::path::Path;

use crate::{Error, NetNs, Topology};

/// Addresses are usable at once (no duplicate address detection), nothing is learnt by chance (no router advertisements, no
/// redirects), and any group may send ICMP echo requests, as container runtimes allow.
const EVERYWHERE: &[(&str, &str)] = &[
    ("ipv6/conf/all/disable_ipv6", "0"),
    ("ipv6/conf/default/disable_ipv6", "0"),
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/all/accept_ra", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/default/router_solicitations", "0"),
    ("ipv6/conf/all/accept_redirects", "0"),
    ("ipv6/conf/default/accept_redirects", "0"),
    ("ipv4/conf/all/accept_redirects", "0"),
    ("ipv4/conf/default/accept_redirects", "0"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/ping_group_range", "0 2147483647"),
];

const FORWARDING: &[(&str, &str)] = &[("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")];

/// Bridged packets pass netfilter, as Kubernetes asks of a node: else the answer of a Service's backend on the client's own
/// bridge would not be translated back.
const BRIDGE_NETFILTER: &[(&str, &str)] = &[
    ("bridge/bridge-nf-call-iptables", "1"),
    ("bridge/bridge-nf-call-ip6tables", "1"),
];

/// A pod, or the host outside.
pub(crate) fn set_host(netns: &NetNs) -> Result<(), Error> {
    netns.sysctl(EVERYWHERE)
}

/// The fabric.
pub(crate) fn set_router(netns: &NetNs) -> Result<(), Error> {
    netns.sysctl(&[EVERYWHERE, FORWARDING].concat())
}

/// A node.
pub(crate) fn set_node(netns: &NetNs, topology: Topology) -> Result<(), Error> {
    let mut switches = [EVERYWHERE, FORWARDING].concat();
    match topology {
        Topology::Ptp => {}
        Topology::Bridge => {
            require_bridge_netfilter()?;
            switches.extend(BRIDGE_NETFILTER);
        }
    }
    netns.sysctl(&switches)
}

/// The node's end of a pod's veth where it answers for the pod's gateway: at once, not after a random wait of up to 0.8 s.
pub(crate) fn set_proxy(netns: &NetNs, interfaces: &[&str]) -> Result<(), Error> {
    let switches: Vec<(String, &str)> = interfaces
        .iter()
        .flat_map(|interface| {
            [
                (format!("ipv4/conf/{interface}/proxy_arp"), "1"),
                (format!("ipv6/conf/{interface}/proxy_ndp"), "1"),
                (format!("ipv4/neigh/{interface}/proxy_delay"), "0"),
                (format!("ipv6/neigh/{interface}/proxy_delay"), "0"),
            ]
        })
        .collect();
    netns.sysctl(&switches)
}

fn require_bridge_netfilter() -> Result<(), Error> {
    if Path::new("/proc/sys/net/bridge").exists() {
        return Ok(());
    }
    Err(Error::KernelMissing {
        feature: "br_netfilter",
        remedy: "modprobe br_netfilter, or take the ptp topology",
    })
}
