//! The way from one state of the tables to the next.
//!
//! Places (front ends, addresses, CIDRs) move to other identities, endpoints to other sets. While it is under way an
//! endpoint that will leave a set meets moved places under its old set. What the old set says of the new identity must
//! then be what it said of the place before, or what the endpoint's new set says of it. Where that does not follow by
//! itself the old set is *frozen*: new identities enter it with the verdicts that their places had, and whoever was to
//! stay in it moves to a fresh copy. An identity that a frozen set already judges otherwise is not taken; the places
//! get a fresh one of the same class instead (an alias, merged by a later update).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use foldhash::fast::RandomState;

use super::addresses::Addresses;
use super::catalogue::Catalogue;
use super::class::Class;
use super::live::{Live, OPEN, Place};
use super::policies::PeerMemo;
use super::sets::{SetCompiler, SetKey};
use crate::model::{Direction, Name};
use crate::tables::{
    EndpointSets, IdentityId, NodeAddress, Peer, PortTable, ProtocolClass, RuleId, SetId, Tables,
};

/// Where a place is to be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Destination {
    /// In this class.
    Class(Class, NodeAddress),
    /// Nowhere: lookups then find this class beneath.
    Gone(Class),
}

/// What is to be reached.
#[derive(Debug, Default)]
pub(crate) struct Goal {
    /// Places that may have to move.
    pub(crate) places: BTreeMap<Place, Destination>,
    /// Endpoints that may have to switch: ingress and egress set, or gone.
    pub(crate) endpoints: BTreeMap<Name, Option<[SetKey; 2]>>,
    /// Pods that have other addresses than before.
    pub(crate) readdressed: BTreeSet<Name>,
}

/// Places with the same way: to the policies one place.
#[derive(Debug)]
pub(super) struct Group {
    /// What lookups find at first.
    pub(super) old: Peer,
    pub(super) to: Destination,
    pub(super) places: Vec<Place>,
    /// The identity they get, if any.
    pub(super) identity: Option<IdentityId>,
}

impl Group {
    pub(super) fn class(&self) -> &Class {
        match &self.to {
            Destination::Class(class, _) | Destination::Gone(class) => class,
        }
    }

    /// Whether, while endpoints switch, connections meet what they met before or what they will meet. `says`: what the
    /// set they leave will say of the class, what it said of the places, and what their new set will say.
    fn is_between(&self, direction: Direction, says: [&Option<PortTable>; 3]) -> bool {
        if direction == Direction::Egress && self.new_node() == NodeAddress::Own {
            return true; // sets are not asked
        }
        self.places.iter().all(|place| match (place, direction) {
            (Place::Frontend(_), Direction::Ingress) => true, // not looked up
            (Place::Frontend(frontend), Direction::Egress) => {
                let protocol = ProtocolClass::Named(frontend.protocol);
                let rule =
                    |table: &Option<PortTable>| table.as_ref()?.rule(protocol, frontend.port);
                let [table, old, new] = says.map(rule);
                table == old || table == new
            }
            (Place::Peer(_) | Place::Network(_), _) => is_between(says),
        })
    }

    fn new_node(&self) -> NodeAddress {
        match self.to {
            Destination::Class(_, node) => node,
            Destination::Gone(_) => NodeAddress::No,
        }
    }

    /// Whether its places cease to be a node's, or this node's. That is done when all endpoints have switched.
    pub(super) fn leaves_node(&self) -> bool {
        let new = self.new_node();
        matches!(self.places[0], Place::Peer(_))
            && self.old.node != NodeAddress::No
            && self.old.node != new
            && new != NodeAddress::Own
    }
}

/// What kind of place: lookups of different kinds fall through to different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Frontend,
    Peer,
    Network,
}

impl Kind {
    fn of(place: &Place) -> Self {
        match place {
            Place::Frontend(_) => Self::Frontend,
            Place::Peer(_) => Self::Peer,
            Place::Network(_) => Self::Network,
        }
    }
}

