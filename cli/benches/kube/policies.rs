//! Policies of every form that users write.

use serde_json::{Value, json};

use super::population::{apps_of, namespace_name};

/// The policy of a number. Those of one namespace differ in form, and in the workloads that they are for.
pub(crate) fn policy(number: usize, namespaces: usize, workloads: usize) -> Value {
    let (namespace, round) = (number % namespaces, number / namespaces);
    let apps = apps_of(namespace, namespaces, workloads);
    let app = |offset: usize| apps[(round + offset) % apps.len()].clone();
    let (mine, other) = (app(0), app(1));
    let spec = match (number + round) % 10 {
        0 => json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}),
        1 => {
            json!({"podSelector": {"matchLabels": {"app": mine}}, "policyTypes": ["Ingress"], "ingress": [
                {"from": [{"podSelector": {"matchLabels": {"app": other}}}], "ports": [{"port": 8080}]},
            ]})
        }
        2 => {
            json!({"podSelector": {"matchLabels": {"app": mine}}, "policyTypes": ["Ingress"], "ingress": [
                {"from": [{"namespaceSelector": {"matchLabels": {"team": format!("team-{}", round % 10)}},
                    "podSelector": {"matchLabels": {"tier": "frontend"}}}], "ports": [{"port": "http"}]},
            ]})
        }
        3 => {
            json!({"podSelector": {"matchLabels": {"app": mine}}, "policyTypes": ["Egress"], "egress": [
                {"to": [{"ipBlock": {"cidr": format!("198.51.{}.0/24", number % 200),
                    "except": [format!("198.51.{}.128/28", number % 200)]}}],
                    "ports": [{"port": 30000, "endPort": 32767}, {"port": 443}]},
            ]})
        }
        4 => json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [
            {"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace_name(0)}},
                "podSelector": {"matchLabels": {"tier": "data"}}}],
                "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53}]},
        ]}),
        5 => {
            json!({"podSelector": {"matchLabels": {"tier": "frontend"}}, "policyTypes": ["Ingress"], "ingress": [
                {"from": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8", "169.254.0.0/16"]}}],
                    "ports": [{"port": "http"}, {"port": 8443}]},
            ]})
        }
        6 => {
            json!({"podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": [mine, other]}]},
                "policyTypes": ["Ingress"], "ingress": [
                {"from": [{"podSelector": {"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["data"]}]}}],
                    "ports": [{"port": 8080, "endPort": 8090}]},
            ]})
        }
        7 => {
            json!({"podSelector": {"matchLabels": {"tier": "backend"}}, "policyTypes": ["Ingress"], "ingress": [
                {"from": [{"podSelector": {}}]},
            ]})
        }
        8 => json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [
            {"from": [{"namespaceSelector": {"matchLabels": {"team": "team-0"}}}], "ports": [{"port": "metrics"}]},
        ]}),
        _ => {
            json!({"podSelector": {"matchLabels": {"app": mine}}, "policyTypes": ["Ingress", "Egress"],
                "ingress": [{"from": [{"namespaceSelector": {}}], "ports": [{"port": 9090}]}],
                "egress": [{"to": [{"podSelector": {"matchLabels": {"app": other}}}], "ports": [{"port": "http"}]}],
            })
        }
    };
    let name = format!("policy-{round}");
    object(&namespace_name(namespace), &name, spec)
}

/// A policy for the pods with this label, that lets nobody in.
pub(crate) fn isolate(namespace: &str, name: &str, label: (&str, &str)) -> Value {
    let selector = json!({"matchLabels": {label.0: label.1}});
    object(
        namespace,
        name,
        json!({"podSelector": selector, "policyTypes": ["Ingress"]}),
    )
}

fn object(namespace: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": namespace, "generation": 1, "managedFields": [
            {"manager": "kubectl", "operation": "Apply", "apiVersion": "networking.k8s.io/v1",
                "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:podSelector": {}, "f:policyTypes": {}}}},
        ]},
        "spec": spec})
}
