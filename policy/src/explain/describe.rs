//! What isolates a pod and who may reach it, without a connection in mind.

use std::fmt::Write;

use serde::Serialize;

use super::clauses::port_in_words;
use super::party::PartyError;
use crate::model::{Cluster, Direction, LabelSelector, Name, Peer, Rule};

/// The policies of a pod in one direction.
#[derive(Clone, Debug, Serialize)]
pub struct Description {
    /// The pod.
    pub pod: Name,
    /// Direction as the pod sees it.
    pub direction: Direction,
    /// The policies that isolate it; none: everything is allowed.
    pub isolated_by: Vec<Name>,
    /// All their rules; what none of them allows is denied.
    pub rules: Vec<RuleInWords>,
}

/// A rule in words.
#[derive(Clone, Debug, Serialize)]
pub struct RuleInWords {
    /// The policy.
    pub policy: Name,
    /// Index in its list.
    pub index: usize,
    /// Who.
    pub peers: String,
    /// Where.
    pub ports: String,
}

/// Describes a pod's isolation in one direction.
///
/// # Errors
/// [`PartyError::NotFound`] if there is no such pod.
pub fn describe(
    cluster: &Cluster,
    name: &Name,
    direction: Direction,
) -> Result<Description, PartyError> {
    let Some(pod) = cluster.pods.get(name) else {
        return Err(PartyError::NotFound {
            name: name.clone(),
            service: false,
        });
    };
    let policies = cluster.policies.values();
    let isolating: Vec<_> = policies
        .filter(|policy| policy.isolates(direction) && policy.selects(pod))
        .collect();
    let rules = isolating.iter().flat_map(|policy| {
        let rules = policy.rules(direction).iter().enumerate();
        rules.map(|(index, rule)| RuleInWords {
            policy: policy.name.clone(),
            index,
            peers: peers(rule),
            ports: ports(rule),
        })
    });
    Ok(Description {
        pod: name.clone(),
        direction,
        rules: rules.collect(),
        isolated_by: isolating.iter().map(|policy| policy.name.clone()).collect(),
    })
}

impl Description {
    /// For people.
    pub fn to_text(&self) -> String {
        let Self {
            pod,
            direction,
            isolated_by,
            rules,
        } = self;
        let (direction, word) = match direction {
            Direction::Ingress => ("ingress", "from"),
            Direction::Egress => ("egress", "to"),
        };
        if isolated_by.is_empty() {
            return format!("{direction} of {pod}: no policy isolates it, everything is allowed\n");
        }
        let names: Vec<String> = isolated_by.iter().map(ToString::to_string).collect();
        let mut text = format!(
            "{direction} of {pod}: isolated by {}; allowed is only\n",
            names.join(", ")
        );
        if rules.is_empty() {
            text.push_str("  nothing: none of them has a rule\n");
        }
        for rule in rules {
            let RuleInWords {
                policy,
                index,
                peers,
                ports,
            } = rule;
            let _infallible = writeln!(text, "  {word} {peers}, {ports} ({policy} rule {index})");
        }
        text
    }
}

fn peers(rule: &Rule) -> String {
    if rule.peers.is_empty() {
        return "anybody".to_owned();
    }
    let peers: Vec<String> = rule.peers.iter().map(peer).collect();
    peers.join(" or ")
}

fn peer(peer: &Peer) -> String {
    match peer {
        Peer::IpBlock(block) if block.except.is_empty() => block.cidr.to_string(),
        Peer::IpBlock(block) => {
            let except: Vec<String> = block.except.iter().map(ToString::to_string).collect();
            format!("{} except {}", block.cidr, except.join(", "))
        }
        Peer::Pods {
            namespace_selector,
            pod_selector,
        } => {
            let pods = match pod_selector {
                Some(selector) if !selector.is_empty() => format!("pods with {}", labels(selector)),
                _ => "all pods".to_owned(),
            };
            match namespace_selector {
                None => format!("{pods} of this namespace"),
                Some(selector) if selector.is_empty() => format!("{pods} of all namespaces"),
                Some(selector) => format!("{pods} of namespaces with {}", labels(selector)),
            }
        }
    }
}

fn labels(selector: &LabelSelector) -> String {
    let equal = selector.match_labels.iter();
    let equal = equal.map(|(key, value)| format!("{key}={value}"));
    let expressions = selector.match_expressions.iter();
    let expressions = expressions.map(super::clauses::requirement_in_words);
    equal.chain(expressions).collect::<Vec<_>>().join(" and ")
}

fn ports(rule: &Rule) -> String {
    if rule.ports.is_empty() {
        return "any port of any protocol".to_owned();
    }
    let ports: Vec<String> = rule.ports.iter().map(port_in_words).collect();
    ports.join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest;

    const MANIFESTS: &str = r"
apiVersion: v1
kind: Pod
metadata: {name: db, namespace: shop, labels: {app: db}}
spec: {nodeName: node-1, containers: [{name: main}]}
status: {podIPs: [{ip: 10.0.0.5}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  policyTypes: [Ingress]
  ingress:
  - from:
    - podSelector: {matchLabels: {app: web}}
      namespaceSelector: {matchExpressions: [{key: env, operator: In, values: [prod, test]}]}
    - ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}
    ports: [{port: 5432}, {port: metrics}]
  - from: [{podSelector: {}}]
";

    fn text(direction: Direction) -> String {
        let loaded = manifest::load([("test", MANIFESTS)]);
        let described = describe(&loaded.cluster, &Name::new("shop", "db"), direction);
        described.expect("there").to_text()
    }

    #[test]
    fn every_rule_is_told_with_its_peers_and_ports() {
        assert_eq!(
            text(Direction::Ingress),
            "ingress of shop/db: isolated by shop/db; allowed is only\n\
             \x20 from pods with app=web of namespaces with label env in (prod, test) or 10.0.0.0/8 except 10.1.0.0/16, \
             TCP 5432 or TCP metrics (shop/db rule 0)\n\
             \x20 from all pods of this namespace, any port of any protocol (shop/db rule 1)\n"
        );
    }

    #[test]
    fn without_isolation_everything_is_allowed() {
        let text = text(Direction::Egress);
        assert_eq!(
            text,
            "egress of shop/db: no policy isolates it, everything is allowed\n"
        );
    }

    #[test]
    fn a_pod_that_is_not_there_is_named() {
        let error = describe(
            &Cluster::default(),
            &Name::new("a", "b"),
            Direction::Ingress,
        );
        assert!(error.expect_err("missing").to_string().contains("a/b"));
    }
}
