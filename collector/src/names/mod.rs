//! Names for the kernel's numbers and for addresses: who an address is, which rule a rule id is.
//!
//! Written by the task that owns the cluster state, read by the pipeline thread some flows at a time. Every value is
//! shared, so a record is named without allocating. An address that changed hands keeps its former owner for
//! [`TOMBSTONE`], so that a flow that began before the change is named as it was.
//!
//! One lock for all tables: a flow needs seven lookups, and a lock for each would cost more than they do. Whoever holds
//! a [`Lookup`] asks for no second one: with a change waiting in between, both would wait for ever.

mod identity;
mod lookup;
mod revisions;

use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};
use std::time::Duration;

use weir_flow::{Endpoint, PolicyRef, Rule, ServiceRef, Timestamp};

pub use identity::IdentityNumbers;
pub(crate) use identity::fnv1a;
pub use lookup::{Lookup, Strangers};
use lookup::{Owner, Tables};
pub use revisions::Revisions;

/// How long the former owner of an address is remembered.
pub const TOMBSTONE: Duration = Duration::from_secs(120);

/// A pod interface of this node, as records name it.
#[derive(Clone, Debug)]
pub struct LocalEndpoint {
    /// The pod; [`weir_flow::EndpointKind::Unknown`] while the interface is not mapped to one.
    pub endpoint: Arc<Endpoint>,
    /// Its mode.
    pub mode: weir_flow::Mode,
}

/// The lookup tables.
#[derive(Debug, Default)]
pub struct Names(RwLock<Tables>);

impl Names {
    /// For looking names up. Changes wait meanwhile.
    pub fn read(&self) -> Lookup<'_> {
        Lookup(self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Every change is one of one table: a panic leaves none half done.
    fn write(&self) -> RwLockWriteGuard<'_, Tables> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// `address` belongs to `endpoint` from `since` on.
    pub fn put_address(&self, address: IpAddr, endpoint: Arc<Endpoint>, since: Timestamp) {
        let mut tables = self.write();
        let former = tables
            .addresses
            .get(&address)
            .map(|owner| (owner.endpoint.clone(), since));
        let former = former.filter(|(was, _)| *was != endpoint);
        tables.addresses.insert(
            address,
            Owner {
                endpoint,
                since,
                former,
            },
        );
    }

    /// `address` is nobody's from `at` on. Its owner is remembered for [`TOMBSTONE`].
    pub fn remove_address(&self, address: IpAddr, at: Timestamp) {
        let mut tables = self.write();
        let world = tables.world.clone();
        if let Some(owner) = tables.addresses.get_mut(&address) {
            let was = std::mem::replace(&mut owner.endpoint, world);
            owner.former = Some((was, at));
            owner.since = at;
        }
    }

    /// Says whose the addresses are that nobody has.
    pub fn set_strangers(&self, strangers: Strangers) {
        self.write().strangers = strangers;
    }

    /// Forgets former owners whose time is over. Call now and then.
    pub fn expire(&self, now: Timestamp) {
        let horizon = now.0 - TOMBSTONE.as_nanos() as i64;
        let mut tables = self.write();
        let Tables {
            addresses, world, ..
        } = &mut *tables;
        addresses.retain(|_, owner| {
            if owner
                .former
                .as_ref()
                .is_some_and(|(_, until)| until.0 < horizon)
            {
                owner.former = None;
            }
            owner.former.is_some() || !Arc::ptr_eq(&owner.endpoint, world)
        });
    }

    /// Names a Service front end.
    pub fn put_service(&self, address: IpAddr, protocol: u8, port: u16, service: Arc<ServiceRef>) {
        let key = (address, protocol, port);
        self.write().services.insert(key, service);
    }

    /// The front end is no Service's any more.
    pub fn remove_service(&self, address: IpAddr, protocol: u8, port: u16) {
        self.write().services.remove(&(address, protocol, port));
    }

    /// Names a node port.
    pub fn put_node_port(&self, protocol: u8, port: u16, service: Arc<ServiceRef>) {
        self.write().node_ports.insert((protocol, port), service);
    }

    /// The node port is no Service's any more.
    pub fn remove_node_port(&self, protocol: u8, port: u16) {
        self.write().node_ports.remove(&(protocol, port));
    }

    /// Names an endpoint number.
    pub fn put_local(&self, endpoint: u32, local: LocalEndpoint) {
        self.write().locals.insert(endpoint, local);
    }

    /// The endpoint number is retired and no entry holds it.
    pub fn remove_local(&self, endpoint: u32) {
        self.write().locals.remove(&endpoint);
    }

    /// Names a rule id. Ids never change meaning.
    pub fn put_rule(&self, rule: u32, meaning: Arc<Rule>) {
        self.write().rules.insert(rule, meaning);
    }

    /// Names the policies of a set.
    pub fn put_set(&self, set: u32, policies: Arc<[PolicyRef]>) {
        self.write().sets.insert(set, policies);
    }

    /// Forgets the policies of sets that `keep` refuses.
    pub fn retain_sets(&self, keep: impl Fn(u32) -> bool) {
        self.write().sets.retain(|set, _| keep(*set));
    }

    /// Says which revision an epoch stands for.
    pub fn put_revision(&self, epoch: u32, revision: u64) {
        self.write().revisions.put(epoch, revision);
    }
}

#[cfg(test)]
mod tests {
    use super::lookup::nameless;
    use super::*;
    use weir_flow::EndpointKind;

    fn pod(name: &str) -> Arc<Endpoint> {
        Arc::new(Endpoint {
            name: name.into(),
            ..nameless(EndpointKind::Pod, 300)
        })
    }

    #[test]
    fn a_reused_address_names_its_owner_at_the_time() {
        let names = Names::default();
        let ip: IpAddr = "10.0.0.1".parse().expect("address");
        names.put_address(ip, pod("old"), Timestamp(1_000));
        names.put_address(ip, pod("new"), Timestamp(2_000));
        assert_eq!(&*names.read().address(ip, Timestamp(1_500)).name, "old");
        assert_eq!(&*names.read().address(ip, Timestamp(2_500)).name, "new");
    }

    #[test]
    fn an_address_is_not_the_worlds_while_the_cluster_is_unknown() {
        let names = Names::default();
        let ip: IpAddr = "10.0.0.1".parse().expect("address");
        let kind = || names.read().address(ip, Timestamp(1)).kind;
        names.set_strangers(Strangers::Unknown);
        assert_eq!(kind(), EndpointKind::Unknown);
        names.set_strangers(Strangers::World);
        assert_eq!(kind(), EndpointKind::World);
    }

    #[test]
    fn a_removed_address_keeps_its_tombstone_for_a_while() {
        let names = Names::default();
        let ip: IpAddr = "10.0.0.1".parse().expect("address");
        names.put_address(ip, pod("gone"), Timestamp(1_000));
        names.remove_address(ip, Timestamp(2_000));
        assert_eq!(&*names.read().address(ip, Timestamp(1_999)).name, "gone");
        assert_eq!(
            names.read().address(ip, Timestamp(2_001)).kind,
            EndpointKind::World
        );
        names.expire(Timestamp(2_000 + TOMBSTONE.as_nanos() as i64 + 1));
        assert_eq!(
            names.read().address(ip, Timestamp(1_999)).kind,
            EndpointKind::World
        );
        assert!(names.write().addresses.is_empty());
    }
}
