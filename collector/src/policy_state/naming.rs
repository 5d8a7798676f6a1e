//! Names for records: addresses, Service front ends and endpoint numbers, brought up to date by difference.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use weir_flow::{Endpoint, EndpointKind, Mode, ServiceRef, Timestamp, Workload};
use weir_policy::model::{Cluster, Name, Pod, Service};

use crate::endpoints::{EndpointInfo, EndpointView};
use crate::names::{IdentityNumbers, LocalEndpoint, Names};

/// Label by which a ReplicaSet's pods tell what their Deployment is called.
const TEMPLATE_HASH: &str = "pod-template-hash";

type Frontend = (IpAddr, u8, u16);

/// Keeps [`Names`] in step with the cluster and the endpoints.
pub(super) struct Naming {
    names: Arc<Names>,
    node: Arc<str>,
    mode: Mode,
    identities: IdentityNumbers,
    pods: HashMap<Name, Arc<Endpoint>>,
    addresses: HashMap<IpAddr, Arc<Endpoint>>,
    services: HashMap<Frontend, Arc<ServiceRef>>,
    locals: HashSet<u32>,
}

impl Naming {
    pub(super) fn new(names: Arc<Names>, node: Arc<str>, mode: Mode) -> Self {
        Self {
            names,
            node,
            mode,
            identities: IdentityNumbers::default(),
            pods: HashMap::new(),
            addresses: HashMap::new(),
            services: HashMap::new(),
            locals: HashSet::new(),
        }
    }

    /// Takes a new state of the cluster. `own`: addresses of this node's interfaces.
    pub(super) fn cluster<'a>(
        &mut self,
        cluster: &'a Cluster,
        own: impl IntoIterator<Item = &'a IpAddr>,
        now: Timestamp,
    ) {
        self.pods = self.name_pods(cluster);
        let addresses = self.name_addresses(cluster, own);
        for (address, endpoint) in &addresses {
            if self.addresses.get(address) != Some(endpoint) {
                self.names.put_address(*address, endpoint.clone(), now);
            }
        }
        for address in self.addresses.keys() {
            if !addresses.contains_key(address) {
                self.names.remove_address(*address, now);
            }
        }
        self.addresses = addresses;
        let services = frontends(cluster);
        for (frontend, service) in &services {
            if self.services.get(frontend) != Some(service) {
                let (address, protocol, port) = *frontend;
                self.names
                    .put_service(address, protocol, port, service.clone());
            }
        }
        for frontend in self.services.keys() {
            if !services.contains_key(frontend) {
                self.names
                    .remove_service(frontend.0, frontend.1, frontend.2);
            }
        }
        self.services = services;
    }

    /// Names all endpoints of the view, and forgets those that are in it no more.
    pub(super) fn endpoints(&mut self, view: &EndpointView) {
        let all = view.all();
        for endpoint in &all {
            self.endpoint(endpoint);
        }
        let known: HashSet<u32> = all.iter().map(|endpoint| endpoint.id).collect();
        for forgotten in self.locals.difference(&known) {
            self.names.remove_local(*forgotten);
        }
        self.locals = known;
    }

    fn endpoint(&self, info: &EndpointInfo) {
        let Some(pod) = &info.pod else { return };
        // A pod that has left the cluster keeps the name that its endpoint had.
        let Some(endpoint) = self.pods.get(pod) else {
            return;
        };
        self.names.put_local(
            info.id,
            LocalEndpoint {
                endpoint: endpoint.clone(),
                mode: self.mode,
            },
        );
    }

    /// One shared value for each pod; the one it had, if nothing about it has changed.
    fn name_pods(&mut self, cluster: &Cluster) -> HashMap<Name, Arc<Endpoint>> {
        let mut pods = HashMap::with_capacity(cluster.pods.len());
        for (name, pod) in &cluster.pods {
            let fresh = self.name_pod(pod);
            let endpoint = match self.pods.get(name) {
                Some(known) if **known == fresh => known.clone(),
                _ => Arc::new(fresh),
            };
            pods.insert(name.clone(), endpoint);
        }
        pods
    }

    fn name_pod(&mut self, pod: &Pod) -> Endpoint {
        // Labels are ordered by key, which is not always the order of `key=value`.
        let mut labels: Vec<Arc<str>> = pod
            .labels
            .iter()
            .map(|(key, value)| format!("{key}={value}").into())
            .collect();
        labels.sort();
        Endpoint {
            kind: EndpointKind::Pod,
            identity: self.identities.number(&pod.name.namespace, &labels),
            namespace: pod.name.namespace.clone(),
            name: pod.name.name.clone(),
            labels: labels.into(),
            workload: workload(pod),
        }
    }

    /// Who has which address. Services first, so that a node or pod that has the same one wins.
    fn name_addresses<'a>(
        &self,
        cluster: &'a Cluster,
        own: impl IntoIterator<Item = &'a IpAddr>,
    ) -> HashMap<IpAddr, Arc<Endpoint>> {
        let mut addresses = HashMap::new();
        for service in cluster.services.values() {
            let endpoint = Arc::new(name_service(service));
            addresses.extend(
                service
                    .own_addresses()
                    .map(|address| (address, endpoint.clone())),
            );
        }
        for node in cluster.nodes.values().filter(|node| node.name != self.node) {
            let endpoint = Arc::new(name_node(EndpointKind::RemoteNode, &node.name));
            addresses.extend(
                node.addresses
                    .iter()
                    .map(|address| (*address, endpoint.clone())),
            );
        }
        let host = Arc::new(name_node(EndpointKind::Host, &self.node));
        let listed = cluster
            .nodes
            .get(&self.node)
            .map(|node| node.addresses.as_slice());
        let hosts = own.into_iter().chain(listed.unwrap_or_default());
        addresses.extend(hosts.map(|address| (*address, host.clone())));
        let mut pods: Vec<&Arc<Pod>> = cluster
            .pods
            .values()
            .filter(|pod| pod.is_networked())
            .collect();
        // Of two that claim an address, the one that stays has it.
        pods.sort_by_key(|pod| !pod.terminating);
        for pod in pods {
            if let Some(endpoint) = self.pods.get(&pod.name) {
                addresses.extend(pod.ips.iter().map(|address| (*address, endpoint.clone())));
            }
        }
        addresses
    }
}

