//! `weir certs init --namespace` at an API server, with the rights that `deploy/` grants and no others.

mod common;

use std::path::Path;

use common::run;
use serde_json::{Value, json};
use weir_testkit::api::{ApiServer, Resource, Rights};

const RBAC: &str = include_str!("../../deploy/overlays/tls-generated-ca/rbac.yaml");
const TOKEN: &str = "weir-certs";
const SECRETS: [&str; 4] = [
    "weir-ca",
    "weir-aggregator-tls",
    "weir-collector-tls",
    "weir-client-tls",
];

/// An API server with the namespace, and a kubeconfig with the Job's rights.
fn api(directory: &Path) -> ApiServer {
    let api = ApiServer::start().expect("an API server");
    let rights = Rights::of_service_account("weir", "weir-certs", RBAC);
    api.authorize(TOKEN, rights.expect("the roles of deploy/"));
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "weir"}});
    api.apply(namespace).expect("applied");
    let kubeconfig = ApiServer::kubeconfig(api.address(), Some(TOKEN));
    std::fs::write(directory.join("kubeconfig"), kubeconfig).expect("written");
    api
}

/// Runs it: exit code, stdout and stderr.
fn init(directory: &Path, namespace: &str) -> (Option<i32>, String, String) {
    let kubeconfig = format!("--kubeconfig={}", directory.join("kubeconfig").display());
    let output = run(&["certs", "init", "--namespace", namespace, &kubeconfig]);
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn secrets(api: &ApiServer) -> Vec<Value> {
    let get = |name: &&str| api.get(Resource::Secrets, "weir", name).expect("a Secret");
    SECRETS.iter().map(get).collect()
}

#[test]
fn secrets_are_made_once_and_repaired_with_the_rights_of_deploy() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let api = api(directory.path());
    let (code, text, error) = init(directory.path(), "weir");
    assert_eq!(code, Some(0), "{error}");
    assert_eq!(text.matches(": made, valid until").count(), 4, "{text}");
    let made = secrets(&api);
    for secret in &made {
        assert_eq!(secret["type"], "kubernetes.io/tls");
        for file in ["tls.crt", "tls.key", "ca.crt"] {
            assert!(secret["data"][file].is_string(), "{secret}");
        }
        assert_eq!(secret["data"]["ca.crt"], made[0]["data"]["tls.crt"]);
    }
    let (code, text, _) = init(directory.path(), "weir");
    assert_eq!(code, Some(0));
    assert_eq!(text.matches(": kept, valid until").count(), 4, "{text}");
    assert_eq!(secrets(&api), made, "nothing was written");
    // Half of one is lost: it is made anew, and the others are kept.
    let loss = json!({"data": {"tls.key": null}});
    api.patch(Resource::Secrets, "weir", "weir-client-tls", loss)
        .expect("patched");
    let (code, text, _) = init(directory.path(), "weir");
    assert_eq!(code, Some(0));
    assert_eq!(text.matches(": kept").count(), 3, "{text}");
    assert!(
        text.contains("weir-client-tls: renewed: it was damaged"),
        "{text}"
    );
    let repaired = secrets(&api);
    assert_eq!(repaired[..3], made[..3]);
    assert!(repaired[3]["data"]["tls.key"].is_string());
    assert_ne!(repaired[3]["data"]["tls.crt"], made[3]["data"]["tls.crt"]);
    let stats = api.stats();
    assert_eq!(stats.refused().count(), 0, "{stats:?}");
}

#[test]
fn a_secret_of_somebody_else_is_left_alone() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let api = api(directory.path());
    let secret = |metadata: Value| json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": metadata, "data": {}});
    let annotations = json!({"cert-manager.io/certificate-name": "weir-ca"});
    let theirs = json!({"name": "weir-ca", "namespace": "weir", "annotations": annotations});
    let before = api.apply(secret(theirs)).expect("applied");
    let (code, _, error) = init(directory.path(), "weir");
    assert_eq!((code, error.lines().count()), (Some(1), 1), "{error}");
    assert!(
        error.contains("Secret weir/weir-ca") && error.contains("cert-manager"),
        "{error}"
    );
    // A CA that is there and is none is not replaced either.
    api.delete(Resource::Secrets, "weir", "weir-ca")
        .expect("deleted");
    let ours = json!({"name": "weir-ca", "namespace": "weir"});
    api.apply(secret(ours)).expect("applied");
    let (code, _, error) = init(directory.path(), "weir");
    assert_eq!((code, error.lines().count()), (Some(1), 1), "{error}");
    assert!(
        error.contains("the CA in Secret weir/weir-ca cannot be used"),
        "{error}"
    );
    assert_eq!(api.list(Resource::Secrets).len(), 1);
    assert_ne!(api.list(Resource::Secrets)[0], before);
}

#[test]
fn rights_that_are_missing_are_named() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let api = api(directory.path());
    let (code, _, error) = init(directory.path(), "default");
    assert_eq!((code, error.lines().count()), (Some(1), 1), "{error}");
    assert!(
        error.contains("cannot get Secret default/weir-ca") && error.contains("forbidden"),
        "{error}"
    );
    assert_eq!(api.list(Resource::Secrets).len(), 0);
}
