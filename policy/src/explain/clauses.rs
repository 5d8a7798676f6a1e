//! For each rule of each policy that isolates a pod: which clause matched, and which failed, in words.

use serde::Serialize;

use super::party::Peer;
use crate::model::{
    Cluster, Direction, LabelSelector, Labels, Name, NetworkPolicy, Operator, Peer as RulePeer,
    Pod, PolicyPort, Port, Requirement, Rule,
};
use crate::tables::ProtocolClass;

/// One rule against one connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleReport {
    /// The policy.
    pub policy: Name,
    /// Index of the rule in its list; `None` for a policy that has no rule at all.
    pub index: Option<u32>,
    /// Whether it allows the connection.
    pub matched: bool,
    /// The `from` or `to` clause.
    pub peer: Clause,
    /// The `ports` clause.
    pub ports: Clause,
}

/// What became of a clause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Clause {
    /// Whether it matches.
    pub matched: bool,
    /// Why (not), in words.
    pub why: String,
    /// How far it is from matching: the number of things that would have to be different.
    pub distance: u32,
}

impl Clause {
    fn yes(why: impl Into<String>) -> Self {
        Self {
            matched: true,
            why: why.into(),
            distance: 0,
        }
    }

    fn no(distance: u32, why: impl Into<String>) -> Self {
        Self {
            matched: false,
            why: why.into(),
            distance,
        }
    }
}

impl RuleReport {
    /// Matching rules first, then the nearest misses; equal ones by name.
    pub(super) fn rank(&self) -> (bool, u32, Name, Option<u32>) {
        (
            !self.matched,
            self.peer.distance + self.ports.distance,
            self.policy.clone(),
            self.index,
        )
    }

    /// `demo/allow-to-target rule 0: port matches, label app=allowed is missing`.
    pub fn in_one_line(&self) -> String {
        let Some(index) = self.index else {
            return format!("{}: {}", self.policy, self.peer.why);
        };
        let words = match (self.peer.matched, self.ports.matched) {
            (false, true) => format!("port matches, {}", self.peer.why),
            (true, false) => format!("peer matches, {}", self.ports.why),
            _ => format!("{}; {}", self.peer.why, self.ports.why),
        };
        format!("{} rule {index}: {words}", self.policy)
    }
}

/// The policies that isolate `pod` in `direction`, and all their rules against the far side, nearest first.
pub(super) fn reports(
    cluster: &Cluster,
    pod: &Pod,
    direction: Direction,
    peer: &Peer,
    protocol: ProtocolClass,
    port: u16,
) -> (Vec<Name>, Vec<RuleReport>) {
    let mut policies = Vec::new();
    let mut reports = Vec::new();
    for policy in cluster.policies.values() {
        if !policy.selects(pod) || !policy.isolates(direction) {
            continue;
        }
        policies.push(policy.name.clone());
        let rules = policy.rules(direction);
        if rules.is_empty() {
            reports.push(without_rules(policy, direction));
        }
        // The destination's port names count: the pod itself for ingress, the far side for egress.
        let destination = match direction {
            Direction::Ingress => Some(pod),
            Direction::Egress => peer.pod.as_deref(),
        };
        for (index, rule) in rules.iter().enumerate() {
            let (from, ports) = (
                peer_clause(cluster, policy, rule, peer),
                port_clause(rule, destination, protocol, port),
            );
            let matched = from.matched && ports.matched;
            reports.push(RuleReport {
                policy: policy.name.clone(),
                index: u32::try_from(index).ok(),
                matched,
                peer: from,
                ports,
            });
        }
    }
    reports.sort_by_key(RuleReport::rank);
    (policies, reports)
}

fn without_rules(policy: &NetworkPolicy, direction: Direction) -> RuleReport {
    let why = format!("isolates the pod and has no {} rule", direction.as_str());
    RuleReport {
        policy: policy.name.clone(),
        index: None,
        matched: false,
        peer: Clause::no(1000, why),
        ports: Clause::yes(""),
    }
}

fn peer_clause(cluster: &Cluster, policy: &NetworkPolicy, rule: &Rule, peer: &Peer) -> Clause {
    if rule.peers.is_empty() {
        return Clause::yes("any peer");
    }
    let clauses = rule.peers.iter().map(|wanted| match wanted {
        RulePeer::IpBlock(block) if !block.cidr.contains(&peer.address) => Clause::no(
            10,
            format!("{} is outside ipBlock {}", peer.address, block.cidr),
        ),
        RulePeer::IpBlock(block) => match block
            .except
            .iter()
            .find(|except| except.contains(&peer.address))
        {
            Some(except) => Clause::no(
                5,
                format!(
                    "{} is excepted from ipBlock {} by {except}",
                    peer.address, block.cidr
                ),
            ),
            None => Clause::yes(format!("{} is in ipBlock {}", peer.address, block.cidr)),
        },
        RulePeer::Pods {
            namespace_selector,
            pod_selector,
        } => pods_clause(
            cluster,
            policy,
            namespace_selector.as_ref(),
            pod_selector.as_ref(),
            peer,
        ),
    });
    nearest(clauses).unwrap_or_else(|| Clause::no(1000, "no peer"))
}

