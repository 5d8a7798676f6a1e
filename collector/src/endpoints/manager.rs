//! The life of endpoints: interfaces that appear get the programs at once, pending; what pod they are is found out, and
//! found out again whenever pods, links or addresses change.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::broadcast;
use tracing::{error, info, warn};
use weir_flow::Timestamp;
use weir_policy::tables::Update;

use super::claim::{self, Claim};
use super::interface::Interface;
use super::mapping::{self, LocalPod};
use super::network::{Change, Network};
use super::registry::{KnownPod, Registry};
use super::timing::Timing;
use super::view::{EndpointEvent, EndpointState, EndpointView};
use super::{EndpointsConfig, EndpointsError};
use crate::apply::{Applied, Applier, ApplyError, Programmed};
use crate::config::Scope;
use crate::kernel::{Attacher, KernelClock, PolicyMaps, Presence};

/// An interface that is still nobody's after this time is warned about.
const UNMAPPED: Duration = Duration::from_secs(60);
/// How long an endpoint stays in the view after it is gone.
const REMEMBERED: Duration = Duration::from_secs(600);

/// Whose policy is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    /// An earlier run's, or none.
    Adopted,
    /// That of an update of this run.
    Ours,
}

/// All endpoints, and everything that their lives touch.
pub(super) struct Manager {
    pub(super) config: EndpointsConfig,
    pub(super) applier: Applier<PolicyMaps>,
    pub(super) attacher: Attacher,
    pub(super) clock: Arc<KernelClock>,
    pub(super) registry: Registry,
    pub(super) network: Network,
    pub(super) interfaces: BTreeMap<u32, Interface>,
    /// Interfaces that are no pod's.
    pub(super) uplinks: HashSet<u32>,
    /// Whether policy is in force that this process knows: until then, what was adopted is.
    pub(super) policy: Policy,
    /// This node's pods, once the first list is complete.
    pub(super) pods: Option<Vec<LocalPod>>,
    pub(super) view: EndpointView,
    pub(super) events: broadcast::Sender<EndpointEvent>,
    pub(super) gone: VecDeque<(Instant, u32)>,
    /// What network plugins said, by interface.
    pub(super) claims: BTreeMap<u32, Claim>,
    pub(super) timing: Timing,
}

impl Manager {
    /// Acts on a change of the network.
    pub(super) fn on_change(&mut self, change: Change) {
        match change {
            Change::None => {}
            Change::Link(ifindex) => self.consider(ifindex),
            Change::LinkGone(ifindex) => {
                self.uplinks.remove(&ifindex);
                self.claims.remove(&ifindex);
                self.remove(ifindex);
            }
            Change::Addresses => {
                self.release_uplinks();
                self.remap();
            }
            Change::Paths => self.remap(),
        }
    }

    /// Takes a whole dump in place of what single messages said.
    pub(super) fn on_dump(&mut self, network: Network) {
        self.network = network;
        let lost: Vec<u32> = self
            .interfaces
            .keys()
            .copied()
            .filter(|index| !self.network.links.contains_key(index))
            .collect();
        lost.into_iter().for_each(|ifindex| self.remove(ifindex));
        self.uplinks
            .retain(|ifindex| self.network.links.contains_key(ifindex));
        self.claims
            .retain(|ifindex, _| self.network.links.contains_key(ifindex));
        self.release_uplinks();
        self.wanted()
            .into_iter()
            .for_each(|ifindex| self.consider(ifindex));
        self.remap();
    }

    /// Takes the list of this node's pods, as it was said at `since`.
    pub(super) fn on_pods(&mut self, pods: Vec<LocalPod>, since: Instant) {
        let programmed = self.interfaces.values().filter_map(Interface::programmed);
        let programmed = programmed.cloned().collect();
        self.timing
            .pods(self.pods.as_deref(), &pods, since, &programmed);
        self.pods = Some(pods);
        self.remap();
    }