/// A switch of endpoints from one set to another, per direction.
type Pair = (Direction, SetId, SetId);

/// An identity that is new.
#[derive(Debug)]
pub(super) struct Fresh {
    pub(super) id: IdentityId,
    pub(super) class: Class,
    /// What lookups found at its places before: what frozen sets must keep saying.
    pub(super) old: Peer,
}

/// One update in the making.
pub(crate) struct Planner<'a> {
    pub(crate) tables: &'a Tables,
    pub(crate) live: &'a mut Live,
    pub(crate) catalogue: &'a mut Catalogue,
    pub(crate) memo: &'a mut PeerMemo,
    pub(crate) addresses: &'a Addresses,
}

/// What was decided, for the writes to be made of.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) groups: Vec<Group>,
    /// Endpoint → its sets to be; `None` = gone.
    pub(super) switches: BTreeMap<Name, Option<EndpointSets>>,
    pub(super) fresh: Vec<Fresh>,
    pub(super) new_sets: Vec<SetId>,
    pub(super) frozen: BTreeMap<SetId, Direction>,
    /// Whether removed places are first given an identity, and removed when all endpoints have switched.
    pub(super) removal: Removal,
    /// Whether any endpoint switches.
    pub(super) switching: bool,
}

/// How places are removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Removal {
    /// In one write.
    #[default]
    AtOnce,
    /// Moved first, removed with the cleanup.
    Later,
}