/// The clause that matches, or the one that nearly does.
fn nearest(clauses: impl Iterator<Item = Clause>) -> Option<Clause> {
    clauses.min_by_key(|clause| (!clause.matched, clause.distance))
}

fn pods_clause(
    cluster: &Cluster,
    policy: &NetworkPolicy,
    namespaces: Option<&LabelSelector>,
    pods: Option<&LabelSelector>,
    peer: &Peer,
) -> Clause {
    let Some(pod) = &peer.pod else {
        return Clause::no(
            20,
            format!("{} is no pod; selectors match pods only", peer.address),
        );
    };
    let mut failed = Vec::new();
    match namespaces {
        None if pod.name.namespace != policy.name.namespace => {
            failed.push(format!(
                "namespace is {}, the peer is for pods of {} only (no namespaceSelector)",
                pod.name.namespace, policy.name.namespace
            ));
        }
        None => {}
        Some(selector) => {
            let labels = cluster
                .namespaces
                .get(&pod.name.namespace)
                .map(|namespace| namespace.labels.clone());
            match labels {
                Some(labels) => failed.extend(
                    missing(selector, &labels)
                        .into_iter()
                        .map(|why| format!("namespace {}: {why}", pod.name.namespace)),
                ),
                None => failed.push(format!("namespace {} is not known", pod.name.namespace)),
            }
        }
    }
    failed.extend(
        pods.map(|selector| missing(selector, &pod.labels))
            .unwrap_or_default(),
    );
    if failed.is_empty() {
        return Clause::yes(format!("{} is selected", pod.name));
    }
    Clause::no(
        u32::try_from(failed.len()).unwrap_or(u32::MAX / 2),
        failed.join(", "),
    )
}

/// What labels lack to be selected, in words.
fn missing(selector: &LabelSelector, labels: &Labels) -> Vec<String> {
    let has = |key: &str| {
        labels
            .get(key)
            .map_or_else(String::new, |value| format!(" (has {key}={value})"))
    };
    let mut failed: Vec<String> = selector
        .match_labels
        .iter()
        .filter(|(key, value)| labels.get(key) != Some(value))
        .map(|(key, value)| format!("label {key}={value} is missing{}", has(key)))
        .collect();
    let unmet = selector
        .match_expressions
        .iter()
        .filter(|requirement| !requirement.matches(labels));
    failed.extend(unmet.map(|requirement| {
        format!(
            "{} does not hold{}",
            requirement_in_words(requirement),
            has(&requirement.key)
        )
    }));
    failed
}

pub(super) fn requirement_in_words(requirement: &Requirement) -> String {
    let key = &requirement.key;
    match &requirement.operator {
        Operator::In(values) => format!("label {key} in ({})", values.join(", ")),
        Operator::NotIn(values) => format!("label {key} not in ({})", values.join(", ")),
        Operator::Exists => format!("label {key} exists"),
        Operator::DoesNotExist => format!("label {key} does not exist"),
    }
}

fn port_clause(
    rule: &Rule,
    destination: Option<&Pod>,
    protocol: ProtocolClass,
    port: u16,
) -> Clause {
    if rule.ports.is_empty() {
        return Clause::yes("any port");
    }
    let ProtocolClass::Named(protocol) = protocol else {
        return Clause::no(
            3,
            "the rule names ports; only a rule without ports allows this protocol",
        );
    };
    let clauses = rule.ports.iter().map(|wanted| {
        if wanted.protocol != protocol {
            return Clause::no(
                2,
                format!(
                    "protocol is {protocol}, the rule is for {}",
                    port_in_words(wanted)
                ),
            );
        }
        let range = match &wanted.port {
            Port::All => return Clause::yes(format!("all {protocol} ports")),
            Port::Range { first, last } => (*first, *last),
            Port::Named(name) => match destination.and_then(|pod| pod.named_port(name, protocol)) {
                Some(number) => (number, number),
                None => {
                    return Clause::no(
                        1,
                        format!("the destination has no {protocol} port named {name}"),
                    );
                }
            },
        };
        if (range.0..=range.1).contains(&port) {
            return Clause::yes(format!("port {port} matches"));
        }
        Clause::no(
            1,
            format!("port is {port}, the rule is for {}", port_in_words(wanted)),
        )
    });
    nearest(clauses).unwrap_or_else(|| Clause::no(1000, "no port"))
}

pub(super) fn port_in_words(port: &PolicyPort) -> String {
    match &port.port {
        Port::All => format!("all {} ports", port.protocol),
        Port::Range { first, last } if first == last => format!("{} {first}", port.protocol),
        Port::Range { first, last } => format!("{} {first}-{last}", port.protocol),
        Port::Named(name) => format!("{} {name}", port.protocol),
    }
}
