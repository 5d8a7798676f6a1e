//! A pod's veth, its addresses and its routes, in either topology.

use super::fabric::address_lines;
use crate::{
    Hairpin, Pod, Topology,
    plan::{self, MacAddr, MacOf, PTP_GATEWAY_V4, PTP_GATEWAY_V6},
};

/// A pod's interface, seen from inside.
pub(crate) const POD_INTERFACE: &str = "eth0";
const BRIDGE: &str = "cni0";

/// What a node needs before its first pod: run in the node's namespace.
pub(crate) fn node(topology: Topology, index: u8) -> Vec<String> {
    match topology {
        Topology::Ptp => Vec::new(),
        Topology::Bridge => {
            let mac = bridge_mac(index);
            let mut lines = vec![
                format!("link add {BRIDGE} address {mac} type bridge mcast_snooping 0"),
                format!("link set {BRIDGE} up"),
            ];
            lines.extend(address_lines(plan::bridge(index), "24", "64", BRIDGE));
            lines
        }
    }
}

/// Makes the veth, both ends: run in the node's namespace.
pub(crate) fn veth(pod: &Pod) -> String {
    format!(
        "link add {} address {} type veth peer name {POD_INTERFACE} address {} netns {}",
        pod.host_interface,
        pod.host_mac,
        pod.mac,
        pod.netns.name()
    )
}

/// Configures the node's end: run in the node's namespace.
pub(crate) fn host_end(topology: Topology, hairpin: Hairpin, pod: &Pod) -> Vec<String> {
    let interface = &pod.host_interface;
    match topology {
        Topology::Ptp => vec![
            format!("addr add {PTP_GATEWAY_V6}/64 dev {interface} nodad"),
            format!("link set {interface} up"),
            format!("route add {}/32 dev {interface}", pod.addresses.v4),
            format!("route add {}/128 dev {interface}", pod.addresses.v6),
        ],
        Topology::Bridge => {
            let mut lines = vec![format!("link set {interface} master {BRIDGE}")];
            if hairpin == Hairpin::On {
                lines.push(format!("link set {interface} type bridge_slave hairpin on"));
            }
            lines.push(format!("link set {interface} up"));
            lines
        }
    }
}

/// Configures the pod's end: run in the pod's namespace.
pub(crate) fn pod_end(topology: Topology, node_index: u8, pod: &Pod) -> Vec<String> {
    let mut lines = vec![
        "link set lo up".to_owned(),
        format!("link set {POD_INTERFACE} up"),
    ];
    match topology {
        Topology::Ptp => {
            lines.extend(address_lines(pod.addresses, "32", "128", POD_INTERFACE));
            lines.push(format!(
                "route add {PTP_GATEWAY_V4} dev {POD_INTERFACE} scope link"
            ));
            lines.push(format!(
                "route add default via {PTP_GATEWAY_V4} dev {POD_INTERFACE}"
            ));
            lines.push(format!(
                "route add ::/0 via {PTP_GATEWAY_V6} dev {POD_INTERFACE}"
            ));
        }
        Topology::Bridge => {
            let gateway = plan::bridge(node_index);
            lines.extend(address_lines(pod.addresses, "24", "64", POD_INTERFACE));
            lines.push(format!("route add default via {}", gateway.v4));
            lines.push(format!("route add ::/0 via {}", gateway.v6));
        }
    }
    lines
}

/// The hardware address of the bridge on a node.
pub(crate) fn bridge_mac(node_index: u8) -> MacAddr {
    MacAddr::local(MacOf::Bridge, node_index, 1)
}