/// The controlling workload; a Deployment in place of the ReplicaSet that it manages.
fn workload(pod: &Pod) -> Option<Workload> {
    let owner = pod.owner.as_ref()?;
    let deployment = pod
        .labels
        .get(TEMPLATE_HASH)
        .filter(|_| &*owner.kind == "ReplicaSet")
        .and_then(|hash| owner.name.strip_suffix(&**hash)?.strip_suffix('-'));
    Some(match deployment {
        Some(name) => Workload {
            kind: "Deployment".into(),
            name: name.into(),
        },
        None => Workload {
            kind: owner.kind.clone(),
            name: owner.name.clone(),
        },
    })
}

fn name_node(kind: EndpointKind, name: &Arc<str>) -> Endpoint {
    let identity = match kind {
        EndpointKind::Host => IdentityNumbers::HOST,
        _ => IdentityNumbers::REMOTE_NODE,
    };
    Endpoint {
        kind,
        identity,
        namespace: "".into(),
        name: name.clone(),
        labels: Arc::new([]),
        workload: None,
    }
}

fn name_service(service: &Service) -> Endpoint {
    Endpoint {
        kind: EndpointKind::Service,
        identity: 0,
        namespace: service.name.namespace.clone(),
        name: service.name.name.clone(),
        labels: Arc::new([]),
        workload: None,
    }
}

