//! The cluster as Kubernetes manifests.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use crate::{Addresses, Cluster, Family, Node, Pod, Service};

// === impl Cluster ===

impl Cluster {
    /// Its namespaces, nodes, pods, Services and EndpointSlices as multi-document YAML, as an API server would show them.
    pub fn manifests(&self) -> String {
        let mut documents = Vec::new();
        let used = self
            .pods()
            .map(Pod::namespace)
            .chain(self.services().iter().map(Service::namespace));
        let namespaces: BTreeSet<&str> = used
            .chain(self.namespace_labels().keys().map(String::as_str))
            .collect();
        for namespace in namespaces {
            documents.push(namespace_document(
                namespace,
                self.namespace_labels().get(namespace),
            ));
        }
        documents.extend(self.nodes().iter().map(node_document));
        for node in self.nodes() {
            documents.extend(node.pods().iter().map(|pod| pod_document(pod, node)));
        }
        let pods: Vec<&Pod> = self.pods().collect();
        for service in self.services() {
            documents.push(service_document(service));
            documents.extend(Family::BOTH.map(|family| endpoints_document(service, &pods, family)));
        }
        documents.join("---\n")
    }
}

// === impl Pod ===

impl Pod {
    /// As an API server shows it, with its addresses.
    pub fn manifest(&self, node: &Node) -> String {
        pod_document(self, node)
    }

    /// As an API server shows it once it is scheduled and before its network is made.
    pub(crate) fn scheduled_manifest(&self) -> String {
        pod_head(self) + "status:\n  phase: Pending\n"
    }
}

fn namespace_document(name: &str, labels: Option<&BTreeMap<String, String>>) -> String {
    let mut labels = labels.cloned().unwrap_or_default();
    labels.insert("kubernetes.io/metadata.name".to_owned(), name.to_owned());
    format!(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {}\n{}",
        quoted(name),
        mapping("  ", "labels", &labels)
    )
}

fn node_document(node: &Node) -> String {
    let Addresses { v4, v6 } = node.addresses;
    let cidrs = node.pod_cidrs;
    format!(
        "apiVersion: v1\nkind: Node\nmetadata:\n  name: {name}\n  labels:\n    kubernetes.io/hostname: {name}\n\
         spec:\n  podCIDR: {cidr4}\n  podCIDRs:\n  - {cidr4}\n  - {cidr6}\n\
         status:\n  addresses:\n  - type: InternalIP\n    address: {v4}\n  - type: InternalIP\n    address: {v6}\n  \
         - type: Hostname\n    address: {name}\n  conditions:\n  - type: Ready\n    status: \"True\"\n",
        name = quoted(&node.name),
        cidr4 = quoted(&cidrs.v4.to_string()),
        cidr6 = quoted(&cidrs.v6.to_string()),
        v4 = quoted(&v4.to_string()),
        v6 = quoted(&v6.to_string()),
    )
}

fn pod_document(pod: &Pod, node: &Node) -> String {
    let mut text = pod_head(pod);
    text += "status:\n  phase: Running\n  conditions:\n  - type: Ready\n    status: \"True\"\n";
    text += &addresses("host", node.addresses);
    text += &addresses("pod", pod.addresses);
    text
}

/// All but its status.
fn pod_head(pod: &Pod) -> String {
    let mut text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {}\n  namespace: {}\n  uid: {}\n{}",
        quoted(pod.name()),
        quoted(pod.namespace()),
        quoted(&pod.uid),
        mapping("  ", "labels", pod.labels()),
    );
    if let Some(owner) = pod.owner() {
        text += &format!(
            "  ownerReferences:\n  - apiVersion: apps/v1\n    kind: {}\n    name: {}\n    controller: true\n",
            quoted(&owner.kind),
            quoted(&owner.name),
        );
    }
    text += &format!(
        "spec:\n  nodeName: {}\n  containers:\n  - name: main\n    image: weir.test/none\n",
        quoted(&pod.node)
    );
    if !pod.ports().is_empty() {
        text += "    ports:\n";
    }
    for port in pod.ports() {
        text += &format!(
            "    - name: {}\n      containerPort: {}\n      protocol: {}\n",
            quoted(&port.name),
            port.port,
            port.protocol.as_str()
        );
    }
    text
}

