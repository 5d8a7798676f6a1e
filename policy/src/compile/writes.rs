//! The writes of a plan, in the order that keeps every verdict the old or the new one.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::live::{Live, Place};
use super::plan::{Destination, Fresh, Goal, Group, Plan, Planner, by_direction};
use super::sets::{SetCompiler, SetKey};
use crate::model::Name;
use crate::tables::{
    EndpointSets, IdentityId, NodeAddress, Peer, PortTable, SetId, Tables, Update, Write,
};

/// What an update leaves to the next one.
#[derive(Debug, Default)]
pub(crate) struct Leftover {
    /// Removals in its cleanup; repeated before the next update moves anything, should the cleanup not be done yet.
    pub(crate) removals: Vec<Write>,
    /// Identities that places held until the cleanup: their verdicts go one update later.
    pub(crate) identities: Vec<IdentityId>,
}

/// What an update took from places and endpoints.
#[derive(Debug)]
pub(crate) struct Released {
    identities: Vec<IdentityId>,
    sets: Vec<SetId>,
    /// Identities that are held until the cleanup only.
    temporary: Vec<IdentityId>,
}

impl Planner<'_> {
    /// Plans, and writes the plan down, but for the verdicts to clean up. Afterwards `live` is what will be in use.
    pub(crate) fn update(&mut self, goal: Goal, leftover: &mut Leftover) -> (Update, Released) {
        let plan = self.plan(goal);
        let mut update = Update::default();
        update.prepare.append(&mut leftover.removals);
        self.prepare(&plan, &mut update.prepare);
        let known = |name: &Name| self.tables.endpoints.contains_key(name);
        let (switched, new): (Vec<_>, Vec<_>) =
            plan.switches.iter().partition(|(name, _)| known(name));
        update.switch.extend(switched.into_iter().map(switch));
        let temporary = self.addresses(&plan, &mut update);
        // A new endpoint has no old verdicts: it comes when all addresses are what they will be.
        update.switch.extend(new.into_iter().map(switch));
        let released = self.book(&plan, temporary);
        self.sets(&plan, &released.temporary, &mut update.sets);
        leftover.removals.clone_from(&update.cleanup);
        (update, released)
    }

    /// New identities into live sets: with the verdict of their class, in frozen sets with that of their places.
    fn prepare(&mut self, plan: &Plan, writes: &mut Vec<Write>) {
        if plan.fresh.is_empty() {
            return;
        }
        let sets: Vec<(SetId, SetKey)> = (self.live.sets())
            .filter(|(id, _)| !plan.new_sets.contains(id))
            .map(|(id, key)| (id, key.clone()))
            .collect();
        for (id, key) in sets {
            if let Some(direction) = plan.frozen.get(&id) {
                let old = |fresh: &Fresh| self.old_table(id, *direction, fresh.old);
                writes.extend(
                    plan.fresh
                        .iter()
                        .filter_map(|fresh| verdict(id, fresh.id, old(fresh))),
                );
            } else if let SetKey::Policies(policies) = &key {
                let mut compiler = SetCompiler::new(policies, self.memo);
                let table = |fresh: &Fresh| compiler.table(&fresh.class);
                let tables: Vec<_> = plan.fresh.iter().map(table).collect();
                let all = plan.fresh.iter().zip(tables);
                writes.extend(all.filter_map(|(fresh, table)| verdict(id, fresh.id, table)));
            }
        }
    }

    /// Moves the places; returns the identities that are held until the cleanup only.
    fn addresses(&self, plan: &Plan, update: &mut Update) -> Vec<IdentityId> {
        let mut steps = Steps::default();
        for group in &plan.groups {
            for place in &group.places {
                steps.step(plan, group, place, place.held(self.tables));
            }
        }
        update.addresses.extend(steps.in_order());
        update.switch.extend(steps.last);
        update.cleanup.extend(steps.later.iter().map(Place::remove));
        steps.temporary
    }

    /// Books what places and endpoints hold now; returns what they held.
    fn book(&mut self, plan: &Plan, temporary: Vec<IdentityId>) -> Released {
        let (mut identities, mut sets) = (Vec::new(), Vec::new());
        for group in &plan.groups {
            for place in &group.places {
                if let Some(peer) = place.held(self.tables) {
                    self.live.let_go(peer.identity);
                    identities.push(peer.identity);
                }
                if let (Destination::Class(..), Some(identity)) = (&group.to, group.identity) {
                    self.live.hold(identity);
                }
            }
            identities.extend(group.identity);
        }
        for (name, to) in &plan.switches {
            for (_, id) in self
                .tables
                .endpoints
                .get(name)
                .copied()
                .map(by_direction)
                .into_iter()
                .flatten()
            {
                self.live.leave(id);
                sets.push(id);
            }
            to.map(by_direction)
                .into_iter()
                .flatten()
                .for_each(|(_, id)| self.live.join(id));
        }
        sets.extend(&plan.new_sets);
        Released {
            identities,
            sets,
            temporary,
        }
    }

    /// New sets, whole.
    fn sets(&mut self, plan: &Plan, temporary: &[IdentityId], writes: &mut Vec<Write>) {
        if plan.new_sets.is_empty() {
            return;
        }
        let held = self.live.held(temporary);
        for id in &plan.new_sets {
            let Some(SetKey::Policies(policies)) = self.live.key(*id).cloned() else {
                continue;
            };
            let mut compiler = SetCompiler::new(&policies, self.memo);
            let tables = held
                .iter()
                .map(|(identity, class)| (*identity, compiler.table(class)));
            writes.extend(tables.filter_map(|(identity, table)| verdict(*id, identity, table)));
        }
    }
}

