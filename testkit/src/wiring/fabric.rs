//! What joins the nodes: a namespace with a bridge for their subnet, and a router to the world outside.

use crate::{
    Node,
    plan::{self, Addresses, MacAddr, MacOf},
};

/// The interface of nodes and of the host outside.
pub(crate) const UPLINK: &str = "eth0";

/// Builds the fabric: run in the fabric's namespace; the uplinks are made in the namespaces of nodes and outside.
pub(crate) fn fabric(nodes: &[Node], external_netns: &str) -> Vec<String> {
    let mut lines = vec![
        "link set lo up".to_owned(),
        // No snooping: a bridge without a querier that snoops may withhold neighbour solicitations.
        "link add br0 type bridge mcast_snooping 0".to_owned(),
        "link set br0 up".to_owned(),
    ];
    lines.extend(address_lines(plan::ROUTER, "24", "64", "br0"));
    for node in nodes {
        let port = format!("port{}", node.index);
        lines.push(format!(
            "link add {port} type veth peer name {UPLINK} address {} netns {}",
            node.mac,
            node.netns.name()
        ));
        lines.push(format!("link set {port} master br0 up"));
        lines.extend(routes_to_pods(node));
    }
    lines.push(format!(
        "link add outside type veth peer name {UPLINK} address {} netns {external_netns}",
        MacAddr::local(MacOf::External, 0, 1)
    ));
    lines.push("link set outside up".to_owned());
    lines.extend(address_lines(plan::EXTERNAL_ROUTER, "24", "64", "outside"));
    lines
}

/// Configures a node's uplink: run in the node's namespace.
pub(crate) fn node(node: &Node, all: &[Node]) -> Vec<String> {
    let mut lines = host(node.addresses, plan::ROUTER);
    for other in all.iter().filter(|other| other.index != node.index) {
        lines.extend(routes_to_pods(other));
    }
    lines
}

/// Configures the host outside: run in its namespace.
pub(crate) fn external() -> Vec<String> {
    host(plan::EXTERNAL, plan::EXTERNAL_ROUTER)
}

fn host(own: Addresses, router: Addresses) -> Vec<String> {
    let mut lines = vec!["link set lo up".to_owned(), format!("link set {UPLINK} up")];
    lines.extend(address_lines(own, "24", "64", UPLINK));
    lines.push(format!("route add default via {}", router.v4));
    lines.push(format!("route add ::/0 via {}", router.v6));
    lines
}

pub(super) fn address_lines(
    own: Addresses,
    bits_v4: &str,
    bits_v6: &str,
    interface: &str,
) -> [String; 2] {
    [
        format!("addr add {}/{bits_v4} dev {interface}", own.v4),
        format!("addr add {}/{bits_v6} dev {interface} nodad", own.v6),
    ]
}

fn routes_to_pods(node: &Node) -> [String; 2] {
    [
        format!("route add {} via {}", node.pod_cidrs.v4, node.addresses.v4),
        format!("route add {} via {}", node.pod_cidrs.v6, node.addresses.v6),
    ]
}
