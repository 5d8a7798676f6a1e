//! Why a connection is allowed or denied, and the smallest change that would allow it.
//!
//! The verdict of each side comes from the compiled tables; the words (which clause of which rule matched or failed)
//! come from the policies as written. Both are judged for the state of the cluster that is handed in.

mod clauses;
mod describe;
mod party;
mod suggest;
mod text;

use std::collections::HashMap;
use std::net::IpAddr;

use serde::Serialize;
use thiserror::Error;

pub use clauses::{Clause, RuleReport};
pub use describe::{Description, RuleInWords, describe};
pub use party::{Party, PartyError};
pub use suggest::suggest;
pub use text::to_text;

use crate::compile::{Change, Compiler};
use crate::model::{Cluster, Direction, Name, Pod, Protocol};
use crate::tables::{Judgement, Origin, ProtocolClass, Query, Reason, RuleId};
use party::{Ends, Route};

/// Whose connection to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who connects.
    pub from: Party,
    /// To whom.
    pub to: Party,
    /// Protocol.
    pub protocol: Protocol,
    /// Port as the client uses it: a Service's own port for a Service.
    pub port: u16,
}

/// Why a request cannot be explained.
#[derive(Debug, Error)]
pub enum ExplainError {
    /// A party is not there.
    #[error(transparent)]
    Party(#[from] PartyError),
    /// The two parties have no address family in common.
    #[error("{from} and {to} have no address family in common")]
    NoCommonFamily {
        /// Who connects.
        from: String,
        /// To whom.
        to: String,
    },
}

/// The answer.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// Who connects.
    pub from: String,
    /// To whom.
    pub to: String,
    /// Protocol.
    pub protocol: Protocol,
    /// Port as asked.
    pub port: u16,
    /// Whether both sides allow it.
    pub allowed: bool,
    /// What each pod's policies say: the source's egress, each destination's ingress.
    pub sides: Vec<Side>,
    /// What is worth knowing beside the verdict.
    pub notes: Vec<String>,
}

/// What one pod's policies say in one direction.
#[derive(Clone, Debug, Serialize)]
pub struct Side {
    /// The pod whose policies these are.
    pub pod: Name,
    /// Its node.
    pub node: String,
    /// Direction as that pod sees it.
    pub direction: Direction,
    /// The other side.
    pub peer: String,
    /// Port at the destination pod.
    pub port: u16,
    /// Whether it is allowed.
    pub allowed: bool,
    /// Why.
    pub reason: Reason,
    /// The rule that allows it.
    pub rule: Option<NamedRule>,
    /// The policies that isolate the pod in this direction.
    pub isolated_by: Vec<Name>,
    /// Each of their rules: those that match first, then the nearest misses.
    pub rules: Vec<RuleReport>,
    /// The smallest NetworkPolicy that would allow it, if it is denied and a policy can.
    pub suggestion: Option<String>,
}

/// A rule by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NamedRule {
    /// The policy.
    pub policy: Name,
    /// Index in its list.
    pub index: u32,
}

impl Side {
    /// The nearest miss in one line, e.g. `demo/allow-to-target rule 0: port matches, label app=allowed is missing (has app=denied)`.
    pub fn nearest_miss(&self) -> Option<String> {
        self.rules
            .iter()
            .find(|rule| !rule.matched)
            .map(RuleReport::in_one_line)
    }
}

/// Explains a request.
///
/// # Errors
/// [`ExplainError`] if a party is not in the cluster.
pub fn explain(cluster: &Cluster, request: &Request) -> Result<Explanation, ExplainError> {
    let mut judges = Judges {
        cluster,
        compilers: HashMap::new(),
    };
    let ends = Ends::resolve(cluster, request)?;
    let mut sides = Vec::new();
    if let Some(source) = &ends.source_pod {
        sides.push(egress(cluster, &mut judges, source, &ends, request));
    }
    for route in &ends.routes {
        sides.extend(ingress(cluster, &mut judges, &ends, route, request));
    }
    let allowed = sides.iter().all(|side| side.allowed);
    Ok(Explanation {
        from: request.from.to_string(),
        to: request.to.to_string(),
        protocol: request.protocol,
        port: request.port,
        allowed,
        sides,
        notes: ends.notes,
    })
}

/// The nearest miss of one endpoint towards an address, for a record of a denial; `None` if nothing isolates it.
pub fn nearest_miss(
    cluster: &Cluster,
    endpoint: &Pod,
    direction: Direction,
    remote: IpAddr,
    protocol: ProtocolClass,
    port: u16,
) -> Option<String> {
    let peer = party::Peer::of_address(cluster, remote);
    let (_, rules) = clauses::reports(cluster, endpoint, direction, &peer, protocol, port);
    rules
        .iter()
        .find(|rule| !rule.matched)
        .map(RuleReport::in_one_line)
}

