//! Classes of addresses: what policies can tell apart, interned so that they compare and hash by number.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use ipnet::IpNet;

use super::catalogue::{IdentityEntry, port_entry};
use crate::model::{Labels, Name, NamedPort, Protocol};
use crate::tables::IdentityId;

/// An interned value. Two of one interner are equal if their serials are.
#[derive(Debug)]
pub(crate) struct Interned<T> {
    /// Small number, reused after the value is gone.
    pub(crate) serial: u32,
    pub(crate) value: T,
}

impl<T> PartialEq for Interned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.serial == other.serial
    }
}

impl<T> Eq for Interned<T> {}

impl<T> Hash for Interned<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.serial.hash(state);
    }
}

/// Keeps one copy of each value that is in use.
#[derive(Debug)]
pub(crate) struct Interner<T> {
    values: HashMap<T, Arc<Interned<T>>, RandomState>,
    free: Vec<u32>,
    next: u32,
    collect_at: usize,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self {
            values: HashMap::default(),
            free: Vec::new(),
            next: 0,
            collect_at: 1024,
        }
    }
}

impl<T: Eq + Hash + Clone> Interner<T> {
    /// The one copy of `value`.
    pub(crate) fn intern(&mut self, value: T) -> Arc<Interned<T>> {
        if let Some(known) = self.values.get(&value) {
            return Arc::clone(known);
        }
        let serial = self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        });
        let interned = Arc::new(Interned {
            serial,
            value: value.clone(),
        });
        self.values.insert(value, Arc::clone(&interned));
        interned
    }

    /// Forgets what nobody uses, once enough has gathered; returns the serials that will be reused.
    pub(crate) fn collect(&mut self) -> Vec<u32> {
        if self.values.len() < self.collect_at {
            return Vec::new();
        }
        let mut freed = Vec::new();
        self.values.retain(|_, interned| {
            let used = Arc::strong_count(interned) > 1;
            if !used {
                freed.push(interned.serial);
            }
            used
        });
        self.free.extend(&freed);
        self.collect_at = (self.values.len() * 2).max(1024);
        freed
    }
}

/// What selectors and named ports see of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct BaseValue {
    pub(crate) namespace: Arc<str>,
    pub(crate) namespace_labels: Labels,
    /// Those by which some policy selects peers.
    pub(crate) labels: Labels,
    pub(crate) ports: Arc<[NamedPort]>,
}

/// A label class of pods.
pub(crate) type Base = Interned<BaseValue>;

impl BaseValue {
    /// The number of a port name, as [`crate::model::Pod::named_port`].
    pub(crate) fn named_port(&self, name: &str, protocol: Protocol) -> Option<u16> {
        self.ports
            .iter()
            .find(|port| &*port.name == name && port.protocol == protocol)
            .map(|port| port.port)
    }
}

/// The policy CIDRs that cover an address, widest first.
pub(crate) type Chain = Interned<Vec<IpNet>>;

/// What an identity stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    /// Addresses of pods.
    Pods(Arc<Base>, Arc<Chain>),
    /// Addresses of nodes.
    Node(Arc<Chain>),
    /// Other addresses.
    Cidr(Arc<Chain>),
    /// One port of a Service.
    Service(Arc<ServiceClass>),
    /// A former front end on an address of this node, until it is removed.
    OwnNode,
    /// An identity of an earlier run whose meaning is not known.
    Adopted(IdentityId),
}

/// One port of a Service as policies see it. Replicas of one class count once: scaling does not change it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ServiceClass {
    pub(crate) service: Name,
    pub(crate) port: Arc<str>,
    pub(crate) protocol: Protocol,
    /// Sorted by what they are called in the catalogue, distinct.
    pub(crate) backends: Vec<Backend>,
}

/// The backends of one class and port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Backend {
    pub(crate) peer: BackendPeer,
    pub(crate) port: u16,
    /// Its address, if there is only this one and it is an endpoint of this node: it may be asking for itself.
    pub(crate) sole: Option<IpAddr>,
}

/// What a backend is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum BackendPeer {
    /// This node.
    OwnNode,
    /// Any address.
    Class(Class),
}

impl Class {
    /// The label class of its pods.
    pub(crate) fn base(&self) -> Option<&Arc<Base>> {
        match self {
            Self::Pods(base, _) => Some(base),
            _ => None,
        }
    }

    /// The policy CIDRs that cover it.
    pub(crate) fn cidrs(&self) -> &[IpNet] {
        match self {
            Self::Pods(_, chain) | Self::Node(chain) | Self::Cidr(chain) => &chain.value,
            Self::Service(_) | Self::OwnNode | Self::Adopted(_) => &[],
        }
    }

    /// Its description in the catalogue.
    pub(crate) fn entry(&self) -> IdentityEntry {
        let cidrs = self.cidrs().to_vec();
        match self {
            Self::Pods(base, _) => IdentityEntry::Pods {
                namespace: base.value.namespace.clone(),
                namespace_labels: base.value.namespace_labels.clone(),
                labels: base.value.labels.clone(),
                ports: base.value.ports.iter().map(port_entry).collect(),
                cidrs,
            },
            Self::Node(_) => IdentityEntry::Node { cidrs },
            Self::Cidr(_) | Self::Adopted(_) => IdentityEntry::Cidr { cidrs },
            Self::Service(class) => IdentityEntry::Service {
                service: class.service.clone(),
                port: class.port.clone(),
                protocol: class.protocol,
                backends: class.backends.iter().map(Backend::describe).collect(),
            },
            Self::OwnNode => IdentityEntry::OwnNode,
        }
    }

    /// Orders classes the same way in every run.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Pods(base, chain) => {
                let labels: Vec<String> = (base.value.labels.iter())
                    .map(|(key, value)| format!("{key}={value}"))
                    .collect();
                let ports: Vec<String> = (base.value.ports.iter())
                    .map(|port| format!("{}={}/{}", port.name, port.port, port.protocol))
                    .collect();
                let (namespace, cidrs) = (&base.value.namespace, cidr_list(&chain.value));
                format!(
                    "pods {namespace} [{}] [{}]{cidrs}",
                    labels.join(","),
                    ports.join(",")
                )
            }
            Self::Node(chain) => format!("node{}", cidr_list(&chain.value)),
            Self::Cidr(chain) => format!("address{}", cidr_list(&chain.value)),
            Self::Service(class) => format!("service {} {}", class.service, class.port),
            Self::OwnNode => "own node".to_owned(),
            Self::Adopted(id) => format!("identity {}", id.0),
        }
    }
}

impl Backend {
    /// In words, for the catalogue and for a stable order.
    pub(crate) fn describe(&self) -> String {
        let peer = match &self.peer {
            BackendPeer::OwnNode => "own node".to_owned(),
            BackendPeer::Class(class) => class.describe(),
        };
        match self.sole {
            Some(address) => format!("{peer} port {} only {address}", self.port),
            None => format!("{peer} port {}", self.port),
        }
    }
}

fn cidr_list(cidrs: &[IpNet]) -> String {
    cidrs.iter().map(|cidr| format!(" {cidr}")).collect()
}
