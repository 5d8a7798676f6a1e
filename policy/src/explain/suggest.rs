//! The smallest NetworkPolicy that would allow a denied connection: one more policy for the denying side, because
//! policies only add up. It names the pods by all their labels, so that it allows no more than it must.

use std::fmt::Write;
use std::net::IpAddr;

use super::Explanation;
use super::party::{Peer, Route};
use crate::model::{Direction, Labels, NAMESPACE_NAME_LABEL, Name, Pod, Protocol};

/// All suggestions of an explanation, one for each denying side.
pub fn suggest(explanation: &Explanation) -> impl Iterator<Item = (Direction, &Name, &str)> {
    explanation.sides.iter().filter_map(|side| {
        side.suggestion
            .as_deref()
            .map(|yaml| (side.direction, &side.pod, yaml))
    })
}

/// Lets `source` into `destination`.
pub(super) fn ingress(destination: &Pod, source: &Peer, protocol: Protocol, port: u16) -> String {
    let rules = rule("from", destination, source, protocol, port);
    policy(
        destination,
        Direction::Ingress,
        &peer_name(source),
        port,
        &rules,
    )
}

/// Lets `source` out to all of `routes`. `None` if there is none: a Service without backends cannot be allowed.
pub(super) fn egress(source: &Pod, routes: &[&Route], protocol: Protocol) -> Option<String> {
    let first = routes.first()?;
    let mut rules: Vec<String> = routes
        .iter()
        .map(|route| rule("to", source, &route.peer, protocol, route.port))
        .collect();
    rules.sort();
    rules.dedup();
    Some(policy(
        source,
        Direction::Egress,
        &peer_name(&first.peer),
        first.port,
        &rules.concat(),
    ))
}

fn policy(pod: &Pod, direction: Direction, peer: &str, port: u16, rules: &str) -> String {
    let (section, kind, word) = match direction {
        Direction::Ingress => ("ingress", "Ingress", "from"),
        Direction::Egress => ("egress", "Egress", "to"),
    };
    let name = dns_name(&format!("allow-{}-{word}-{peer}-{port}", pod.name.name));
    let mut yaml = String::new();
    let _infallible = write!(
        yaml,
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: {name}\n  namespace: {namespace}\nspec:\n  podSelector:{selector}  policyTypes: [{kind}]\n  {section}:\n{rules}",
        namespace = quoted(&pod.name.namespace),
        selector = selector(&pod.labels, 4),
    );
    yaml
}

fn rule(field: &str, pod: &Pod, peer: &Peer, protocol: Protocol, port: u16) -> String {
    let peer = match &peer.pod {
        Some(far) => {
            let namespace = if far.name.namespace == pod.name.namespace {
                String::new()
            } else {
                format!(
                    "namespaceSelector:\n            matchLabels:\n              {NAMESPACE_NAME_LABEL}: {}\n          ",
                    quoted(&far.name.namespace)
                )
            };
            format!("{namespace}podSelector:{}", selector(&far.labels, 12))
        }
        None => format!(
            "ipBlock:\n            cidr: {}\n",
            quoted(&host_block(peer.address))
        ),
    };
    format!(
        "    - {field}:\n        - {peer}      ports:\n        - protocol: {protocol}\n          port: {port}\n"
    )
}

fn host_block(address: IpAddr) -> String {
    format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 })
}

/// A selector by all labels, ` {}` if there is none; ends with a line break.
fn selector(labels: &Labels, indent: usize) -> String {
    if labels.is_empty() {
        return " {}\n".to_owned();
    }
    let pad = " ".repeat(indent);
    let mut text = format!("\n{pad}matchLabels:\n");
    for (key, value) in labels.iter().filter(|(key, _)| !is_per_pod(key)) {
        let _infallible = writeln!(text, "{pad}  {}: {}", quoted(key), quoted(value));
    }
    if labels.iter().all(|(key, _)| is_per_pod(key)) {
        " {}\n".to_owned()
    } else {
        text
    }
}

/// Labels that controllers set anew with each roll-out: a policy by them would not outlive it.
fn is_per_pod(key: &str) -> bool {
    matches!(
        key,
        "pod-template-hash" | "controller-revision-hash" | "pod-template-generation"
    )
}

/// A YAML scalar that is surely a string.
fn quoted(text: &str) -> String {
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/'))
        && text.len() > 3
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "true" | "false" | "null"
        );
    if is_plain {
        text.to_owned()
    } else {
        format!("\"{text}\"")
    }
}

fn peer_name(peer: &Peer) -> String {
    match &peer.pod {
        Some(pod) => pod.name.name.to_string(),
        None => peer.address.to_string(),
    }
}

/// A DNS subdomain of at most 63 characters out of any text.
fn dns_name(text: &str) -> String {
    let clean: String = text
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let mut name = String::new();
    for part in clean.split('-').filter(|part| !part.is_empty()) {
        if name.len() + part.len() + 1 > 63 {
            break;
        }
        if !name.is_empty() {
            name.push('-');
        }
        name.push_str(part);
    }
    name
}