impl Planner<'_> {
    pub(super) fn plan(&mut self, goal: Goal) -> Plan {
        let mut plan = Plan {
            groups: self.groups(goal.places),
            ..Plan::default()
        };
        self.choose_sets(goal.endpoints, &mut plan);
        self.freeze(&mut plan, &goal.readdressed);
        plan.switching = plan.switches.values().any(Option::is_some);
        plan.removal = if plan.frozen.is_empty() {
            Removal::AtOnce
        } else {
            Removal::Later
        };
        self.choose_identities(&mut plan);
        plan
    }

    /// The places that move, by where from and where to.
    fn groups(&self, places: BTreeMap<Place, Destination>) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        let mut index: HashMap<(Kind, Peer, Destination), usize, RandomState> = HashMap::default();
        for (place, to) in places {
            let held = place.held(self.tables);
            let settled = match (&to, held) {
                (Destination::Gone(_), None) => true,
                (Destination::Class(class, node), Some(held)) => {
                    held.node == *node && self.is_settled(held.identity, class)
                }
                _ => false,
            };
            if settled {
                continue;
            }
            let old = place.found(self.tables);
            let at = *index
                .entry((Kind::of(&place), old, to))
                .or_insert_with_key(|key| {
                    groups.push(Group {
                        old,
                        to: key.2.clone(),
                        places: Vec::new(),
                        identity: None,
                    });
                    groups.len() - 1
                });
            groups[at].places.push(place);
        }
        groups
    }

    fn is_settled(&self, identity: IdentityId, class: &Class) -> bool {
        self.live.class(identity) == Some(class)
            && (!self.live.aliases.contains(&identity)
                || self.live.of_class(class).first() == Some(&identity))
    }

    /// The set of each endpoint; sets that are not there get a number.
    fn choose_sets(&mut self, endpoints: BTreeMap<Name, Option<[SetKey; 2]>>, plan: &mut Plan) {
        for (name, keys) in endpoints {
            let held = self.tables.endpoints.get(&name);
            let sets = keys.map(|keys| {
                let [ingress, egress] = keys.map(|key| self.set_of(key, plan));
                EndpointSets { ingress, egress }
            });
            if held != sets.as_ref() {
                plan.switches.insert(name, sets);
            }
        }
    }

    fn set_of(&mut self, key: SetKey, plan: &mut Plan) -> SetId {
        match self.live.of_key(&key) {
            Some(id) => id,
            None => self.new_set(key, plan),
        }
    }

    fn new_set(&mut self, key: SetKey, plan: &mut Plan) -> SetId {
        let SetKey::Policies(policies) = &key else {
            return SetId::OPEN;
        };
        let id = self.catalogue.new_set(policies.entry());
        self.live.add_set(id, key);
        plan.new_sets.push(id);
        id
    }

    /// Finds the sets that endpoints cannot leave while places move, freezes them and empties them.
    fn freeze(&mut self, plan: &mut Plan, readdressed: &BTreeSet<Name>) {
        for sets in self.tables.endpoints.values() {
            for (direction, id) in by_direction(*sets) {
                if matches!(self.live.key(id), Some(SetKey::Adopted(_))) {
                    plan.frozen.insert(id, direction);
                }
            }
        }
        if !plan.groups.is_empty() {
            self.conflicts(plan, readdressed);
        }
        if plan.frozen.is_empty() {
            return;
        }
        let mut endpoints: BTreeMap<Name, Option<EndpointSets>> = self
            .tables
            .endpoints
            .iter()
            .map(|(name, sets)| (name.clone(), Some(*sets)))
            .collect();
        endpoints.extend(plan.switches.clone());
        let mut copies: BTreeMap<SetId, SetId> = BTreeMap::new();
        for (name, sets) in endpoints {
            let Some(sets) = sets else { continue };
            let moved = EndpointSets {
                ingress: self.copy_of(sets.ingress, &mut copies, plan),
                egress: self.copy_of(sets.egress, &mut copies, plan),
            };
            if self.tables.endpoints.get(&name) != Some(&moved) {
                plan.switches.insert(name, Some(moved));
            }
        }
    }

    /// The set itself, or the one that takes the place of a frozen one.
    fn copy_of(
        &mut self,
        id: SetId,
        copies: &mut BTreeMap<SetId, SetId>,
        plan: &mut Plan,
    ) -> SetId {
        if !plan.frozen.contains_key(&id) {
            return id;
        }
        if let Some(copy) = copies.get(&id) {
            return *copy;
        }
        let key = self.live.key(id).cloned().unwrap_or(SetKey::Open);
        let copy = self.new_set(key, plan);
        copies.insert(id, copy);
        copy
    }

    fn conflicts(&mut self, plan: &mut Plan, readdressed: &BTreeSet<Name>) {
        let mut pairs: BTreeMap<Pair, Vec<&Name>> = BTreeMap::new();
        for (name, sets) in &plan.switches {
            let (Some(old), Some(new)) = (self.tables.endpoints.get(name), sets) else {
                continue; // came or went: nothing to compare
            };
            for ((direction, from), (_, to)) in
                by_direction(*old).into_iter().zip(by_direction(*new))
            {
                if from != to && from >= SetId::FIRST && !plan.frozen.contains_key(&from) {
                    pairs.entry((direction, from, to)).or_default().push(name);
                }
            }
        }
        let mut frozen = Vec::new();
        let mut rows: HashMap<SetId, Vec<Option<PortTable>>, RandomState> = HashMap::default();
        for ((direction, from, to), names) in pairs {
            for set in [from, to] {
                rows.entry(set)
                    .or_insert_with(|| self.row(set, &plan.groups));
            }
            let in_conflict = plan.groups.iter().enumerate().any(|(at, group)| {
                let old = self.old_table(from, direction, group.old);
                let says = [&rows[&from][at], &old, &rows[&to][at]];
                let is_itself = || match &names[..] {
                    [name] => !readdressed.contains(*name) && self.is_itself(group, name),
                    _ => false,
                };
                !group.is_between(direction, says) && !is_itself()
            });
            if in_conflict {
                frozen.push((from, direction));
            }
        }
        plan.frozen.extend(frozen);
    }

    /// What a set is to say about the class of each group.
    fn row(&mut self, set: SetId, groups: &[Group]) -> Vec<Option<PortTable>> {
        match self.live.key(set).cloned() {
            Some(SetKey::Policies(policies)) => {
                let mut compiler = SetCompiler::new(&policies, self.memo);
                groups
                    .iter()
                    .map(|group| compiler.table(group.class()))
                    .collect()
            }
            _ => vec![Some(OPEN); groups.len()],
        }
    }

    /// What a set said about places when the update began.
    pub(super) fn old_table(
        &self,
        set: SetId,
        direction: Direction,
        old: Peer,
    ) -> Option<PortTable> {
        if direction == Direction::Egress && old.node == NodeAddress::Own {
            return Some(PortTable::All(RuleId::OWN_NODE));
        }
        self.tables.table(set, old.identity).cloned()
    }

    /// Whether all places are addresses of this endpoint: a pod's traffic to itself is not judged by sets.
    fn is_itself(&self, group: &Group, name: &Name) -> bool {
        let own = |place: &Place| match place {
            Place::Peer(address) => self.addresses.endpoint_at(*address) == Some(name),
            Place::Frontend(_) | Place::Network(_) => false,
        };
        group.places.iter().all(own)
    }

    /// An identity for each group that needs one: known, if what frozen sets say of it fits, else a fresh one.
    fn choose_identities(&mut self, plan: &mut Plan) {
        let deferred = plan.deferred();
        for at in 0..plan.groups.len() {
            let group = &plan.groups[at];
            let needs_one = match &group.to {
                Destination::Class(..) => true,
                Destination::Gone(_) => {
                    plan.removal == Removal::Later
                        || group
                            .places
                            .iter()
                            .any(|place| deferred.contains(&place.address()))
                }
            };
            if !needs_one {
                continue;
            }
            let (class, old) = (group.class().clone(), group.old);
            let known = self.live.of_class(&class);
            let fitting = known.iter().copied().find(|id| self.fits(*id, old, plan));
            let id = match fitting {
                Some(id) => id,
                None => {
                    let is_alias = !known.is_empty();
                    let id = self.catalogue.new_identity(class.entry());
                    if is_alias {
                        self.live.aliases.push(id);
                    }
                    self.live.add_identity(id, class.clone());
                    plan.fresh.push(Fresh { id, class, old });
                    id
                }
            };
            plan.groups[at].identity = Some(id);
        }
    }

    /// Whether all frozen sets say of an identity what they said of places found as `old`.
    fn fits(&self, id: IdentityId, old: Peer, plan: &Plan) -> bool {
        let fresh = plan.fresh.iter().find(|fresh| fresh.id == id);
        plan.frozen.iter().all(|(set, direction)| {
            let says = match fresh {
                Some(fresh) => self.old_table(*set, *direction, fresh.old),
                None => self.tables.table(*set, id).cloned(),
            };
            says == self.old_table(*set, *direction, old)
        })
    }
}