/// Removes the verdicts of sets that no endpoint uses and of identities that nothing holds. `tables`: with all other
/// writes of the update done.
pub(crate) fn forget(
    live: &mut Live,
    tables: &Tables,
    released: Released,
    leftover: &mut Leftover,
    writes: &mut Vec<Write>,
) {
    for id in live.drop_sets(released.sets) {
        let tables = tables.verdicts.get(&id);
        let mut known: Vec<IdentityId> = tables
            .into_iter()
            .flat_map(|tables| tables.keys().copied())
            .collect();
        known.sort_unstable();
        writes.extend(
            known
                .into_iter()
                .map(|identity| Write::RemoveVerdict(id, identity)),
        );
    }
    let mut identities = released.identities;
    identities.append(&mut leftover.identities);
    identities.retain(|id| !released.temporary.contains(id));
    leftover.identities = released.temporary;
    let sets: Vec<SetId> = live.sets().map(|(id, _)| id).collect();
    for identity in live.drop_identities(identities) {
        let holding = sets
            .iter()
            .filter(|set| tables.table(**set, identity).is_some());
        writes.extend(holding.map(|set| Write::RemoveVerdict(*set, identity)));
    }
}

/// Removes the verdicts of sets and identities that are not in use at all: what an earlier run left half done.
pub(crate) fn sweep(
    live: &Live,
    tables: &Tables,
    temporary: &[IdentityId],
    writes: &mut Vec<Write>,
) {
    let sets: BTreeSet<SetId> = live.sets().map(|(id, _)| id).collect();
    let identities: BTreeSet<IdentityId> =
        live.held(temporary).into_iter().map(|(id, _)| id).collect();
    let all = tables
        .verdicts
        .iter()
        .flat_map(|(set, tables)| tables.keys().map(move |id| (*set, *id)));
    let mut unused: Vec<(SetId, IdentityId)> = all
        .filter(|(set, id)| !(sets.contains(set) && identities.contains(id)))
        .collect();
    unused.sort_unstable();
    let known: BTreeSet<(SetId, IdentityId)> =
        writes.iter().filter_map(Write::removed_verdict).collect();
    let missing = unused.into_iter().filter(|entry| !known.contains(entry));
    let missing: Vec<Write> = missing
        .map(|(set, id)| Write::RemoveVerdict(set, id))
        .collect();
    writes.extend(missing);
}

