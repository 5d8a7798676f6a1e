//! Services and EndpointSlices.

use std::net::IpAddr;
use std::sync::Arc;

use super::diagnostic::{Findings, Severity};
use super::meta::{self, NameRule};
use super::objects::address;
use super::read::{At, Fields, Unknown};
use super::yaml::Value;
use super::{network_policy, syntax};
use crate::model::{
    Endpoint, EndpointSlice, Name, Protocol, Service, ServicePort, ServiceType, SlicePort,
    TargetPort,
};

pub(super) fn service(root: &Fields<'_>, findings: &mut Findings) -> Option<Service> {
    let meta = meta::read(root, NameRule::Label, Unknown::Ignore, findings)?;
    let mut service = Service {
        name: meta.full_name(),
        service_type: ServiceType::ClusterIp,
        cluster_ips: Vec::new(),
        external_ips: Vec::new(),
        load_balancer_ips: Vec::new(),
        selector: std::collections::BTreeMap::new(),
        ports: Vec::new(),
    };
    if let Some(spec) = root.object(findings, "spec") {
        service.service_type = service_type(&spec, findings);
        service.cluster_ips = cluster_ips(&spec, findings);
        service.external_ips = spec
            .list(findings, "externalIPs")
            .iter()
            .filter_map(|at| address(at, findings))
            .collect();
        let selector = spec
            .get("selector")
            .map(|at| meta::labels(&at, findings))
            .unwrap_or_default();
        service.selector = selector
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        service.ports = spec
            .list(findings, "ports")
            .iter()
            .filter_map(|at| port(at, findings))
            .collect();
    }
    let status = root
        .object(findings, "status")
        .and_then(|status| status.object(findings, "loadBalancer"));
    for item in status
        .map(|status| status.list(findings, "ingress"))
        .unwrap_or_default()
    {
        let ip = item.object(findings).and_then(|fields| fields.get("ip"));
        service
            .load_balancer_ips
            .extend(ip.and_then(|at| address(&at, findings)));
    }
    Some(service)
}

fn service_type(spec: &Fields<'_>, findings: &mut Findings) -> ServiceType {
    let Some(at) = spec.get("type") else {
        return ServiceType::ClusterIp;
    };
    match at.text(findings) {
        Some("NodePort") => ServiceType::NodePort,
        Some("LoadBalancer") => ServiceType::LoadBalancer,
        Some("ExternalName") => ServiceType::ExternalName,
        Some("ClusterIP") | None => ServiceType::ClusterIp,
        Some(other) => {
            at.error(
                findings,
                "not-supported",
                format!(
                    "unsupported value `{other}`: ClusterIP, NodePort, LoadBalancer or ExternalName"
                ),
            );
            ServiceType::ClusterIp
        }
    }
}

/// `clusterIPs`, or `clusterIP`; none for a headless Service.
fn cluster_ips(spec: &Fields<'_>, findings: &mut Findings) -> Vec<IpAddr> {
    let mut items: Vec<At<'_>> = spec.list(findings, "clusterIPs");
    if items.is_empty() {
        items.extend(spec.get("clusterIP"));
    }
    let assigned = |at: &&At<'_>| !matches!(&at.node.value, Value::Text(text) if text.is_empty() || text == "None");
    items
        .iter()
        .filter(assigned)
        .filter_map(|at| address(at, findings))
        .collect()
}

fn port(at: &At<'_>, findings: &mut Findings) -> Option<ServicePort> {
    let fields = at.object(findings)?;
    let protocol = fields.get("protocol").map_or(Some(Protocol::Tcp), |at| {
        network_policy::protocol(&at, findings)
    });
    let name: Arc<str> = fields.text(findings, "name").unwrap_or_default().into();
    let Some(number) = fields.get("port") else {
        findings.add(
            Severity::Error,
            "required",
            at.mark,
            &format!("{}.port", at.path),
            "required",
        );
        return None;
    };
    let port = number_of(&number, findings)?;
    let target_port = match fields.get("targetPort") {
        None => TargetPort::Number(port),
        Some(at) => match &at.node.value {
            // The API server stores an absent targetPort as 0 in some dumps: it means the Service's port.
            Value::Int(0) => TargetPort::Number(port),
            Value::Text(name) => TargetPort::Name(name.as_str().into()),
            _ => TargetPort::Number(number_of(&at, findings)?),
        },
    };
    let node_port = fields
        .get("nodePort")
        .filter(|at| at.node.value != Value::Int(0))
        .and_then(|at| number_of(&at, findings));
    Some(ServicePort {
        name,
        protocol: protocol?,
        port,
        target_port,
        node_port,
    })
}

fn number_of(at: &At<'_>, findings: &mut Findings) -> Option<u16> {
    match syntax::port_number(at.integer(findings)?) {
        Ok(port) => Some(port),
        Err(wrong) => {
            at.error(findings, "out-of-range", wrong);
            None
        }
    }
}

pub(super) fn endpoint_slice(root: &Fields<'_>, findings: &mut Findings) -> Option<EndpointSlice> {
    let meta = meta::read(root, NameRule::Subdomain, Unknown::Ignore, findings)?;
    let service = meta.labels.get("kubernetes.io/service-name").cloned();
    // Domain names (`addressType: FQDN`, deprecated) are no addresses that a packet could have.
    let has_addresses = root.text(findings, "addressType") != Some("FQDN");
    let endpoints = root
        .list(findings, "endpoints")
        .iter()
        .filter(|_| has_addresses)
        .filter_map(|at| endpoint(at, meta.namespace, findings))
        .collect();
    let ports = root
        .list(findings, "ports")
        .iter()
        .filter_map(|at| slice_port(at, findings))
        .collect();
    Some(EndpointSlice {
        name: meta.full_name(),
        service,
        endpoints,
        ports,
    })
}

fn endpoint(at: &At<'_>, namespace: &str, findings: &mut Findings) -> Option<Endpoint> {
    let fields = at.object(findings)?;
    let addresses = fields
        .list(findings, "addresses")
        .iter()
        .filter_map(|at| address(at, findings))
        .collect();
    let conditions = fields.object(findings, "conditions");
    let condition = |name: &str, findings: &mut Findings| {
        conditions
            .as_ref()
            .and_then(|fields| fields.boolean(findings, name))
    };
    let ready = condition("ready", findings).unwrap_or(true);
    let serving = condition("serving", findings).unwrap_or(ready);
    let terminating = condition("terminating", findings).unwrap_or(false);
    let target = fields.object(findings, "targetRef");
    let pod = target.and_then(|target| {
        let is_pod = target.text(findings, "kind") == Some("Pod");
        let namespace = target.text(findings, "namespace").unwrap_or(namespace);
        let name = target.text(findings, "name");
        name.filter(|_| is_pod)
            .map(|name| Name::new(namespace, name))
    });
    let node = fields.text(findings, "nodeName").map(Arc::from);
    Some(Endpoint {
        addresses,
        ready,
        serving,
        terminating,
        pod,
        node,
    })
}

fn slice_port(at: &At<'_>, findings: &mut Findings) -> Option<SlicePort> {
    let fields = at.object(findings)?;
    let protocol = fields.get("protocol").map_or(Some(Protocol::Tcp), |at| {
        network_policy::protocol(&at, findings)
    });
    let name = fields.text(findings, "name").unwrap_or_default().into();
    let port = match fields.get("port") {
        Some(at) => Some(number_of(&at, findings)?),
        None => None,
    };
    Some(SlicePort {
        name,
        protocol: protocol?,
        port,
    })
}