/// `podIP` and `podIPs`, or `hostIP` and `hostIPs`.
fn addresses(kind: &str, Addresses { v4, v6 }: Addresses) -> String {
    format!("  {kind}IP: \"{v4}\"\n  {kind}IPs:\n  - ip: \"{v4}\"\n  - ip: \"{v6}\"\n")
}

fn service_document(service: &Service) -> String {
    let Addresses { v4, v6 } = service.addresses;
    let node_port = service.ports().iter().any(|port| port.node_port.is_some());
    let mut text = format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: {}\n  namespace: {}\n\
         spec:\n  type: {}\n  clusterIP: \"{v4}\"\n  clusterIPs:\n  - \"{v4}\"\n  - \"{v6}\"\n  \
         ipFamilies:\n  - IPv4\n  - IPv6\n  ipFamilyPolicy: RequireDualStack\n{}",
        quoted(service.name()),
        quoted(service.namespace()),
        if node_port { "NodePort" } else { "ClusterIP" },
        mapping("  ", "selector", service.selector()),
    );
    if !service.ports().is_empty() {
        text += "  ports:\n";
    }
    for port in service.ports() {
        text += &format!(
            "  - name: {}\n    protocol: {}\n    port: {}\n    targetPort: {}\n",
            quoted(&port.name),
            port.protocol.as_str(),
            port.port,
            port.target_port
        );
        if let Some(number) = port.node_port {
            text += &format!("    nodePort: {number}\n");
        }
    }
    text
}

fn endpoints_document(service: &Service, pods: &[&Pod], family: Family) -> String {
    let (suffix, address_type) = match family {
        Family::V4 => ("ipv4", "IPv4"),
        Family::V6 => ("ipv6", "IPv6"),
    };
    let mut text = format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {}\n  namespace: {}\n  \
         labels:\n    kubernetes.io/service-name: {}\naddressType: {address_type}\n",
        quoted(&format!("{}-{suffix}", service.name())),
        quoted(service.namespace()),
        quoted(service.name()),
    );
    let backends: Vec<&&Pod> = pods.iter().filter(|pod| service.selects(pod)).collect();
    text += if backends.is_empty() {
        "endpoints: []\n"
    } else {
        "endpoints:\n"
    };
    for pod in backends {
        text += &format!(
            "- addresses:\n  - \"{}\"\n  conditions:\n    ready: true\n    serving: true\n    terminating: false\n  \
             nodeName: {}\n  targetRef:\n    kind: Pod\n    name: {}\n    namespace: {}\n    uid: {}\n",
            pod.addresses.of(family),
            quoted(&pod.node),
            quoted(pod.name()),
            quoted(pod.namespace()),
            quoted(&pod.uid),
        );
    }
    text += if service.ports().is_empty() {
        "ports: []\n"
    } else {
        "ports:\n"
    };
    for port in service.ports() {
        text += &format!(
            "- name: {}\n  protocol: {}\n  port: {}\n",
            quoted(&port.name),
            port.protocol.as_str(),
            port.target_port
        );
    }
    text
}

/// A mapping of strings, or nothing for an empty one.
fn mapping(indent: &str, key: &str, entries: &BTreeMap<String, String>) -> String {
    if entries.is_empty() {
        return String::new();
    }
    let mut text = format!("{indent}{key}:\n");
    for (key, value) in entries {
        writeln!(text, "{indent}  {}: {}", quoted(key), quoted(value))
            .expect("a String takes all that is written to it");
    }
    text
}

/// Bare where YAML reads it as that very string, else in double quotes.
fn quoted(text: &str) -> String {
    let bare = text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-./".contains(c))
        && !matches!(
            text,
            "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
        );
    if bare {
        return text.to_owned();
    }
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted += &format!("\\U{:08x}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_yaml_would_read_otherwise_is_quoted() {
        assert_eq!(quoted("frontend-1"), "frontend-1");
        for text in ["true", "1e3", "", "10.0.0.0/8", "a: b", "fd00::1", "null"] {
            assert_eq!(quoted(text), format!("\"{text}\""));
        }
        assert_eq!(quoted("a\"\\\n"), r#""a\"\\\U0000000a""#);
    }
}
