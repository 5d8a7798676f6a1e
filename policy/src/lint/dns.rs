//! A pod whose egress is isolated and that may not ask DNS finds nobody by name.

use super::Site;
use super::matching::{isolating, selected};
use crate::model::{Direction, NetworkPolicy, PolicyPort, Port, Protocol, Rule};

const DNS: u16 = 53;

pub(super) fn check(site: &mut Site<'_>) {
    let policy = site.policy.clone();
    // A policy that allows nothing at all is meant to; the ones beside it say what may leave.
    if policy.rules(Direction::Egress).is_empty() {
        return;
    }
    let pods = selected(site.cluster, &policy);
    let is_missing = |protocol| {
        if pods.is_empty() {
            return !allows_dns(&policy, protocol);
        }
        pods.iter().any(|pod| {
            !isolating(site.cluster, pod, Direction::Egress)
                .any(|other| allows_dns(other, protocol))
        })
    };
    let missing: Vec<&str> = [Protocol::Udp, Protocol::Tcp]
        .into_iter()
        .filter(|protocol| is_missing(*protocol))
        .map(Protocol::as_str)
        .collect();
    if missing.is_empty() {
        return;
    }
    let message = format!(
        "isolates egress without DNS: no rule for the selected pods allows port 53 ({})",
        missing.join(" and ")
    );
    site.warn("egress-without-dns", "spec.egress", message);
}

fn allows_dns(policy: &NetworkPolicy, protocol: Protocol) -> bool {
    let has_port = |port: &PolicyPort| {
        port.protocol == protocol
            && match &port.port {
                Port::All => true,
                Port::Range { first, last } => (*first..=*last).contains(&DNS),
                // CoreDNS names its ports dns and dns-tcp.
                Port::Named(name) => name.contains("dns"),
            }
    };
    let allows = |rule: &Rule| rule.ports.is_empty() || rule.ports.iter().any(has_port);
    policy.rules(Direction::Egress).iter().any(allows)
}
