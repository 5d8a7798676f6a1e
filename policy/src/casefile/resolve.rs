//! A row becomes the packets that decide it: at the source's interface, and at each destination's.

use std::net::IpAddr;
use std::sync::Arc;

use thiserror::Error;

use super::Row;
use crate::compile::{Family, backends};
use crate::explain::Party;
use crate::model::{Cluster, Direction, Name, Pod, Service};
use crate::tables::{Origin, ProtocolClass, Query};

/// The opening of a connection at one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The node whose collector judges it.
    pub node: Arc<str>,
    /// The pod.
    pub pod: Name,
    /// What is looked up.
    pub query: Query,
}

/// Why a row cannot be checked against a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ResolveError {
    /// Nothing has this name.
    #[error("line {line}: {name} is neither a pod nor a service of the manifests")]
    NotFound {
        /// The row's line.
        line: usize,
        /// The name.
        name: Name,
    },
    /// A Service cannot connect.
    #[error("line {line}: {name} is a service; `from` must be a pod or an address")]
    FromService {
        /// The row's line.
        line: usize,
        /// The name.
        name: Name,
    },
    /// The Service has no such port.
    #[error("line {line}: service {name} has no {protocol} port {port}")]
    NoPort {
        /// The row's line.
        line: usize,
        /// The Service.
        name: Name,
        /// Protocol.
        protocol: &'static str,
        /// Port.
        port: u16,
    },
    /// The two have no address family in common, or one has no address.
    #[error("line {line}: {from} and {to} have no address family in common")]
    NoCommonFamily {
        /// The row's line.
        line: usize,
        /// Who connects.
        from: Party,
        /// To whom.
        to: Party,
    },
}

/// One side of a row: its addresses, and the pod if it is named as one.
struct Side<'c> {
    pod: Option<&'c Arc<Pod>>,
    addresses: Vec<IpAddr>,
}

/// The checks of a row.
///
/// # Errors
/// [`ResolveError`]: the row names what is not there.
pub fn checks(cluster: &Cluster, row: &Row) -> Result<Vec<Check>, ResolveError> {
    let source = match &row.from {
        Party::Named(name)
            if !cluster.pods.contains_key(name) && cluster.services.contains_key(name) =>
        {
            return Err(ResolveError::FromService {
                line: row.line,
                name: name.clone(),
            });
        }
        party => pod_side(cluster, row, party)?,
    };
    let service = match &row.to {
        Party::Named(name) if !cluster.pods.contains_key(name) => cluster.services.get(name),
        _ => None,
    };
    let mut found = Vec::new();
    let mut has_family = false;
    for local in &source.addresses {
        match service {
            Some(service) => {
                has_family |= to_service(cluster, row, &source, *local, service, &mut found)?
            }
            None => {
                let target = pod_side(cluster, row, &row.to)?;
                for remote in target
                    .addresses
                    .iter()
                    .filter(|remote| remote.is_ipv4() == local.is_ipv4())
                {
                    has_family = true;
                    found.extend(egress(&source, *local, *remote, row.port, row));
                    found.extend(ingress(cluster, target.pod, *remote, *local, row.port, row));
                }
            }
        }
    }
    if has_family {
        Ok(found)
    } else {
        Err(ResolveError::NoCommonFamily {
            line: row.line,
            from: row.from.clone(),
            to: row.to.clone(),
        })
    }
}

fn pod_side<'c>(cluster: &'c Cluster, row: &Row, party: &Party) -> Result<Side<'c>, ResolveError> {
    match party {
        Party::Address(address) => Ok(Side {
            pod: None,
            addresses: vec![*address],
        }),
        Party::Named(name) => match cluster.pods.get(name) {
            Some(pod) => Ok(Side {
                pod: Some(pod),
                addresses: pod.ips.clone(),
            }),
            None => Err(ResolveError::NotFound {
                line: row.line,
                name: name.clone(),
            }),
        },
    }
}

/// The front end at the source, and each backend at its own interface. Whether the families meet.
fn to_service(
    cluster: &Cluster,
    row: &Row,
    source: &Side<'_>,
    local: IpAddr,
    service: &Service,
    found: &mut Vec<Check>,
) -> Result<bool, ResolveError> {
    if service.cluster_ips.is_empty() {
        return Ok(to_headless(cluster, row, source, local, service, found));
    }
    let Some(address) = service
        .cluster_ips
        .iter()
        .find(|address| address.is_ipv4() == local.is_ipv4())
    else {
        return Ok(false);
    };
    let Some(port) = service
        .ports
        .iter()
        .find(|port| port.protocol == row.protocol && port.port == row.port)
    else {
        let (name, protocol) = (service.name.clone(), row.protocol.as_str());
        return Err(ResolveError::NoPort {
            line: row.line,
            name,
            protocol,
            port: row.port,
        });
    };
    found.extend(egress(source, local, *address, row.port, row));
    for (backend, target) in backends(cluster, service, port, Family::of(*address)) {
        found.extend(ingress(
            cluster,
            pod_at(cluster, backend),
            backend,
            local,
            target,
            row,
        ));
    }
    Ok(true)
}

/// A headless Service is a name for its pods: clients connect to a pod's own address and port.
fn to_headless(
    cluster: &Cluster,
    row: &Row,
    source: &Side<'_>,
    local: IpAddr,
    service: &Service,
    found: &mut Vec<Check>,
) -> bool {
    let mut has_family = false;
    for port in &service.ports {
        for (backend, number) in backends(cluster, service, port, Family::of(local)) {
            if (port.protocol, number) != (row.protocol, row.port) {
                continue;
            }
            has_family = true;
            found.extend(egress(source, local, backend, number, row));
            found.extend(ingress(
                cluster,
                pod_at(cluster, backend),
                backend,
                local,
                number,
                row,
            ));
        }
    }
    has_family
}

fn pod_at(cluster: &Cluster, address: IpAddr) -> Option<&Arc<Pod>> {
    let mut pods = cluster.pods.values();
    pods.find(|pod| pod.is_networked() && pod.ips.contains(&address))
}

fn egress(source: &Side<'_>, local: IpAddr, remote: IpAddr, port: u16, row: &Row) -> Option<Check> {
    let pod = source.pod.filter(|pod| pod.is_networked())?;
    Some(check(
        pod,
        Direction::Egress,
        local,
        remote,
        port,
        Origin::Forwarded,
        row,
    ))
}

fn ingress(
    cluster: &Cluster,
    pod: Option<&Arc<Pod>>,
    local: IpAddr,
    remote: IpAddr,
    port: u16,
    row: &Row,
) -> Option<Check> {
    let pod = pod.filter(|pod| pod.is_networked())?;
    let own_node = cluster
        .nodes
        .get(&pod.node)
        .is_some_and(|node| node.addresses.contains(&remote));
    let origin = if own_node {
        Origin::Local
    } else {
        Origin::Forwarded
    };
    Some(check(
        pod,
        Direction::Ingress,
        local,
        remote,
        port,
        origin,
        row,
    ))
}

fn check(
    pod: &Pod,
    direction: Direction,
    local: IpAddr,
    remote: IpAddr,
    port: u16,
    origin: Origin,
    row: &Row,
) -> Check {
    let query = Query {
        direction,
        local,
        remote,
        protocol: ProtocolClass::Named(row.protocol),
        port,
        origin,
    };
    Check {
        node: pod.node.clone(),
        pod: pod.name.clone(),
        query,
    }
}
