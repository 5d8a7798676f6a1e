//! NetworkPolicies, ready to be matched: rules with their numbers, ports as claims, selector results remembered.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use ipnet::IpNet;

use super::catalogue::{Catalogue, RuleEntry};
use super::class::{Base, Class};
use crate::model::{
    Direction, IpBlock, Labels, Name, NetworkPolicy, Peer, PolicyPort, Port, Protocol, Rule,
};
use crate::tables::{Claim, PortRange, ProtocolClass, RuleId};

/// One direction of a policy. Equal only to itself: a changed policy is another one.
#[derive(Debug)]
pub(crate) struct PolicySide {
    serial: u32,
    pub(crate) policy: Name,
    pub(crate) rules: Vec<CompiledRule>,
}

impl PartialEq for PolicySide {
    fn eq(&self, other: &Self) -> bool {
        self.serial == other.serial
    }
}

impl Eq for PolicySide {}

impl Hash for PolicySide {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.serial.hash(state);
    }
}

/// One rule.
#[derive(Debug)]
pub(crate) struct CompiledRule {
    pub(crate) id: RuleId,
    /// Where [`PeerMemo`] remembers it.
    slot: u32,
    namespace: Arc<str>,
    rule: Rule,
    ports: Vec<RulePort>,
}

/// One entry of `ports`.
#[derive(Debug)]
enum RulePort {
    Fixed(PortRange),
    Named(Arc<str>, Protocol),
}

/// A policy in force.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) policy: Arc<NetworkPolicy>,
    sides: [Option<Arc<PolicySide>>; 2],
}

impl Compiled {
    /// Its side that isolates in `direction`.
    pub(crate) fn side(&self, direction: Direction) -> Option<&Arc<PolicySide>> {
        self.sides[direction as usize].as_ref()
    }
}

/// All policies of the cluster.
#[derive(Debug, Default)]
pub(crate) struct Policies {
    by_name: BTreeMap<Name, Compiled>,
    /// How many ipBlocks and exceptions name each CIDR.
    cidrs: BTreeMap<IpNet, u32>,
    memo: PeerMemo,
    /// Sides no longer in force that sets may still refer to.
    retired: Vec<Arc<PolicySide>>,
    next_serial: u32,
}

impl Policies {
    /// Adds, replaces or (with `None`) removes a policy. Returns what it was, or `None` if nothing changes.
    pub(crate) fn set(
        &mut self,
        name: &Name,
        policy: Option<Arc<NetworkPolicy>>,
        catalogue: &mut Catalogue,
        cidrs: &mut BTreeSet<IpNet>,
    ) -> Option<Option<Arc<NetworkPolicy>>> {
        let old = self.by_name.remove(name);
        if old.as_ref().map(|old| &old.policy) == policy.as_ref() {
            if let Some(old) = old {
                self.by_name.insert(name.clone(), old);
            }
            return None;
        }
        if let Some(policy) = &policy {
            for cidr in named_cidrs(policy) {
                let count = self.cidrs.entry(cidr).or_default();
                *count += 1;
                cidrs.insert(cidr);
            }
            let compiled = self.compile(policy, old.as_ref(), catalogue);
            self.by_name.insert(name.clone(), compiled);
        }
        let Some(old) = old else {
            return Some(None);
        };
        self.retired.extend(old.sides.into_iter().flatten());
        let old = old.policy;
        for cidr in named_cidrs(&old) {
            let count = self.cidrs.entry(cidr).or_insert(1);
            *count -= 1;
            if *count == 0 {
                self.cidrs.remove(&cidr);
                cidrs.insert(cidr);
            }
        }
        Some(Some(old))
    }

    /// The policies of a namespace by name.
    pub(crate) fn of(&self, namespace: &Arc<str>) -> impl Iterator<Item = &Compiled> {
        let from = Name::new(Arc::clone(namespace), "");
        self.by_name
            .range(from..)
            .take_while(move |(name, _)| name.namespace == *namespace)
            .map(|(_, compiled)| compiled)
    }