fn switch((name, sets): (&Name, &Option<EndpointSets>)) -> Write {
    match sets {
        Some(sets) => Write::Endpoint(name.clone(), *sets),
        None => Write::RemoveEndpoint(name.clone()),
    }
}

fn verdict(set: SetId, identity: IdentityId, table: Option<PortTable>) -> Option<Write> {
    Some(Write::Verdict(set, identity, table?))
}

/// The writes that move places, by when they are done.
#[derive(Debug, Default)]
struct Steps {
    put_frontends: Vec<Write>,
    put_peers: Vec<Write>,
    add_networks: Vec<(IpNet, Write)>,
    change_networks: Vec<Write>,
    remove_networks: Vec<(IpNet, Write)>,
    remove_peers: Vec<Write>,
    remove_frontends: Vec<Write>,
    /// When all endpoints have switched.
    last: Vec<Write>,
    /// With the cleanup.
    later: Vec<Place>,
    temporary: Vec<IdentityId>,
}

impl Steps {
    /// What one place needs. `held`: what the tables have for it.
    fn step(&mut self, plan: &Plan, group: &Group, place: &Place, held: Option<Peer>) {
        let leaves_node = plan.switching && group.leaves_node();
        match (&group.to, group.identity) {
            (Destination::Class(_, node), Some(identity)) => {
                let to = Peer {
                    identity,
                    node: *node,
                };
                if leaves_node {
                    self.put(
                        place,
                        Peer {
                            node: group.old.node,
                            ..to
                        },
                        held,
                    );
                    self.last.push(place.put(to));
                } else {
                    self.put(place, to, held);
                }
            }
            (Destination::Gone(_), Some(identity)) => {
                self.temporary.push(identity);
                if leaves_node {
                    self.put(
                        place,
                        Peer {
                            identity,
                            node: group.old.node,
                        },
                        held,
                    );
                    self.last.push(place.remove());
                } else {
                    self.put(
                        place,
                        Peer {
                            identity,
                            node: NodeAddress::No,
                        },
                        held,
                    );
                    self.later.push(*place);
                }
            }
            (_, None) => self.remove(place),
        }
    }

    fn put(&mut self, place: &Place, peer: Peer, held: Option<Peer>) {
        let write = place.put(peer);
        match (place, held) {
            (Place::Frontend(_), _) => self.put_frontends.push(write),
            (Place::Peer(_), _) => self.put_peers.push(write),
            (Place::Network(_), Some(_)) => self.change_networks.push(write),
            (Place::Network(cidr), None) => self.add_networks.push((*cidr, write)),
        }
    }

    fn remove(&mut self, place: &Place) {
        let write = place.remove();
        match place {
            Place::Frontend(_) => self.remove_frontends.push(write),
            Place::Peer(_) => self.remove_peers.push(write),
            Place::Network(cidr) => self.remove_networks.push((*cidr, write)),
        }
    }

    /// Front ends are laid over addresses before those move, and taken away after. CIDRs are added longest first,
    /// changed, then removed shortest first: a lookup finds what it found at first or what it will find.
    fn in_order(&mut self) -> Vec<Write> {
        let length = |(cidr, _): &(IpNet, Write)| cidr.prefix_len();
        self.add_networks
            .sort_by_key(|entry| std::cmp::Reverse(length(entry)));
        self.remove_networks.sort_by_key(length);
        let mut writes = std::mem::take(&mut self.put_frontends);
        writes.append(&mut self.put_peers);
        writes.extend(self.add_networks.drain(..).map(|(_, write)| write));
        writes.append(&mut self.change_networks);
        writes.extend(self.remove_networks.drain(..).map(|(_, write)| write));
        writes.append(&mut self.remove_peers);
        writes.append(&mut self.remove_frontends);
        writes
    }
}
