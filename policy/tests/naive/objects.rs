//! The objects of a cluster, in the API's own types.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde_json::Value as Json;
use weir_policy::manifest;
use weir_policy::model::{self, Kind, Name};

use super::name_of;

/// One object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Object {
    Namespace(Box<Namespace>),
    Node(Box<Node>),
    Pod(Box<Pod>),
    Service(Box<Service>),
    EndpointSlice(Box<EndpointSlice>),
    NetworkPolicy(Box<NetworkPolicy>),
}

impl Object {
    /// As an API server sends it.
    pub(crate) fn json(&self) -> Json {
        let json = match self {
            Self::Namespace(object) => serde_json::to_value(object),
            Self::Node(object) => serde_json::to_value(object),
            Self::Pod(object) => serde_json::to_value(object),
            Self::Service(object) => serde_json::to_value(object),
            Self::EndpointSlice(object) => serde_json::to_value(object),
            Self::NetworkPolicy(object) => serde_json::to_value(object),
        };
        json.expect("the API's types are JSON")
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Namespace(_) => Kind::Namespace,
            Self::Node(_) => Kind::Node,
            Self::Pod(_) => Kind::Pod,
            Self::Service(_) => Kind::Service,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::NetworkPolicy(_) => Kind::NetworkPolicy,
        }
    }

    pub(crate) fn name(&self) -> Name {
        name_of(match self {
            Self::Namespace(object) => &object.metadata,
            Self::Node(object) => &object.metadata,
            Self::Pod(object) => &object.metadata,
            Self::Service(object) => &object.metadata,
            Self::EndpointSlice(object) => &object.metadata,
            Self::NetworkPolicy(object) => &object.metadata,
        })
    }

    /// As the reader under test understands it.
    pub(crate) fn read(&self) -> model::Object {
        let json = self.json();
        manifest::from_json(self.kind(), &json)
            .unwrap_or_else(|found| panic!("{json:#} is refused: {found:?}"))
    }
}

/// All objects of a cluster; namespaces and nodes by name, the others by namespace and name.
#[derive(Clone, Default)]
pub(crate) struct Objects {
    pub(crate) namespaces: BTreeMap<String, Namespace>,
    pub(crate) nodes: BTreeMap<String, Node>,
    pub(crate) pods: BTreeMap<Name, Pod>,
    pub(crate) services: BTreeMap<Name, Service>,
    pub(crate) slices: BTreeMap<Name, EndpointSlice>,
    pub(crate) policies: BTreeMap<Name, NetworkPolicy>,
}

impl Objects {
    pub(crate) fn upsert(&mut self, object: Object) {
        let name = object.name();
        match object {
            Object::Namespace(o) => drop(self.namespaces.insert(name.name.to_string(), *o)),
            Object::Node(o) => drop(self.nodes.insert(name.name.to_string(), *o)),
            Object::Pod(o) => drop(self.pods.insert(name, *o)),
            Object::Service(o) => drop(self.services.insert(name, *o)),
            Object::EndpointSlice(o) => drop(self.slices.insert(name, *o)),
            Object::NetworkPolicy(o) => drop(self.policies.insert(name, *o)),
        }
    }

    pub(crate) fn remove(&mut self, kind: Kind, name: &Name) {
        match kind {
            Kind::Namespace => drop(self.namespaces.remove(&*name.name)),
            Kind::Node => drop(self.nodes.remove(&*name.name)),
            Kind::Pod => drop(self.pods.remove(name)),
            Kind::Service => drop(self.services.remove(name)),
            Kind::EndpointSlice => drop(self.slices.remove(name)),
            Kind::NetworkPolicy => drop(self.policies.remove(name)),
        }
    }
}

/// `status.addresses` that are addresses of its own.
pub(crate) fn node_addresses(node: &Node) -> Vec<IpAddr> {
    let addresses = node.status.iter().flat_map(|status| &status.addresses);
    addresses
        .flatten()
        .filter(|address| matches!(&*address.type_, "InternalIP" | "ExternalIP"))
        .map(|address| address.address.parse().expect("an address"))
        .collect()
}
