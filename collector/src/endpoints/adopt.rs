//! Start: what an earlier run left is taken over, without a gap and without a write to what is in force.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use tracing::{info, warn};
use weir_datapath::abi::{self, endpoint_flag};
use weir_policy::model::Name;

use super::EndpointsError;
use super::interface::{Interface, mode_of};
use super::manager::{Manager, now};
use super::mapping::LocalPod;
use super::registry::Known;
use super::view::{EndpointEvent, EndpointState};
use crate::apply::{EndpointSpec, Programmed};
use crate::kernel::{Dump, Presence};

/// The pods whose interfaces an earlier run had found, by slot.
pub(super) fn pods_by_slot<'a>(known: impl Iterator<Item = &'a Known>) -> BTreeMap<u32, Name> {
    let living = known.filter(|known| !known.gone);
    living
        .filter_map(|known| {
            known
                .pod
                .as_ref()
                .map(|pod| (known.slot, Name::new(&*pod.namespace, &*pod.name)))
        })
        .collect()
}

impl Manager {
    /// Takes over the endpoints that are in the maps and whose interfaces are still there.
    pub(super) fn adopt(&mut self, dump: &Dump) -> Result<(), EndpointsError> {
        let pinned: HashSet<u32> = self.attacher.pinned_devices()?.into_iter().collect();
        let wanted: HashSet<u32> = self.wanted().into_iter().collect();
        let mut sources: HashMap<u32, Vec<IpAddr>> = HashMap::new();
        for key in &dump.sources {
            sources
                .entry(key.endpoint)
                .or_default()
                .push(address(key.family, key.address));
        }
        for (slot, entry, sets) in &dump.endpoints {
            let spec = spec_of(entry, sources.remove(&entry.id).unwrap_or_default());
            let enforced = wanted.contains(&entry.ifindex)
                && (pinned.contains(&entry.ifindex)
                    || self
                        .attacher
                        .check(entry.ifindex)
                        .is_ok_and(|presence| presence != Presence::Missing));
            if enforced {
                self.adopt_one(*slot, spec, *sets)?;
            } else {
                self.drop_one(*slot, spec)?;
            }
        }
        Ok(())
    }

    fn adopt_one(
        &mut self,
        slot: u32,
        spec: EndpointSpec,
        sets: abi::EndpointSets,
    ) -> Result<(), EndpointsError> {
        let (ifindex, id) = (spec.ifindex, spec.id);
        self.attacher.attach(ifindex)?;
        let known = self
            .registry
            .get(id)
            .filter(|known| known.slot == slot && known.ifindex == ifindex)
            .cloned();
        if known.is_none() {
            warn!(
                ifindex,
                endpoint = id,
                "adopted an endpoint that the state directory does not name"
            );
            self.registry.adopt(id, slot, ifindex)?;
        }
        let name = self
            .network
            .links
            .get(&ifindex)
            .map_or("", |link| link.name.as_str());
        let mut interface = Interface::new(slot, name, spec, now());
        interface.pod = known.and_then(|known| known.pod).map(|pod| LocalPod {
            name: Name::new(pod.namespace, pod.name),
            uid: pod.uid,
            addresses: interface.spec.addresses.clone(),
            more_sources: interface.spec.more_sources.clone(),
            mode: Some(mode_of(interface.spec.flags)).filter(|mode| *mode != self.config.mode),
        });
        interface.state = match &interface.pod {
            None => EndpointState::Unmapped,
            Some(pod) if self.applier.knows(&pod.name) == Programmed::Yes => {
                EndpointState::Programmed
            }
            Some(_) => EndpointState::Pending,
        };
        interface.stamp(now());
        info!(ifindex, endpoint = id, ?sets, "adopted");
        let info = interface.info();
        self.interfaces.insert(ifindex, interface);
        self.view.put(Arc::clone(&info));
        self.events.send(EndpointEvent::Up(info)).ok();
        Ok(())
    }

    /// Forgets an endpoint whose interface went while nobody looked.
    fn drop_one(&mut self, slot: u32, spec: EndpointSpec) -> Result<(), EndpointsError> {
        self.attacher.detach(spec.ifindex)?;
        self.applier.remove_endpoint(slot, &spec)?;
        self.registry.adopt(spec.id, slot, spec.ifindex)?;
        self.registry.release(spec.id)?;
        let mut interface = Interface::new(slot, "", spec, now());
        interface.state = EndpointState::Gone;
        self.view.put(interface.info());
        Ok(())
    }
}

/// What a slot's entry says, as it would have been asked for.
fn spec_of(entry: &abi::Endpoint, more_sources: Vec<IpAddr>) -> EndpointSpec {
    let mut addresses = Vec::new();
    if entry.ipv4 != 0 {
        addresses.push(Ipv4Addr::from(entry.ipv4.to_ne_bytes()).into());
    }
    if entry.ipv6 != [0; 16] {
        addresses.push(Ipv6Addr::from(entry.ipv6).into());
    }
    EndpointSpec {
        ifindex: entry.ifindex,
        id: entry.id,
        flags: entry.flags & !(endpoint_flag::CHECK_SOURCE | endpoint_flag::MORE_SOURCES),
        addresses,
        more_sources,
        grace_until: entry.grace_until,
        nascent_quota: entry.nascent_quota,
        flow_quota: entry.flow_quota,
    }
}

fn address(family: u32, bytes: [u8; 16]) -> IpAddr {
    match family {
        6 => Ipv6Addr::from(bytes).into(),
        _ => Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into(),
    }
}
