//! Services: which front ends they have, and what stands behind each.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::addresses::Addresses;
use super::backends::{self, Family};
use super::class::{Backend, BackendPeer, ServiceClass};
use crate::model::{EndpointSlice, Name, Service, ServicePort, ServiceType};
use crate::tables::{Frontend, NodeAddress};

/// All Services and EndpointSlices of the cluster.
#[derive(Debug, Default)]
pub(crate) struct Services {
    services: BTreeMap<Name, State>,
    slices: HashMap<Name, Arc<EndpointSlice>, RandomState>,
    slices_of: BTreeMap<Name, BTreeSet<Name>>,
    /// Which Services send to an address: one or two as a rule. Never empty.
    behind: HashMap<IpAddr, Vec<Name>, RandomState>,
    /// Who claims a front end: the first by name has it.
    claims: HashMap<Frontend, BTreeMap<Name, Arc<ServiceClass>>, RandomState>,
}

#[derive(Debug)]
struct State {
    service: Arc<Service>,
    compiled: Compiled,
}

/// What a Service comes to.
#[derive(Debug, Default)]
struct Compiled {
    addresses: BTreeSet<IpAddr>,
    frontends: BTreeMap<Frontend, Arc<ServiceClass>>,
}

impl Services {
    /// Adds or replaces a Service; if that changes it, it is to be compiled again.
    pub(crate) fn set_service(&mut self, service: Arc<Service>, dirty: &mut BTreeSet<Name>) {
        let name = service.name.clone();
        match self.services.get_mut(&name) {
            Some(state) if state.service == service => return,
            Some(state) => state.service = service,
            None => {
                let compiled = Compiled::default();
                self.services
                    .insert(name.clone(), State { service, compiled });
            }
        }
        dirty.insert(name);
    }

    /// Adds, replaces or removes an EndpointSlice.
    pub(crate) fn set_slice(
        &mut self,
        name: &Name,
        slice: Option<Arc<EndpointSlice>>,
        dirty: &mut BTreeSet<Name>,
    ) {
        if self.slices.get(name) == slice.as_ref() {
            return;
        }
        if let Some(service) = self.slices.remove(name).as_deref().and_then(service_of) {
            if let Some(slices) = self.slices_of.get_mut(&service) {
                slices.remove(name);
                if slices.is_empty() {
                    self.slices_of.remove(&service);
                }
            }
            dirty.insert(service);
        }
        let Some(slice) = slice else { return };
        if let Some(service) = service_of(&slice) {
            let slices = self.slices_of.entry(service.clone()).or_default();
            slices.insert(name.clone());
            dirty.insert(service);
            self.slices.insert(name.clone(), slice);
        }
    }

    /// Removes a Service.
    pub(crate) fn remove(&mut self, name: &Name, changed: &mut BTreeSet<Frontend>) {
        if let Some(state) = self.services.remove(name) {
            self.replace(name, &state.compiled, &Compiled::default(), changed);
        }
    }

    /// Compiles a Service again; `changed` gets the front ends to look at.
    pub(crate) fn compile(
        &mut self,
        name: &Name,
        addresses: &Addresses,
        changed: &mut BTreeSet<Frontend>,
    ) {
        let Some(state) = self.services.get(name) else {
            return;
        };
        let new = self.compiled(&state.service, addresses);
        let Some(state) = self.services.get_mut(name) else {
            return;
        };
        let old = std::mem::take(&mut state.compiled);
        self.replace(name, &old, &new, changed);
        if let Some(state) = self.services.get_mut(name) {
            state.compiled = new;
        }
    }

    /// The class of a front end.
    pub(crate) fn class_of(&self, frontend: &Frontend) -> Option<&Arc<ServiceClass>> {
        Some(self.claims.get(frontend)?.first_key_value()?.1)
    }

    /// The classes of the Services that send to an address.
    pub(crate) fn classes_behind(
        &self,
        address: IpAddr,
    ) -> impl Iterator<Item = &Arc<ServiceClass>> {
        let names = self.behind.get(&address).into_iter().flatten();
        names
            .filter_map(|name| self.services.get(name))
            .flat_map(|state| state.compiled.frontends.values())
    }

    /// The Services that send to an address.
    pub(crate) fn behind(&self, address: IpAddr) -> impl Iterator<Item = &Name> {
        self.behind.get(&address).into_iter().flatten()
    }

    /// The Services that send to an address that `of_interest` picks.
    pub(crate) fn behind_any(&self, of_interest: impl Fn(IpAddr) -> bool) -> BTreeSet<Name> {
        let picked = self
            .behind
            .iter()
            .filter(|(address, _)| of_interest(**address));
        picked.flat_map(|(_, names)| names).cloned().collect()
    }

    /// The endpoints of this node that are named in what a Service comes to.
    pub(crate) fn soles(&self, name: &Name) -> BTreeSet<IpAddr> {
        let frontends = self
            .services
            .get(name)
            .map(|state| &state.compiled.frontends);
        let classes = frontends.into_iter().flat_map(BTreeMap::values);
        classes
            .flat_map(|class| &class.backends)
            .filter_map(|backend| backend.sole)
            .collect()
    }

    /// The Services with node ports.
    pub(crate) fn with_node_ports(&self) -> impl Iterator<Item = &Name> {
        let has = |state: &State| {
            state
                .service
                .ports
                .iter()
                .any(|port| port.node_port.is_some())
        };
        self.services
            .iter()
            .filter(move |(_, state)| has(state))
            .map(|(name, _)| name)
    }

