//! Namespaces, nodes and pods. Fields that Weir does not read are passed over; those it reads are typed strictly.

use std::net::IpAddr;
use std::sync::Arc;

use super::diagnostic::Findings;
use super::meta::{self, Meta, NameRule};
use super::read::{At, Fields, Unknown};
use super::{network_policy, syntax};
use crate::model::{NamedPort, Namespace, Node, Owner, Phase, Pod, Protocol};

pub(super) fn namespace(root: &Fields<'_>, findings: &mut Findings) -> Option<Namespace> {
    let meta = meta::read(root, NameRule::Label, Unknown::Ignore, findings)?;
    let mut namespace = Namespace::new(meta.name, &meta.labels);
    namespace.annotations = meta.annotations;
    Some(namespace)
}

pub(super) fn node(root: &Fields<'_>, findings: &mut Findings) -> Option<Node> {
    let meta = meta::read(root, NameRule::Subdomain, Unknown::Ignore, findings)?;
    let status = root.object(findings, "status");
    let items = status
        .map(|status| status.list(findings, "addresses"))
        .unwrap_or_default();
    let mut addresses = Vec::new();
    for item in items {
        let Some(fields) = item.object(findings) else {
            continue;
        };
        let kind = fields.text(findings, "type");
        if matches!(kind, Some("InternalIP" | "ExternalIP")) {
            addresses.extend(fields.get("address").and_then(|at| address(&at, findings)));
        }
    }
    addresses.dedup();
    Some(Node {
        name: meta.name.into(),
        labels: meta.labels,
        addresses,
    })
}

pub(super) fn pod(root: &Fields<'_>, findings: &mut Findings) -> Option<Pod> {
    let meta = meta::read(root, NameRule::Subdomain, Unknown::Ignore, findings)?;
    let spec = root.object(findings, "spec");
    let status = root.object(findings, "status");
    let text = |fields: &Option<Fields<'_>>, key: &str, findings: &mut Findings| -> Arc<str> {
        fields
            .as_ref()
            .and_then(|fields| fields.text(findings, key))
            .unwrap_or_default()
            .into()
    };
    let node = text(&spec, "nodeName", findings);
    let host_network = spec
        .as_ref()
        .and_then(|spec| spec.boolean(findings, "hostNetwork"))
        .unwrap_or(false);
    let ports = spec
        .as_ref()
        .map(|spec| container_ports(spec, findings))
        .unwrap_or_default();
    let phase = status
        .as_ref()
        .and_then(|status| status.get("phase"))
        .and_then(|at| phase(&at, findings));
    let ips = status
        .as_ref()
        .map(|status| pod_ips(status, findings))
        .unwrap_or_default();
    Some(Pod {
        name: meta.full_name(),
        uid: meta.fields.text(findings, "uid").unwrap_or_default().into(),
        node,
        ips,
        host_network,
        phase: phase.unwrap_or_default(),
        terminating: meta.fields.get("deletionTimestamp").is_some(),
        ports: ports.into(),
        owner: owner(&meta, findings),
        labels: meta.labels,
        annotations: meta.annotations,
    })
}

/// `podIPs`, or `podIP` where a manifest has only that.
fn pod_ips(status: &Fields<'_>, findings: &mut Findings) -> Vec<IpAddr> {
    let mut ips = Vec::new();
    for item in status.list(findings, "podIPs") {
        let Some(fields) = item.object(findings) else {
            continue;
        };
        ips.extend(fields.get("ip").and_then(|at| address(&at, findings)));
    }
    if ips.is_empty() {
        ips.extend(
            status
                .get("podIP")
                .filter(|at| !is_empty_text(at))
                .and_then(|at| address(&at, findings)),
        );
    }
    ips.dedup();
    ips
}

fn is_empty_text(at: &At<'_>) -> bool {
    at.node.value == super::yaml::Value::Text(String::new())
}

fn phase(at: &At<'_>, findings: &mut Findings) -> Option<Phase> {
    match at.text(findings)? {
        "Pending" => Some(Phase::Pending),
        "Running" => Some(Phase::Running),
        "Succeeded" => Some(Phase::Succeeded),
        "Failed" => Some(Phase::Failed),
        "Unknown" => Some(Phase::Unknown),
        other => {
            at.error(
                findings,
                "not-supported",
                format!(
                    "unsupported value `{other}`: Pending, Running, Succeeded, Failed or Unknown"
                ),
            );
            None
        }
    }
}

/// Named ports of all containers that live as long as the pod: init containers only if they are restartable.
fn container_ports(spec: &Fields<'_>, findings: &mut Findings) -> Vec<NamedPort> {
    let mut ports = Vec::new();
    for (list, is_init) in [("containers", false), ("initContainers", true)] {
        for item in spec.list(findings, list) {
            let Some(container) = item.object(findings) else {
                continue;
            };
            if is_init && container.text(findings, "restartPolicy") != Some("Always") {
                continue;
            }
            for item in container.list(findings, "ports") {
                ports.extend(named_port(&item, findings));
            }
        }
    }
    ports
}

fn named_port(at: &At<'_>, findings: &mut Findings) -> Option<NamedPort> {
    let fields = at.object(findings)?;
    let protocol = fields.get("protocol").map_or(Some(Protocol::Tcp), |at| {
        network_policy::protocol(&at, findings)
    });
    let port_at = fields.get("containerPort")?;
    let port = match syntax::port_number(port_at.integer(findings)?) {
        Ok(port) => port,
        Err(wrong) => {
            port_at.error(findings, "out-of-range", wrong);
            return None;
        }
    };
    let name_at = fields.get("name").filter(|at| !is_empty_text(at))?;
    let name = name_at.text(findings)?;
    if let Err(wrong) = syntax::port_name(name) {
        name_at.error(findings, "invalid-port-name", wrong);
        return None;
    }
    Some(NamedPort {
        name: name.into(),
        protocol: protocol?,
        port,
    })
}

/// The workload that a person would name: a ReplicaSet of a Deployment stands for the Deployment, a Job of a CronJob
/// for the CronJob.
fn owner(meta: &Meta<'_>, findings: &mut Findings) -> Option<Owner> {
    for item in meta.fields.list(findings, "ownerReferences") {
        let Some(fields) = item.object(findings) else {
            continue;
        };
        if fields.boolean(findings, "controller") != Some(true) {
            continue;
        }
        let kind = fields.text(findings, "kind")?;
        let name = fields.text(findings, "name")?;
        let hash = meta.labels.get("pod-template-hash");
        let deployment = hash
            .and_then(|hash| name.strip_suffix(&**hash))
            .and_then(|name| name.strip_suffix('-'));
        let cron_job = name.rsplit_once('-').filter(|(_, time)| {
            matches!(time.len(), 8..=10) && time.bytes().all(|b| b.is_ascii_digit())
        });
        return Some(match (kind, deployment, cron_job) {
            ("ReplicaSet", Some(name), _) => Owner {
                kind: "Deployment".into(),
                name: name.into(),
            },
            ("Job", _, Some((name, _))) => Owner {
                kind: "CronJob".into(),
                name: name.into(),
            },
            _ => Owner {
                kind: kind.into(),
                name: name.into(),
            },
        });
    }
    None
}

/// An address field.
pub(super) fn address(at: &At<'_>, findings: &mut Findings) -> Option<IpAddr> {
    match syntax::address(at.text(findings)?) {
        Ok(address) => Some(address),
        Err(wrong) => {
            at.error(findings, "invalid-address", wrong);
            None
        }
    }
}