    /// Brings an update into force.
    pub(super) fn on_update(&mut self, update: &Update) -> Result<Applied, ApplyError> {
        let applied = self.applier.apply(update)?;
        if self.policy == Policy::Adopted {
            self.policy = Policy::Ours;
            self.leave_other_schemas();
        }
        let now = now();
        for interface in self.interfaces.values_mut() {
            let Some(pod) = interface
                .pod
                .as_ref()
                .filter(|_| interface.state == EndpointState::Pending)
            else {
                continue;
            };
            if self.applier.knows(&pod.name) == Programmed::Yes {
                interface.state = EndpointState::Programmed;
                interface.programmed_at = Some(now);
                self.timing.programmed(&pod.name);
                let info = interface.info();
                self.view.put(Arc::clone(&info));
                self.events.send(EndpointEvent::Programmed(info)).ok();
            }
        }
        Ok(applied)
    }

    /// An upgrade with another map layout ends: interfaces that still ran the old programs get the new ones.
    fn leave_other_schemas(&mut self) {
        for ifindex in self.wanted() {
            self.consider(ifindex);
        }
        if let Err(error) = self.attacher.remove_other_schemas() {
            warn!(%error, "cannot remove the maps of another version");
        }
    }

    /// Interfaces that should carry the programs.
    pub(super) fn wanted(&self) -> Vec<u32> {
        match &self.config.scope {
            Scope::Node => self.network.candidates().collect(),
            Scope::Sidecar { interface, .. } => {
                self.network.by_name(interface).into_iter().collect()
            }
        }
    }

    /// Attaches to an interface if it should carry the programs and does not yet.
    fn consider(&mut self, ifindex: u32) {
        match self.try_attach(ifindex) {
            Ok(()) => {}
            Err(EndpointsError::Kernel(error)) if error.is_device_gone() => {}
            Err(error) => error!(ifindex, %error, "interface is not enforced"),
        }
    }

    /// The same, for who wants to know what went wrong.
    pub(super) fn try_attach(&mut self, ifindex: u32) -> Result<(), EndpointsError> {
        if let (Some(interface), Some(link)) = (
            self.interfaces.get_mut(&ifindex),
            self.network.links.get(&ifindex),
        ) {
            interface.name = link.name.as_str().into();
            return Ok(());
        }
        if self.uplinks.contains(&ifindex) || !self.wanted().contains(&ifindex) {
            return Ok(());
        }
        let runs_other = || self.attacher.runs_other_schema(ifindex).unwrap_or(false);
        if self.policy == Policy::Adopted && runs_other() {
            return Ok(()); // its old programs enforce the policy that this process does not know yet
        }
        if self.config.scope == Scope::Node && self.network.is_uplink(ifindex) {
            self.uplinks.insert(ifindex);
            return Ok(());
        }
        self.add(ifindex)?;
        self.remap();
        Ok(())
    }

    fn add(&mut self, ifindex: u32) -> Result<(), EndpointsError> {
        let (id, slot) = self.registry.allocate(ifindex)?;
        let spec = self
            .config
            .spec(ifindex, id, self.clock.jiffies_in(self.config.grace)?);
        let name = self
            .network
            .links
            .get(&ifindex)
            .map_or("", |link| link.name.as_str());
        let interface = Interface::new(slot, name, spec, now());
        let added = self
            .applier
            .add_endpoint(slot, &interface.spec, self.config.posture)
            .and_then(|()| self.attacher.attach(ifindex));
        if let Err(error) = added {
            self.attacher.detach(ifindex)?;
            self.applier.remove_endpoint(slot, &interface.spec)?;
            self.registry.release(id)?;
            return Err(error.into());
        }
        self.timing.attached();
        info!(ifindex, interface = name, endpoint = id, "attached");
        let info = interface.info();
        self.interfaces.insert(ifindex, interface);
        self.view.put(Arc::clone(&info));
        self.events.send(EndpointEvent::Up(info)).ok();
        Ok(())
    }