    /// The Services of a namespace whose backends follow from the pods, for want of EndpointSlices.
    pub(crate) fn by_selector(&self, namespace: &Arc<str>) -> impl Iterator<Item = &Name> {
        let from = Name::new(Arc::clone(namespace), "");
        self.services
            .range(from..)
            .take_while(move |(name, _)| name.namespace == *namespace)
            .filter(|(name, state)| {
                !state.service.selector.is_empty() && !self.slices_of.contains_key(*name)
            })
            .map(|(name, _)| name)
    }

    /// All front ends.
    pub(crate) fn frontends(&self) -> impl Iterator<Item = &Frontend> {
        self.claims.keys()
    }

    pub(crate) fn service_names(&self) -> impl Iterator<Item = &Name> {
        self.services.keys()
    }

    pub(crate) fn slice_names(&self) -> impl Iterator<Item = &Name> {
        self.slices.keys()
    }

    fn compiled(&self, service: &Service, addresses: &Addresses) -> Compiled {
        let mut compiled = Compiled::default();
        if service.service_type == ServiceType::ExternalName {
            return compiled;
        }
        let slices = self.slices_of.get(&service.name).map(|names| {
            let known = names.iter().filter_map(|name| self.slices.get(name));
            known.map(|slice| &**slice).collect::<Vec<_>>()
        });
        for port in &service.ports {
            for family in Family::BOTH {
                let frontends: Vec<Frontend> = frontends(service, port, addresses)
                    .filter(|frontend| Family::of(frontend.address) == family)
                    .collect();
                if frontends.is_empty() {
                    continue;
                }
                let backends = match &slices {
                    Some(slices) => backends::of_slices(slices, port, family),
                    None => {
                        let pods = addresses.pods_of(&service.name.namespace);
                        backends::of_pods(service, port, family, pods)
                    }
                };
                let class = Arc::new(class(service, port, &backends, addresses));
                compiled
                    .addresses
                    .extend(backends.iter().map(|(address, _)| address));
                let frontends = frontends
                    .into_iter()
                    .map(|frontend| (frontend, class.clone()));
                compiled.frontends.extend(frontends);
            }
        }
        compiled
    }

    fn replace(
        &mut self,
        name: &Name,
        old: &Compiled,
        new: &Compiled,
        changed: &mut BTreeSet<Frontend>,
    ) {
        for address in old.addresses.difference(&new.addresses) {
            if let Some(names) = self.behind.get_mut(address) {
                names.retain(|other| other != name);
                if names.is_empty() {
                    self.behind.remove(address);
                }
            }
        }
        for address in new.addresses.difference(&old.addresses) {
            let names = self.behind.entry(*address).or_default();
            names.push(name.clone());
            names.shrink_to_fit();
        }
        for frontend in old
            .frontends
            .keys()
            .filter(|f| !new.frontends.contains_key(f))
        {
            if let Some(claims) = self.claims.get_mut(frontend) {
                claims.remove(name);
                if claims.is_empty() {
                    self.claims.remove(frontend);
                }
            }
            changed.insert(*frontend);
        }
        for (frontend, class) in &new.frontends {
            if old.frontends.get(frontend) != Some(class) {
                let claims = self.claims.entry(*frontend).or_default();
                claims.insert(name.clone(), Arc::clone(class));
                changed.insert(*frontend);
            }
        }
    }
}

fn service_of(slice: &EndpointSlice) -> Option<Name> {
    let service = slice.service.as_ref()?;
    Some(Name::new(slice.name.namespace.clone(), service.clone()))
}

/// Where clients find a Service's port: its own addresses, and the node port on every node.
fn frontends<'a>(
    service: &'a Service,
    port: &'a ServicePort,
    addresses: &Addresses,
) -> impl Iterator<Item = Frontend> + use<'a> {
    let own = service.own_addresses().map(|address| (address, port.port));
    let nodes = match port.node_port {
        Some(_) => addresses.node_addresses(),
        None => BTreeSet::new(),
    };
    let on_nodes = nodes
        .into_iter()
        .filter(|address| !address.is_loopback() && !address.is_unspecified())
        .filter(|address| service.has_node_ports_at(*address))
        .filter_map(|address| Some((address, port.node_port?)));
    own.chain(on_nodes).map(|(address, number)| Frontend {
        address,
        protocol: port.protocol,
        port: number,
    })
}

/// What policies see of the backends: classes and ports, each once.
fn class(
    service: &Service,
    port: &ServicePort,
    backends: &BTreeSet<(IpAddr, u16)>,
    addresses: &Addresses,
) -> ServiceClass {
    let mut distinct: HashMap<(BackendPeer, u16), Vec<IpAddr>, RandomState> = HashMap::default();
    for (address, number) in backends {
        let peer = match addresses.class_of(*address) {
            (Some(NodeAddress::Own), _) => BackendPeer::OwnNode,
            (_, class) => BackendPeer::Class(class),
        };
        distinct.entry((peer, *number)).or_default().push(*address);
    }
    let mut backends: Vec<Backend> = distinct
        .into_iter()
        .map(|((peer, port), behind)| Backend {
            peer,
            port,
            sole: match behind[..] {
                [address] if addresses.endpoint_at(address).is_some() => Some(address),
                _ => None,
            },
        })
        .collect();
    backends.sort_by_cached_key(Backend::describe);
    ServiceClass {
        service: service.name.clone(),
        port: port.name.clone(),
        protocol: port.protocol,
        backends,
    }
}
