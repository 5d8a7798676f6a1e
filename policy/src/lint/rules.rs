//! Warnings about one policy's own fields.

use super::Site;
use super::matching::{far_pods, peer_pods, selected};
use crate::manifest::Severity;
use crate::model::{Direction, Peer, Port, Rule};

pub(super) fn check(site: &mut Site<'_>) {
    let policy = site.policy.clone();
    let cluster = site.cluster;
    if !cluster.namespaces.is_empty() && !cluster.namespaces.contains_key(&policy.name.namespace) {
        let message = format!(
            "namespace {} is not in the input; the policy is for no pod there",
            policy.name.namespace
        );
        site.warn("namespace-missing", "metadata.namespace", message);
    }
    if !cluster.pods.is_empty() && selected(cluster, &policy).is_empty() {
        site.warn(
            "selects-nothing",
            "spec.podSelector",
            format!("selects no pod in namespace {}", policy.name.namespace),
        );
    }
    for direction in Direction::BOTH {
        check_direction(site, direction);
    }
}

fn check_direction(site: &mut Site<'_>, direction: Direction) {
    let policy = site.policy.clone();
    let section = direction.as_str();
    let written = match direction {
        Direction::Ingress => &policy.ingress,
        Direction::Egress => &policy.egress,
    };
    if !policy.isolates(direction) {
        if !written.is_empty() {
            let message = format!(
                "has no effect: policyTypes does not name {}",
                if section == "ingress" {
                    "Ingress"
                } else {
                    "Egress"
                }
            );
            site.warn("rule-never-matches", &format!("spec.{section}"), message);
        }
        return;
    }
    if written.is_empty() {
        let message = format!(
            "isolates the selected pods for {section} and allows nothing; other policies may allow more"
        );
        site.report(
            Severity::Note,
            "isolates-only",
            &format!("spec.{section}"),
            message,
        );
    }
    for (index, rule) in written.iter().enumerate() {
        check_rule(site, direction, &format!("spec.{section}[{index}]"), rule);
    }
}

fn check_rule(site: &mut Site<'_>, direction: Direction, path: &str, rule: &Rule) {
    let field = if direction == Direction::Ingress {
        "from"
    } else {
        "to"
    };
    let mut empty_peers = 0;
    for (index, peer) in rule.peers.iter().enumerate() {
        empty_peers += usize::from(check_peer(site, &format!("{path}.{field}[{index}]"), peer));
    }
    let dead_ports = check_named_ports(site, direction, path, rule);
    let all_peers_empty = !rule.peers.is_empty() && empty_peers == rule.peers.len();
    let all_ports_dead = !rule.ports.is_empty() && dead_ports == rule.ports.len();
    if all_peers_empty || all_ports_dead {
        let why = if all_peers_empty {
            "none of its peers matches a pod"
        } else {
            "none of its ports exists on a pod it is for"
        };
        site.warn(
            "rule-never-matches",
            path,
            format!("can never match: {why}"),
        );
    }
}

/// Whether the peer matches nothing.
fn check_peer(site: &mut Site<'_>, path: &str, peer: &Peer) -> bool {
    let cluster = site.cluster;
    match peer {
        Peer::Pods {
            namespace_selector,
            pod_selector,
        } => {
            if cluster.pods.is_empty() {
                return false;
            }
            let namespace = site.policy.name.namespace.clone();
            let is_empty = peer_pods(
                cluster,
                &namespace,
                namespace_selector.as_ref(),
                pod_selector.as_ref(),
            )
            .is_empty();
            if is_empty {
                site.warn("peer-selects-nothing", path, "matches no pod".to_owned());
            }
            is_empty
        }
        Peer::IpBlock(block) => {
            let covers = |ip: &std::net::IpAddr| {
                block.cidr.contains(ip) && !block.except.iter().any(|except| except.contains(ip))
            };
            let is_everything = block.cidr.prefix_len() == 0;
            let mut pods = cluster
                .pods
                .values()
                .filter(|pod| pod.is_networked() && pod.ips.iter().any(covers));
            if let Some(first) = pods.next().filter(|_| !is_everything) {
                let more = pods.count();
                let others = if more == 0 {
                    String::new()
                } else {
                    format!(" and {more} more")
                };
                let message = format!(
                    "covers the address of pod {}{others}: pods change addresses, select them by labels",
                    first.name
                );
                site.warn(
                    "ip-block-covers-pods",
                    &format!("{path}.ipBlock.cidr"),
                    message,
                );
            }
            false
        }
    }
}

/// How many of the rule's ports are names that no destination pod has.
fn check_named_ports(site: &mut Site<'_>, direction: Direction, path: &str, rule: &Rule) -> usize {
    let (cluster, policy) = (site.cluster, site.policy.clone());
    let destinations = match direction {
        Direction::Ingress => Some(selected(cluster, &policy)),
        Direction::Egress => far_pods(cluster, &policy, rule),
    };
    let destinations = destinations.unwrap_or_else(|| cluster.pods.values().collect());
    if destinations.is_empty() {
        return 0;
    }
    let mut dead = 0;
    for (index, port) in rule.ports.iter().enumerate() {
        let Port::Named(name) = &port.port else {
            continue;
        };
        if destinations
            .iter()
            .any(|pod| pod.named_port(name, port.protocol).is_some())
        {
            continue;
        }
        dead += 1;
        let message = format!(
            "no pod that this rule is for has a {} port named {name}",
            port.protocol
        );
        site.warn(
            "named-port-missing",
            &format!("{path}.ports[{index}].port"),
            message,
        );
    }
    dead
}