fn egress(
    cluster: &Cluster,
    judges: &mut Judges<'_>,
    source: &Pod,
    ends: &Ends,
    request: &Request,
) -> Side {
    let query = Query {
        direction: Direction::Egress,
        local: ends.source_ip,
        remote: ends.destination_ip,
        protocol: ProtocolClass::Named(request.protocol),
        port: request.port,
        origin: Origin::Forwarded,
    };
    let (judgement, rule) = judges.judge(source, &query);
    let named = ProtocolClass::Named(request.protocol);
    let (mut isolated_by, mut rules) = (Vec::new(), Vec::new());
    for route in &ends.routes {
        let (policies, mut reports) = clauses::reports(
            cluster,
            source,
            Direction::Egress,
            &route.peer,
            named,
            route.port,
        );
        isolated_by = policies;
        rules.append(&mut reports);
    }
    rules.sort_by_key(RuleReport::rank);
    rules.dedup();
    let denied: Vec<&Route> = ends
        .routes
        .iter()
        .filter(|route| !judges.allows_route(source, route, ends, request.protocol))
        .collect();
    let suggestion = (!judgement.allowed)
        .then(|| suggest::egress(source, &denied, request.protocol))
        .flatten();
    Side {
        isolated_by,
        rules,
        suggestion,
        ..side(
            source,
            Direction::Egress,
            &request.to.to_string(),
            request.port,
            &judgement,
            rule,
        )
    }
}

fn ingress(
    cluster: &Cluster,
    judges: &mut Judges<'_>,
    ends: &Ends,
    route: &Route,
    request: &Request,
) -> Option<Side> {
    let destination = route.peer.pod.as_ref()?;
    let is_own_node = cluster
        .nodes
        .get(&destination.node)
        .is_some_and(|node| node.addresses.contains(&ends.source_ip));
    let query = Query {
        direction: Direction::Ingress,
        local: route.address,
        remote: ends.source_ip,
        protocol: ProtocolClass::Named(request.protocol),
        port: route.port,
        origin: if is_own_node {
            Origin::Local
        } else {
            Origin::Forwarded
        },
    };
    let (judgement, rule) = judges.judge(destination, &query);
    let source = party::Peer::of_address(cluster, ends.source_ip);
    let named = ProtocolClass::Named(request.protocol);
    let (isolated_by, rules) = clauses::reports(
        cluster,
        destination,
        Direction::Ingress,
        &source,
        named,
        route.port,
    );
    let suggestion = (!judgement.allowed)
        .then(|| suggest::ingress(destination, &source, request.protocol, route.port));
    let peer = request.from.to_string();
    Some(Side {
        isolated_by,
        rules,
        suggestion,
        ..side(
            destination,
            Direction::Ingress,
            &peer,
            route.port,
            &judgement,
            rule,
        )
    })
}

fn side(
    pod: &Pod,
    direction: Direction,
    peer: &str,
    port: u16,
    judgement: &Judgement,
    rule: Option<NamedRule>,
) -> Side {
    Side {
        pod: pod.name.clone(),
        node: pod.node.to_string(),
        direction,
        peer: peer.to_owned(),
        port,
        allowed: judgement.allowed,
        reason: judgement.reason,
        rule,
        isolated_by: Vec::new(),
        rules: Vec::new(),
        suggestion: None,
    }
}

/// Compiled tables of the nodes that a request involves, made once each.
struct Judges<'c> {
    cluster: &'c Cluster,
    compilers: HashMap<String, Compiler>,
}

impl Judges<'_> {
    fn judge(&mut self, pod: &Pod, query: &Query) -> (Judgement, Option<NamedRule>) {
        let compiler = self
            .compilers
            .entry(pod.node.to_string())
            .or_insert_with(|| {
                let mut compiler =
                    Compiler::new(pod.node.clone(), crate::compile::Catalogue::default());
                compiler.apply(vec![Change::Replace(self.cluster.clone())]);
                compiler
            });
        // A pod without a network identity (host network, completed) is no endpoint: nothing isolates it.
        let open = Judgement {
            allowed: true,
            reason: Reason::NotIsolated,
            rule: RuleId::NOT_ISOLATED,
            set: crate::tables::SetId::OPEN,
            identity: crate::tables::IdentityId::WORLD,
        };
        let judgement = compiler.tables().verdict(&pod.name, query).unwrap_or(open);
        let entry = compiler.catalogue().rule(judgement.rule);
        let rule = entry.map(|entry| NamedRule {
            policy: entry.policy.clone(),
            index: entry.index,
        });
        (judgement, rule)
    }

    /// Whether the source may reach this backend or address directly.
    fn allows_route(
        &mut self,
        source: &Pod,
        route: &Route,
        ends: &Ends,
        protocol: Protocol,
    ) -> bool {
        let query = Query {
            direction: Direction::Egress,
            local: ends.source_ip,
            remote: route.address,
            protocol: ProtocolClass::Named(protocol),
            port: route.port,
            origin: Origin::Forwarded,
        };
        self.judge(source, &query).0.allowed
    }
}