impl Plan {
    /// Addresses that cease to be a node's when all endpoints have switched. What is removed from above them must wait
    /// for that, too.
    pub(super) fn deferred(&self) -> BTreeSet<Option<IpAddr>> {
        self.groups
            .iter()
            .filter(|group| self.switching && group.leaves_node())
            .flat_map(|group| group.places.iter().map(Place::address))
            .collect()
    }
}

/// The two sets of an endpoint.
pub(super) fn by_direction(sets: EndpointSets) -> [(Direction, SetId); 2] {
    [
        (Direction::Ingress, sets.ingress),
        (Direction::Egress, sets.egress),
    ]
}

/// Whether the first table says of every port what one of the two others says.
fn is_between(says: [&Option<PortTable>; 3]) -> bool {
    if says[0] == says[1] || says[0] == says[2] {
        return true;
    }
    let ranges = says.map(|table| table.as_ref().map(PortTable::ranges).unwrap_or_default());
    let ends = ranges.iter().flatten().flat_map(|range| {
        let above = range.high.checked_add(1);
        [Some(range.low), above]
            .into_iter()
            .flatten()
            .map(|port| (range.protocol, port))
    });
    let lowest = ProtocolClass::ALL.map(|protocol| (protocol, 0));
    ends.chain(lowest).all(|(protocol, port)| {
        let [table, old, new] = says.map(|table| table.as_ref()?.rule(protocol, port));
        table == old || table == new
    })
}