    /// Ends an endpoint whose interface has gone, or turned out to be no pod's.
    fn remove(&mut self, ifindex: u32) {
        let Some(mut interface) = self.interfaces.remove(&ifindex) else {
            return;
        };
        let id = interface.spec.id;
        let result = self.attacher.detach(ifindex).and_then(|()| {
            self.applier
                .remove_endpoint(interface.slot, &interface.spec)
        });
        if let Err(error) = result {
            error!(ifindex, endpoint = id, %error, "cannot remove an endpoint");
        }
        if let Err(error) = self.registry.release(id) {
            error!(endpoint = id, %error, "cannot save the endpoints");
        }
        info!(ifindex, endpoint = id, "gone");
        interface.state = EndpointState::Gone;
        let info = interface.info();
        self.view.put(Arc::clone(&info));
        self.events.send(EndpointEvent::Gone(info)).ok();
        self.gone.push_back((Instant::now() + REMEMBERED, id));
    }

    /// Takes the programs off interfaces that lead to a network.
    fn release_uplinks(&mut self) {
        if self.config.scope != Scope::Node {
            return;
        }
        let unmapped = self
            .interfaces
            .iter()
            .filter(|(_, interface)| interface.pod.is_none());
        let uplinks: Vec<u32> = unmapped
            .map(|(ifindex, _)| *ifindex)
            .filter(|ifindex| self.network.is_uplink(*ifindex))
            .collect();
        for ifindex in uplinks {
            let name = self
                .network
                .links
                .get(&ifindex)
                .map_or("", |link| link.name.as_str());
            warn!(
                ifindex,
                interface = name,
                "is no pod's interface: it has a subnet or a default route; released"
            );
            self.uplinks.insert(ifindex);
            self.remove(ifindex);
        }
    }

    /// Finds out again which interface is which pod's.
    pub(super) fn remap(&mut self) {
        let mapped = self.mapped();
        if self.pods.is_none() && mapped.is_empty() {
            return; // not known yet: what was adopted stays
        }
        for ifindex in self.interfaces.keys().copied().collect::<Vec<_>>() {
            let pod = mapped
                .get(&ifindex)
                .cloned()
                .or_else(|| self.kept(ifindex, &mapped));
            if let Err(error) = self.rebind(ifindex, pod) {
                error!(ifindex, %error, "cannot bring an endpoint up to date");
            }
        }
    }

    fn mapped(&self) -> HashMap<u32, LocalPod> {
        let pods = self.pods.as_deref().unwrap_or_default();
        match &self.config.scope {
            Scope::Node => {
                let by_address = mapping::map(&self.network, pods);
                claim::overrule(by_address, self.claims.values(), pods)
            }
            Scope::Sidecar { pod, interface } => {
                let Some(ifindex) = self.network.by_name(interface) else {
                    return HashMap::new();
                };
                let listed = pods.iter().find(|listed| listed.name == *pod).cloned();
                let by_itself = || LocalPod {
                    name: pod.clone(),
                    uid: String::new(),
                    addresses: self.network.addresses_of(ifindex),
                    more_sources: Vec::new(),
                    mode: None,
                };
                HashMap::from([(ifindex, listed.unwrap_or_else(by_itself))])
            }
        }
    }

    /// A bridge forgets quiet ports: an interface stays its pod's while that pod lives and is seen nowhere else.
    fn kept(&self, ifindex: u32, mapped: &HashMap<u32, LocalPod>) -> Option<LocalPod> {
        let current = self.interfaces.get(&ifindex)?.pod.as_ref()?;
        let pods = self.pods.as_deref().unwrap_or_default();
        let still = pods
            .iter()
            .find(|pod| pod.name == current.name && pod.uid == current.uid)?;
        let elsewhere = mapped.values().any(|pod| pod.name == current.name);
        (!elsewhere).then(|| still.clone())
    }

