//! The endpoints of this node, and the sets that judge them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::addresses::Addresses;
use super::class::ServiceClass;
use super::pod_entry::Placement;
use super::policies::Policies;
use super::services::Services;
use super::sets::{SetCompiler, SetKey, SetPolicies};
use crate::model::{Direction, Labels, Name};

/// The endpoints of this node by name, with their labels.
#[derive(Debug, Default)]
pub(crate) struct Endpoints(BTreeMap<Name, Labels>);

impl Endpoints {
    /// The endpoints of a namespace with their labels.
    pub(crate) fn of(&self, namespace: &Arc<str>) -> impl Iterator<Item = (&Name, &Labels)> {
        let from = Name::new(Arc::clone(namespace), "");
        self.0
            .range(from..)
            .take_while(move |(name, _)| name.namespace == *namespace)
    }

    /// All of them.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Name> {
        self.0.keys()
    }

    /// The sets that are to judge a pod, ingress and egress; `None` if it is no endpoint of this node.
    pub(crate) fn set(
        &mut self,
        name: &Name,
        addresses: &Addresses,
        policies: &mut Policies,
        services: &Services,
    ) -> Option<[SetKey; 2]> {
        let pod = addresses
            .pod(name)
            .filter(|pod| pod.placement == Placement::Here);
        let Some(pod) = pod else {
            self.0.remove(name);
            return None;
        };
        self.0.insert(name.clone(), pod.labels.clone());
        let value = &pod.base.value;
        Some(Direction::BOTH.map(|direction| {
            let sides = policies.isolating(&value.namespace, &pod.labels, direction);
            if sides.is_empty() {
                return SetKey::Open;
            }
            let named_port = |port: &str, protocol| value.named_port(port, protocol);
            let mut set = SetPolicies::new(direction, sides, named_port);
            if direction == Direction::Egress {
                set.hairpin = hairpin(&set, pod.ips(), policies, services);
            }
            SetKey::Policies(Arc::new(set))
        }))
    }
}

/// The addresses of an endpoint by which it is a backend, and the only one of a Service that the set does not allow.
fn hairpin(
    set: &SetPolicies,
    own: impl Iterator<Item = IpAddr>,
    policies: &mut Policies,
    services: &Services,
) -> Vec<IpAddr> {
    let mut compiler = SetCompiler::new(set, policies.memo());
    let mut needed: Vec<IpAddr> = own
        .filter(|address| {
            services
                .classes_behind(*address)
                .any(|class| denies_only(&mut compiler, class, *address))
        })
        .collect();
    needed.sort_unstable();
    needed
}

fn denies_only(set: &mut SetCompiler<'_>, service: &ServiceClass, own: IpAddr) -> bool {
    let mut denied = service.backends.iter().filter(|backend| {
        set.backend(&backend.peer, service.protocol, backend.port)
            .is_none()
    });
    matches!((denied.next(), denied.next()), (Some(only), None) if only.sole == Some(own))
}