    /// The sides of the policies that isolate a pod in `direction`, by name.
    pub(crate) fn isolating(
        &self,
        namespace: &Arc<str>,
        labels: &Labels,
        direction: Direction,
    ) -> Vec<Arc<PolicySide>> {
        self.of(namespace)
            .filter_map(|compiled| Some((compiled, compiled.side(direction)?)))
            .filter(|(compiled, _)| compiled.policy.pod_selector.matches(labels))
            .map(|(_, side)| Arc::clone(side))
            .collect()
    }

    /// Whether a policy in force names the CIDR.
    pub(crate) fn names_cidr(&self, cidr: &IpNet) -> bool {
        self.cidrs.contains_key(cidr)
    }

    /// Names of all policies.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Name> {
        self.by_name.keys()
    }

    /// What is remembered of selectors and pods.
    pub(crate) fn memo(&mut self) -> &mut PeerMemo {
        &mut self.memo
    }

    /// Forgets what was remembered of sides that nothing refers to any more.
    pub(crate) fn collect(&mut self) {
        let memo = &mut self.memo;
        self.retired.retain(|side| {
            let used = Arc::strong_count(side) > 1;
            if !used {
                side.rules
                    .iter()
                    .for_each(|rule| memo.forget_rule(rule.slot));
            }
            used
        });
    }

    fn compile(
        &mut self,
        policy: &Arc<NetworkPolicy>,
        old: Option<&Compiled>,
        catalogue: &mut Catalogue,
    ) -> Compiled {
        let mut sides = [None, None];
        for direction in Direction::BOTH {
            if !policy.isolates(direction) {
                continue;
            }
            let kept = old
                .filter(|old| old.policy.rules(direction) == policy.rules(direction))
                .and_then(|old| old.side(direction));
            let side = match kept {
                Some(side) => Arc::clone(side),
                None => self.compile_side(policy, direction, catalogue),
            };
            sides[direction as usize] = Some(side);
        }
        Compiled {
            policy: Arc::clone(policy),
            sides,
        }
    }

    fn compile_side(
        &mut self,
        policy: &NetworkPolicy,
        direction: Direction,
        catalogue: &mut Catalogue,
    ) -> Arc<PolicySide> {
        let rules = policy
            .rules(direction)
            .iter()
            .zip(0..)
            .map(|(rule, index)| {
                let id = catalogue.rule_id(RuleEntry {
                    policy: policy.name.clone(),
                    direction,
                    index,
                });
                CompiledRule {
                    id,
                    slot: self.memo.slot(),
                    namespace: policy.name.namespace.clone(),
                    rule: rule.clone(),
                    ports: rule.ports.iter().map(|port| rule_port(port, id)).collect(),
                }
            });
        let rules = rules.collect();
        self.next_serial += 1;
        Arc::new(PolicySide {
            serial: self.next_serial,
            policy: policy.name.clone(),
            rules,
        })
    }
}

impl CompiledRule {
    /// Whether a peer of this class matches `from` or `to`.
    pub(crate) fn matches(&self, class: &Class, memo: &mut PeerMemo) -> bool {
        if self.rule.peers.is_empty() {
            return true;
        }
        let by_address = self.rule.peers.iter().any(|peer| match peer {
            Peer::IpBlock(block) => covers(block, class.cidrs()),
            Peer::Pods { .. } => false,
        });
        by_address || class.base().is_some_and(|base| memo.matches(self, base))
    }

    /// Whether its ports depend on what pods declare.
    pub(crate) fn has_named_ports(&self) -> bool {
        self.ports
            .iter()
            .any(|port| matches!(port, RulePort::Named(..)))
    }

    /// The named ports it speaks of.
    pub(crate) fn named_ports(&self) -> impl Iterator<Item = (&Arc<str>, Protocol)> {
        self.ports.iter().filter_map(|port| match port {
            RulePort::Named(name, protocol) => Some((name, *protocol)),
            RulePort::Fixed(_) => None,
        })
    }

