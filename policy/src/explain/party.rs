//! Who is asked about: pods, Services, addresses, and what they resolve to.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use super::{ExplainError, Request};
use crate::compile::{Family, backends, target};
use crate::model::{Cluster, Name, Pod, Service};

/// One side of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Party {
    /// `namespace/name`: a pod, or a Service where no pod has the name.
    Named(Name),
    /// An address.
    Address(IpAddr),
}

impl FromStr for Party {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        text.parse().map(Self::Named).map_err(|_| {
            format!("`{text}` is neither namespace/pod, namespace/service nor an address")
        })
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => name.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// Why a party cannot be resolved.
#[derive(Debug, Error)]
pub enum PartyError {
    /// Nothing has this name.
    #[error("no pod{} is called {name}", if *.service { " or service" } else { "" })]
    NotFound {
        /// The name.
        name: Name,
        /// Whether a Service would have done.
        service: bool,
    },
    /// It has no address yet.
    #[error("{0} has no address")]
    NoAddress(Name),
    /// The Service has no such port.
    #[error("service {name} has no {protocol} port {port}")]
    NoPort {
        /// The Service.
        name: Name,
        /// Protocol.
        protocol: &'static str,
        /// Port.
        port: u16,
    },
}

/// The far side as selectors and blocks see it.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// The pod that has the address.
    pub(super) pod: Option<Arc<Pod>>,
    /// The address.
    pub(super) address: IpAddr,
}

impl Peer {
    /// Who has an address.
    pub(super) fn of_address(cluster: &Cluster, address: IpAddr) -> Self {
        let has_it = |pod: &&Arc<Pod>| pod.is_networked() && pod.ips.contains(&address);
        Self {
            pod: cluster.pods.values().find(has_it).cloned(),
            address,
        }
    }
}

/// Where packets end up: the address asked for, or a backend of the Service asked for.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) peer: Peer,
    pub(super) address: IpAddr,
    pub(super) port: u16,
}

/// A request, resolved.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) source_pod: Option<Arc<Pod>>,
    pub(super) source_ip: IpAddr,
    /// As the source addresses it: a Service's before DNAT.
    pub(super) destination_ip: IpAddr,
    pub(super) routes: Vec<Route>,
    pub(super) notes: Vec<String>,
}

impl Ends {
    /// # Errors
    /// A party is not there or has no address.
    pub(super) fn resolve(cluster: &Cluster, request: &Request) -> Result<Self, ExplainError> {
        let from = addresses(cluster, &request.from, false)?;
        let to = addresses(cluster, &request.to, true)?;
        let common = from.iter().find_map(|source| {
            to.iter()
                .find(|target| target.is_ipv4() == source.is_ipv4())
                .map(|target| (*source, *target))
        });
        let Some((source_ip, destination_ip)) = common else {
            return Err(ExplainError::NoCommonFamily {
                from: request.from.to_string(),
                to: request.to.to_string(),
            });
        };
        let source_pod = Peer::of_address(cluster, source_ip).pod;
        let mut notes = Vec::new();
        let service = target(cluster, destination_ip, request.protocol, request.port);
        let routes = match service {
            Some(service) => {
                notes.push(format!(
                    "{destination_ip}:{} is service {} with {} backends",
                    request.port,
                    service.service,
                    service.backends.len()
                ));
                let route = |(address, port): &(IpAddr, u16)| Route {
                    peer: Peer::of_address(cluster, *address),
                    address: *address,
                    port: *port,
                };
                service.backends.iter().map(route).collect()
            }
            None => {
                if let Party::Named(name) = &request.to {
                    let has_front_end = cluster
                        .services
                        .get(name)
                        .is_some_and(|service| !service.cluster_ips.is_empty());
                    if has_front_end && !cluster.pods.contains_key(name) {
                        let missing = PartyError::NoPort {
                            name: name.clone(),
                            protocol: request.protocol.as_str(),
                            port: request.port,
                        };
                        return Err(missing.into());
                    }
                }
                vec![Route {
                    peer: Peer::of_address(cluster, destination_ip),
                    address: destination_ip,
                    port: request.port,
                }]
            }
        };
        for (party, address) in [(&request.from, source_ip), (&request.to, destination_ip)] {
            notes.extend(caution(cluster, party, address));
        }
        Ok(Self {
            source_pod,
            source_ip,
            destination_ip,
            routes,
            notes,
        })
    }
}

fn addresses(
    cluster: &Cluster,
    party: &Party,
    service_too: bool,
) -> Result<Vec<IpAddr>, PartyError> {
    let name = match party {
        Party::Address(address) => return Ok(vec![*address]),
        Party::Named(name) => name,
    };
    let ips = match (
        cluster.pods.get(name),
        cluster.services.get(name).filter(|_| service_too),
    ) {
        (Some(pod), _) => pod.ips.clone(),
        (None, Some(service)) if service.cluster_ips.is_empty() => behind(cluster, service),
        (None, Some(service)) => service.cluster_ips.clone(),
        (None, None) => {
            return Err(PartyError::NotFound {
                name: name.clone(),
                service: service_too,
            });
        }
    };
    if ips.is_empty() {
        Err(PartyError::NoAddress(name.clone()))
    } else {
        Ok(ips)
    }
}

/// A headless Service is a name for its pods.
fn behind(cluster: &Cluster, service: &Service) -> Vec<IpAddr> {
    let ports = service.ports.iter();
    let families = ports.flat_map(|port| Family::BOTH.map(|family| (port, family)));
    let backends = families.flat_map(|(port, family)| backends(cluster, service, port, family));
    let addresses: BTreeSet<IpAddr> = backends.map(|(address, _)| address).collect();
    addresses.into_iter().collect()
}

fn caution(cluster: &Cluster, party: &Party, address: IpAddr) -> Option<String> {
    if let Some(node) = cluster
        .nodes
        .values()
        .find(|node| node.addresses.contains(&address))
    {
        return Some(format!(
            "{address} is an address of node {}: pods on that node may not refuse it",
            node.name
        ));
    }
    let Party::Named(name) = party else {
        return None;
    };
    let pod = cluster.pods.get(name)?;
    if pod.host_network {
        return Some(format!(
            "{name} is on the host network: policies do not apply to it"
        ));
    }
    (!pod.is_networked())
        .then(|| format!("{name} is completed: it has no network identity any more"))
}