/// Front ends as pods address them; node ports at every node's addresses.
fn frontends(cluster: &Cluster) -> HashMap<Frontend, Arc<ServiceRef>> {
    let mut frontends = HashMap::new();
    for service in cluster.services.values() {
        let name = Arc::new(ServiceRef {
            namespace: service.name.namespace.clone(),
            name: service.name.name.clone(),
        });
        for port in &service.ports {
            let protocol = port.protocol.number();
            for address in service.own_addresses() {
                frontends.insert((address, protocol, port.port), name.clone());
            }
            let nodes = (cluster.nodes.values().flat_map(|node| &node.addresses))
                .filter(|address| service.has_node_ports_at(**address));
            for (address, node_port) in nodes.filter_map(|address| Some((address, port.node_port?)))
            {
                frontends.insert((*address, protocol, node_port), name.clone());
            }
        }
    }
    frontends
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: &str = r"
apiVersion: v1
kind: Pod
metadata:
  name: web-5d4f8-x
  namespace: shop
  labels: {app: web, app-tier: front, pod-template-hash: 5d4f8}
  ownerReferences:
  - {apiVersion: apps/v1, kind: ReplicaSet, name: web-5d4f8, uid: u, controller: true}
spec: {nodeName: node-1, containers: [{name: main}]}
status: {podIPs: [{ip: 10.0.0.5}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIPs: [10.96.0.1], ports: [{port: 80}]}
---
apiVersion: v1
kind: Node
metadata: {name: node-2}
status: {addresses: [{type: InternalIP, address: 192.168.0.2}]}
";

    fn named() -> (Naming, Arc<Names>) {
        let names = Arc::new(Names::default());
        let loaded = weir_policy::manifest::load([("test", CLUSTER)]);
        assert!(!loaded.has_errors(), "{:?}", loaded.diagnostics);
        let mut naming = Naming::new(names.clone(), "node-1".into(), Mode::Enforce);
        naming.cluster(
            &loaded.cluster,
            &["192.168.0.1".parse().unwrap()],
            Timestamp(1),
        );
        (naming, names)
    }

    fn at(names: &Names, address: &str) -> Arc<Endpoint> {
        names.address(address.parse().unwrap(), Timestamp(2))
    }

    #[test]
    fn pods_nodes_services_and_this_node_have_names() {
        let (_, names) = named();
        let pod = at(&names, "10.0.0.5");
        assert_eq!((pod.kind, &*pod.name), (EndpointKind::Pod, "web-5d4f8-x"));
        assert_eq!(at(&names, "10.96.0.1").kind, EndpointKind::Service);
        assert_eq!(at(&names, "192.168.0.2").kind, EndpointKind::RemoteNode);
        let host = at(&names, "192.168.0.1");
        assert_eq!((host.kind, &*host.name), (EndpointKind::Host, "node-1"));
        assert_eq!(at(&names, "8.8.8.8").kind, EndpointKind::World);
        let service = names.service("10.96.0.1".parse().unwrap(), 6, 80);
        assert_eq!(&*service.expect("front end").name, "web");
    }

    #[test]
    fn labels_are_sorted_and_a_deployment_stands_for_its_replica_set() {
        let (_, names) = named();
        let pod = at(&names, "10.0.0.5");
        let labels: Vec<&str> = pod.labels.iter().map(|label| &**label).collect();
        assert_eq!(
            labels,
            ["app-tier=front", "app=web", "pod-template-hash=5d4f8"]
        );
        let workload = pod.workload.as_ref().expect("workload");
        assert_eq!((&*workload.kind, &*workload.name), ("Deployment", "web"));
    }

    #[test]
    fn what_leaves_the_cluster_loses_its_name_from_then_on() {
        let (mut naming, names) = named();
        naming.cluster(&Cluster::default(), [], Timestamp(5));
        let address = "10.0.0.5".parse().unwrap();
        assert_eq!(
            names.address(address, Timestamp(6)).kind,
            EndpointKind::World
        );
        assert_eq!(names.address(address, Timestamp(4)).kind, EndpointKind::Pod);
        assert!(names.service("10.96.0.1".parse().unwrap(), 6, 80).is_none());
    }
}