    /// The ports it allows, names resolved on the destination pod by `resolve`.
    pub(crate) fn claims(
        &self,
        resolve: impl Fn(&str, Protocol) -> Option<u16>,
        claims: &mut Vec<Claim>,
    ) {
        if self.ports.is_empty() {
            claims.push(Claim::All(self.id));
        }
        claims.extend(self.ports.iter().filter_map(|port| {
            match port {
                RulePort::Fixed(range) => Some(Claim::Range(*range)),
                RulePort::Named(name, protocol) => resolve(name, *protocol)
                    .map(|number| Claim::Range(range(*protocol, number, number, self.id))),
            }
        }));
    }

    fn selects(&self, base: &Base) -> bool {
        self.rule.peers.iter().any(|peer| match peer {
            Peer::IpBlock(_) => false,
            Peer::Pods {
                namespace_selector,
                pod_selector,
            } => {
                let namespace = match namespace_selector {
                    Some(selector) => selector.matches(&base.value.namespace_labels),
                    None => base.value.namespace == self.namespace,
                };
                namespace
                    && pod_selector
                        .as_ref()
                        .is_none_or(|selector| selector.matches(&base.value.labels))
            }
        })
    }
}

/// Whether an address under exactly these policy CIDRs is in the block: CIDRs either nest or do not meet.
fn covers(block: &IpBlock, cidrs: &[IpNet]) -> bool {
    cidrs.contains(&block.cidr) && !block.except.iter().any(|except| cidrs.contains(except))
}

fn range(protocol: Protocol, low: u16, high: u16, rule: RuleId) -> PortRange {
    PortRange {
        protocol: ProtocolClass::Named(protocol),
        low,
        high,
        rule,
    }
}

fn rule_port(port: &PolicyPort, rule: RuleId) -> RulePort {
    match &port.port {
        Port::All => RulePort::Fixed(range(port.protocol, 0, u16::MAX, rule)),
        Port::Range { first, last } => RulePort::Fixed(range(port.protocol, *first, *last, rule)),
        Port::Named(name) => RulePort::Named(Arc::clone(name), port.protocol),
    }
}

/// The CIDRs that the rules in force name, exceptions included.
fn named_cidrs(policy: &NetworkPolicy) -> impl Iterator<Item = IpNet> {
    Direction::BOTH
        .into_iter()
        .flat_map(|direction| policy.rules(direction))
        .flat_map(|rule| &rule.peers)
        .filter_map(|peer| match peer {
            Peer::IpBlock(block) => Some(block),
            Peer::Pods { .. } => None,
        })
        .flat_map(|block| std::iter::once(&block.cidr).chain(&block.except))
        .copied()
}

/// Remembers which label classes the selectors of each rule match: two bits per rule and class.
#[derive(Debug, Default)]
pub(crate) struct PeerMemo {
    rules: Vec<Vec<u64>>,
    free: Vec<u32>,
}

const PER_WORD: u32 = 32;

impl PeerMemo {
    fn slot(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.rules.push(Vec::new());
            u32::try_from(self.rules.len() - 1).expect("fewer than 2^32 rules fit in memory")
        })
    }

    fn forget_rule(&mut self, slot: u32) {
        self.rules[slot as usize] = Vec::new();
        self.free.push(slot);
    }

    /// Forgets a class whose serial will be reused.
    pub(crate) fn forget_base(&mut self, serial: u32) {
        let (word, shift) = ((serial / PER_WORD) as usize, serial % PER_WORD * 2);
        for rule in &mut self.rules {
            if let Some(bits) = rule.get_mut(word) {
                *bits &= !(3 << shift);
            }
        }
    }

    fn matches(&mut self, rule: &CompiledRule, base: &Base) -> bool {
        let (word, shift) = (
            (base.serial / PER_WORD) as usize,
            base.serial % PER_WORD * 2,
        );
        let bits = &mut self.rules[rule.slot as usize];
        if bits.len() <= word {
            bits.resize(word + 1, 0);
        }
        match bits[word] >> shift & 3 {
            0 => {
                let matches = rule.selects(base);
                bits[word] |= if matches { 3 } else { 1 } << shift;
                matches
            }
            known => known == 3,
        }
    }
}
