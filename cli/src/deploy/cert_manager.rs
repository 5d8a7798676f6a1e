//! cert-manager's `cert-manager.io/v1`, with the fields that we use.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Issuer {
    api_version: String,
    kind: String,
    metadata: ObjectMeta,
    pub(super) spec: IssuerSpec,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) enum IssuerSpec {
    SelfSigned(Nothing),
    #[serde(rename_all = "camelCase")]
    Ca {
        secret_name: String,
    },
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Certificate {
    api_version: String,
    kind: String,
    pub(super) metadata: ObjectMeta,
    pub(super) spec: CertificateSpec,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CertificateSpec {
    pub(super) secret_name: String,
    common_name: String,
    #[serde(rename = "isCA", default, skip_serializing_if = "Option::is_none")]
    is_ca: Option<bool>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) dns_names: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ip_addresses: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) usages: Vec<String>,
    duration: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    renew_before: Option<String>,
    private_key: Value,
    pub(super) issuer_ref: IssuerRef,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IssuerRef {
    group: String,
    kind: String,
    pub(super) name: String,
}
