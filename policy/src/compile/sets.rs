//! Policy sets: what they are, and what they say about a class.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::catalogue::SetEntry;
use super::class::{BackendPeer, Class, ServiceClass};
use super::policies::{CompiledRule, PeerMemo, PolicySide};
use crate::model::{Direction, Protocol};
use crate::tables::{Claim, PortTable, ProtocolClass, RuleId, SetId, build};

/// What a set consists of: endpoints with equal keys share a set.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum SetKey {
    /// Not isolated.
    Open,
    /// Isolated.
    Policies(Arc<SetPolicies>),
    /// A set of an earlier run whose meaning is not known.
    Adopted(SetId),
}

/// The policies of a set, and what is particular to its endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SetPolicies {
    pub(crate) direction: Direction,
    /// By name.
    pub(crate) sides: Vec<Arc<PolicySide>>,
    /// Ingress: its endpoints' numbers for the port names of its rules.
    pub(crate) ports: Vec<(Arc<str>, Protocol, Option<u16>)>,
    /// Egress: addresses by which its one endpoint is a backend that only its being itself allows.
    pub(crate) hairpin: Vec<IpAddr>,
}

impl SetPolicies {
    /// Its description in the catalogue.
    pub(crate) fn entry(&self) -> SetEntry {
        SetEntry {
            direction: self.direction,
            policies: self.sides.iter().map(|side| side.policy.clone()).collect(),
            ports: self.ports.clone(),
            hairpin: self.hairpin.clone(),
        }
    }

    /// A set of these policies for an endpoint that declares its ports as `resolve` says.
    pub(crate) fn new(
        direction: Direction,
        sides: Vec<Arc<PolicySide>>,
        resolve: impl Fn(&str, Protocol) -> Option<u16>,
    ) -> Self {
        let mut ports: Vec<(Arc<str>, Protocol, Option<u16>)> = Vec::new();
        if direction == Direction::Ingress {
            let rules = sides.iter().flat_map(|side| &side.rules);
            for (name, protocol) in rules.flat_map(CompiledRule::named_ports) {
                ports.push((Arc::clone(name), protocol, resolve(name, protocol)));
            }
            ports.sort_unstable();
            ports.dedup();
        }
        Self {
            direction,
            sides,
            ports,
            hairpin: Vec::new(),
        }
    }
}

/// Port tables by the rules that match and, if one has a named port, the label class.
type Shared = HashMap<(Vec<(u16, u16)>, Option<u32>), Option<PortTable>, RandomState>;

/// Compiles one set. Tables of equal content are shared.
pub(crate) struct SetCompiler<'a> {
    set: &'a SetPolicies,
    memo: &'a mut PeerMemo,
    shared: Shared,
}

impl<'a> SetCompiler<'a> {
    pub(crate) fn new(set: &'a SetPolicies, memo: &'a mut PeerMemo) -> Self {
        Self {
            set,
            memo,
            shared: Shared::default(),
        }
    }

    /// What the set says about a class; `None` = default deny.
    pub(crate) fn table(&mut self, class: &Class) -> Option<PortTable> {
        match class {
            Class::Service(_) | Class::OwnNode if self.set.direction == Direction::Ingress => None,
            Class::OwnNode => Some(PortTable::All(RuleId::OWN_NODE)),
            Class::Service(service) => self.service(service),
            Class::Adopted(_) => None,
            Class::Pods(..) | Class::Node(_) | Class::Cidr(_) => self.address(class),
        }
    }

    fn address(&mut self, class: &Class) -> Option<PortTable> {
        let mut matched = Vec::new();
        let mut named = false;
        for (side, policy) in self.set.sides.iter().zip(0u16..) {
            for (rule, index) in side.rules.iter().zip(0u16..) {
                if rule.matches(class, self.memo) {
                    matched.push((policy, index));
                    named |= rule.has_named_ports();
                }
            }
        }
        if matched.is_empty() {
            return None;
        }
        let named = named && self.set.direction == Direction::Egress;
        let base = class.base().filter(|_| named).map(|base| base.serial);
        let key = (matched, base);
        if let Some(table) = self.shared.get(&key) {
            return table.clone();
        }
        let table = build(&self.claims(&key.0, class));
        self.shared.insert(key, table.clone());
        table
    }

    fn claims(&self, matched: &[(u16, u16)], class: &Class) -> Vec<Claim> {
        let resolve = |name: &str, protocol: Protocol| match self.set.direction {
            Direction::Egress => class.base()?.value.named_port(name, protocol),
            Direction::Ingress => {
                let known = |(n, p, _): &&(Arc<str>, Protocol, _)| **n == *name && *p == protocol;
                self.set.ports.iter().find(known)?.2
            }
        };
        let mut claims = Vec::with_capacity(matched.len());
        for (policy, index) in matched {
            let rule = &self.set.sides[usize::from(*policy)].rules[usize::from(*index)];
            rule.claims(resolve, &mut claims);
        }
        claims
    }

    /// A Service is allowed if all its backends are. The endpoint itself does not count where it could not be reached
    /// but by being itself; a Service of nobody else is [`RuleId::SELF`].
    fn service(&mut self, service: &ServiceClass) -> Option<PortTable> {
        if service.backends.is_empty() {
            return Some(PortTable::All(RuleId::NO_BACKENDS));
        }
        let mut best: Option<RuleId> = None;
        let mut denied = false;
        for backend in &service.backends {
            if backend
                .sole
                .is_some_and(|address| self.set.hairpin.contains(&address))
            {
                best = best.or(Some(RuleId::SELF));
                continue;
            }
            match self.backend(&backend.peer, service.protocol, backend.port) {
                Some(rule) => best = Some(best.map_or(rule, |best| self.lower(best, rule))),
                None => denied = true,
            }
        }
        match (best, denied) {
            (Some(rule), false) => Some(PortTable::All(rule)),
            (Some(_), true) => Some(PortTable::All(RuleId::MIXED_BACKENDS)),
            (None, _) => None,
        }
    }

    /// The rule that allows a backend.
    pub(crate) fn backend(
        &mut self,
        peer: &BackendPeer,
        protocol: Protocol,
        port: u16,
    ) -> Option<RuleId> {
        match peer {
            BackendPeer::OwnNode => Some(RuleId::OWN_NODE),
            BackendPeer::Class(class) => self
                .table(class)?
                .rule(ProtocolClass::Named(protocol), port),
        }
    }

    /// The rule to name of two: one of a policy, and of those the first by name and index.
    fn lower(&self, left: RuleId, right: RuleId) -> RuleId {
        let position = |rule: RuleId| {
            self.set
                .sides
                .iter()
                .flat_map(|side| &side.rules)
                .position(|known| known.id == rule)
                .unwrap_or(usize::MAX)
        };
        if (position(right), right) < (position(left), left) {
            right
        } else {
            left
        }
    }
}
