//! Services as kube-proxy's nftables mode translates them: DNAT to a random backend before routing, for what the node forwards
//! and what it sends itself; masquerade for node ports and for a pod that reaches itself; a reject where there is no backend.

use std::{fmt::Write, net::SocketAddr};

use crate::{
    Family, Pod, Service,
    plan::Addresses,
    spec::{Protocol, ServicePort},
};

/// kube-proxy's mark on packets that are to be masqueraded.
const MASQUERADE_MARK: &str = "0x4000";

/// The ruleset of one node, which is the same on all nodes. Loading it replaces the former one at once.
pub(crate) fn ruleset(services: &[Service], pods: &[&Pod]) -> String {
    let mut translate = String::new();
    let mut node_ports = String::new();
    let mut rejects = String::new();
    let mut hairpins = String::new();
    for service in services {
        let backends: Vec<&Pod> = pods
            .iter()
            .copied()
            .filter(|pod| service.selects(pod))
            .collect();
        let addresses: Vec<Addresses> = backends.iter().map(|pod| pod.addresses).collect();
        for family in Family::BOTH {
            for port in &service.spec.ports {
                let at_cluster_ip = format!(
                    "{} daddr {} {}",
                    ip(family),
                    service.addresses.of(family),
                    dport(port.protocol, port.port)
                );
                let at_node = port.node_port.map(|number| {
                    format!(
                        "meta nfproto {} {}",
                        nfproto(family),
                        dport(port.protocol, number)
                    )
                });
                match dnat(family, port, &addresses) {
                    Some(dnat) => {
                        line(&mut translate, &format!("{at_cluster_ip} {dnat}"));
                        if let Some(at_node) = at_node {
                            line(
                                &mut node_ports,
                                &format!(
                                    "{at_node} meta mark set meta mark or {MASQUERADE_MARK} {dnat}"
                                ),
                            );
                        }
                    }
                    None => {
                        line(&mut rejects, &format!("{at_cluster_ip} reject"));
                        if let Some(at_node) = at_node {
                            line(
                                &mut rejects,
                                &format!("fib daddr type local {at_node} reject"),
                            );
                        }
                    }
                }
            }
            for address in addresses.iter().map(|addresses| addresses.of(family)) {
                let ip = ip(family);
                line(
                    &mut hairpins,
                    &format!("ct status dnat {ip} saddr {address} {ip} daddr {address} masquerade"),
                );
            }
        }
    }
    assemble(&translate, &node_ports, &rejects, &hairpins)
}

/// Naming the table before deleting it makes the deletion succeed the first time too; all of it is one transaction.
fn assemble(translate: &str, node_ports: &str, rejects: &str, hairpins: &str) -> String {
    format!(
        "table inet weir_services\n\
         delete table inet weir_services\n\
         table inet weir_services {{\n\
         chain node_ports {{\n{node_ports}}}\n\
         chain services {{\n{translate}\tfib daddr type local jump node_ports\n}}\n\
         chain no_backends {{\n{rejects}}}\n\
         chain prerouting {{\n\ttype nat hook prerouting priority dstnat; policy accept;\n\tjump services\n}}\n\
         chain output {{\n\ttype nat hook output priority -100; policy accept;\n\tjump services\n}}\n\
         chain postrouting {{\n\ttype nat hook postrouting priority srcnat; policy accept;\n\
         \tmeta mark and {MASQUERADE_MARK} != 0 masquerade\n{hairpins}}}\n\
         chain filter_input {{\n\ttype filter hook input priority filter; policy accept;\n\tjump no_backends\n}}\n\
         chain filter_forward {{\n\ttype filter hook forward priority filter; policy accept;\n\tjump no_backends\n}}\n\
         chain filter_output {{\n\ttype filter hook output priority filter; policy accept;\n\tjump no_backends\n}}\n\
         }}\n"
    )
}

/// The translation to one of the backends, or none where there is no backend.
fn dnat(family: Family, port: &ServicePort, backends: &[Addresses]) -> Option<String> {
    let ip = ip(family);
    let target = port.target_port;
    match backends {
        [] => None,
        [only] => {
            let target = SocketAddr::new(only.of(family), target);
            Some(format!("dnat {ip} to {target}"))
        }
        several => {
            let entries: Vec<String> = several
                .iter()
                .enumerate()
                .map(|(n, backend)| format!("{n} : {} . {target}", backend.of(family)))
                .collect();
            Some(format!(
                "dnat {ip} addr . port to numgen random mod {} map {{ {} }}",
                several.len(),
                entries.join(", ")
            ))
        }
    }
}

fn dport(protocol: Protocol, port: u16) -> String {
    format!("{} dport {port}", protocol.as_str().to_ascii_lowercase())
}

fn ip(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

fn nfproto(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    }
}

fn line(rules: &mut String, rule: &str) {
    writeln!(rules, "\t{rule}").expect("a String takes all that is written to it");
}
