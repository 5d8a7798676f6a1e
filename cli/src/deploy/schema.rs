//! Objects against the API's published types, strictly: what a type does not take over would be an unknown field to the
//! API server.

use k8s_openapi::api::apps::v1::{DaemonSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::cert_manager::{Certificate, Issuer};

/// Says what is wrong with an object.
pub(super) fn check(object: &Value) -> Result<(), String> {
    let text = |key: &str| object[key].as_str().unwrap_or_default();
    match (text("apiVersion"), text("kind")) {
        ("v1", "ConfigMap") => strict::<ConfigMap>(object),
        ("v1", "Namespace") => strict::<Namespace>(object),
        ("v1", "Pod") => strict::<Pod>(object),
        ("v1", "Service") => strict::<Service>(object),
        ("v1", "ServiceAccount") => strict::<ServiceAccount>(object),
        ("apps/v1", "DaemonSet") => strict::<DaemonSet>(object),
        ("apps/v1", "StatefulSet") => strict::<StatefulSet>(object),
        ("batch/v1", "CronJob") => strict::<CronJob>(object),
        ("batch/v1", "Job") => strict::<Job>(object),
        ("networking.k8s.io/v1", "NetworkPolicy") => strict::<NetworkPolicy>(object),
        ("policy/v1", "PodDisruptionBudget") => strict::<PodDisruptionBudget>(object),
        ("rbac.authorization.k8s.io/v1", "ClusterRole") => strict::<ClusterRole>(object),
        ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding") => {
            strict::<ClusterRoleBinding>(object)
        }
        ("rbac.authorization.k8s.io/v1", "Role") => strict::<Role>(object),
        ("rbac.authorization.k8s.io/v1", "RoleBinding") => strict::<RoleBinding>(object),
        ("cert-manager.io/v1", "Certificate") => strict::<Certificate>(object),
        ("cert-manager.io/v1", "Issuer") => strict::<Issuer>(object),
        ("monitoring.coreos.com/v1", "ServiceMonitor") => strict::<ServiceMonitor>(object),
        (version, kind) => Err(format!("no type for {version} {kind}")),
    }
}

fn strict<T: DeserializeOwned + Serialize>(object: &Value) -> Result<(), String> {
    let typed = T::deserialize(object).map_err(|error| error.to_string())?;
    let taken = serde_json::to_value(typed).map_err(|error| error.to_string())?;
    covered(object, &taken, "")
}

/// Whether everything in `written` is in `taken`.
fn covered(written: &Value, taken: &Value, path: &str) -> Result<(), String> {
    match (written, taken) {
        (Value::Object(written), Value::Object(taken)) => {
            for (key, value) in written {
                let path = format!("{path}.{key}");
                let Some(taken) = taken.get(key) else {
                    return Err(format!("unknown field {}", path.trim_start_matches('.')));
                };
                covered(value, taken, &path)?;
            }
            Ok(())
        }
        (Value::Array(written), Value::Array(taken)) if written.len() == taken.len() => {
            for (index, (value, taken)) in written.iter().zip(taken).enumerate() {
                covered(value, taken, &format!("{path}[{index}]"))?;
            }
            Ok(())
        }
        _ if written == taken => Ok(()),
        _ => Err(format!("{path}: {written} was taken for {taken}")),
    }
}

/// The Prometheus operator's `monitoring.coreos.com/v1` ServiceMonitor, with the fields that we use.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ServiceMonitor {
    api_version: String,
    kind: String,
    pub(super) metadata: ObjectMeta,
    pub(super) spec: ServiceMonitorSpec,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServiceMonitorSpec {
    pub(super) selector: LabelSelector,
    pub(super) endpoints: Vec<Endpoint>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Endpoint {
    pub(super) port: String,
    interval: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    relabelings: Vec<Relabeling>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Relabeling {
    source_labels: Vec<String>,
    target_label: String,
}