    fn rebind(&mut self, ifindex: u32, pod: Option<LocalPod>) -> Result<(), EndpointsError> {
        let Some(interface) = self.interfaces.get_mut(&ifindex) else {
            return Ok(());
        };
        let spec = self.config.for_pod(&interface.spec, pod.as_ref());
        if interface.pod == pod && interface.spec == spec {
            return Ok(());
        }
        let (slot, id) = (interface.slot, spec.id);
        self.applier.change_endpoint(slot, &interface.spec, &spec)?;
        interface.spec = spec;
        let programmed = match &pod {
            Some(pod) => self.applier.bind(slot, &pod.name)?,
            None => {
                self.applier.unbind(slot, self.config.posture)?;
                Programmed::Pending
            }
        };
        interface.state = match (&pod, programmed) {
            (None, _) => EndpointState::Unmapped,
            (Some(_), Programmed::Pending) => EndpointState::Pending,
            (Some(_), Programmed::Yes) => EndpointState::Programmed,
        };
        if let (Some(pod), Programmed::Yes) = (&pod, programmed) {
            self.timing.programmed(&pod.name);
        }
        let known = pod.as_ref().map(known_pod);
        interface.pod = pod;
        interface.stamp(now());
        let info = interface.info();
        self.view.put(Arc::clone(&info));
        self.events.send(EndpointEvent::Mapped(info)).ok();
        self.registry.bind(id, known)?;
        Ok(())
    }

    /// What to ask the network about pods that have no interface yet.
    pub(super) fn questions(&self) -> Vec<(u32, IpAddr)> {
        if self.config.scope != Scope::Node {
            return Vec::new();
        }
        mapping::questions(&self.network, self.unmapped_pods()).collect()
    }

    /// The node's pods that have no interface yet.
    pub(super) fn unmapped_pods(&self) -> impl Iterator<Item = &LocalPod> {
        let mapped = |pod: &LocalPod| {
            let mut bound = self.interfaces.values();
            bound.any(|interface| {
                interface
                    .pod
                    .as_ref()
                    .is_some_and(|bound| bound.name == pod.name)
            })
        };
        let pods = self.pods.as_deref().unwrap_or_default();
        pods.iter().filter(move |pod| !mapped(pod))
    }

    /// Everything that time brings: removals whose grace is over, warnings, endpoints to forget.
    pub(super) fn on_tick(&mut self) {
        let now = Instant::now();
        if let Err(error) = self.applier.clean_up(now) {
            warn!(%error, "cannot remove what the last policies left; trying again");
        }
        for interface in self.interfaces.values_mut() {
            let waits = interface.pod.is_none() && now.duration_since(interface.since) > UNMAPPED;
            if waits && !interface.warned {
                interface.warned = true;
                let (name, posture) = (&interface.name, self.config.posture);
                warn!(interface = %name, ?posture, "no pod of this node is known at this interface; it stays pending");
            }
        }
        let mut forgotten = Vec::new();
        while let Some((_, id)) = self.gone.pop_front_if(|(until, _)| *until <= now) {
            forgotten.push(id);
        }
        if !forgotten.is_empty() {
            self.view.forget(&forgotten);
        }
    }

    /// Looks whether the programs are where they were put, and puts them back.
    pub(super) fn check_presence(&mut self) {
        for interface in self.interfaces.values_mut() {
            let ifindex = interface.spec.ifindex;
            let presence = match self.attacher.check(ifindex) {
                Ok(Presence::Missing) => {
                    error!(interface = %interface.name, "somebody removed our programs: attaching again");
                    self.attacher.attach(ifindex).map(|_| Presence::Missing)
                }
                other => other,
            };
            match presence {
                Ok(presence @ Presence::Behind(others)) if interface.presence != presence => {
                    warn!(interface = %interface.name, others, "other programs run before ours: what they drop is not seen");
                    interface.presence = presence;
                }
                Ok(presence) => interface.presence = presence,
                Err(error) if error.is_device_gone() => {}
                Err(error) => {
                    error!(interface = %interface.name, %error, "cannot look after our programs")
                }
            }
        }
    }
}

/// The wall time.
pub(super) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp(since.map_or(0, |since| since.as_nanos() as i64))
}

fn known_pod(pod: &LocalPod) -> KnownPod {
    KnownPod {
        namespace: pod.name.namespace.to_string(),
        name: pod.name.name.to_string(),
        uid: pod.uid.clone(),
    }
}
