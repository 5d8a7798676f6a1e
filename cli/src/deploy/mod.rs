//! Tests of `deploy/`: what the API server would say, this command line's own opinion of the arguments, and whether the
//! parts fit each other.

mod cert_manager;
mod confinement;
mod files;
mod fit;
mod rights;
mod schema;
mod tls;
mod workload;

use files::{Kustomization, Set};

/// Everything that can be applied, as `kubectl` renders it.
fn sets() -> Vec<Set> {
    let sets: Vec<Set> = files::applicable().iter().map(Set::load).collect();
    assert!(sets.len() > 3, "deploy/ has a base and overlays");
    sets
}

#[test]
fn every_object_is_what_the_api_server_takes() {
    let files = files::manifests();
    let rendered = sets();
    let rendered = rendered.iter().flat_map(|set| &set.objects);
    for object in files.iter().chain(rendered) {
        if let Err(error) = schema::check(&object.value) {
            panic!("{}: {error}", object.origin);
        }
    }
}

#[test]
fn every_file_belongs_to_a_kustomization() {
    let kustomizations = files::kustomizations();
    let mut listed: Vec<_> = kustomizations
        .iter()
        .flat_map(Kustomization::files)
        .collect();
    for path in &listed {
        assert!(path.exists(), "{} is listed and not there", path.display());
    }
    listed.sort();
    for path in files::yaml_files() {
        let is_listed = listed.binary_search(&path).is_ok();
        let is_kustomization = path.ends_with("kustomization.yaml");
        assert!(
            is_listed || is_kustomization,
            "{} is in no kustomization.yaml",
            path.display()
        );
    }
}

#[test]
fn an_unknown_field_and_a_wrong_type_are_seen() {
    let base = files::manifests();
    let daemon_set = base.iter().find(|object| object.kind() == "DaemonSet");
    let daemon_set = daemon_set.expect("a DaemonSet").value.clone();
    let spec = "/spec/template/spec";
    let mut unknown = daemon_set.clone();
    let template = unknown.pointer_mut(spec).expect("a template");
    template["hostNetworking"] = true.into();
    let error = schema::check(&unknown).unwrap_err();
    assert!(
        error.contains("spec.template.spec.hostNetworking"),
        "{error}"
    );
    let mut wrong = daemon_set;
    let template = wrong.pointer_mut(spec).expect("a template");
    template["hostNetwork"] = "yes".into();
    schema::check(&wrong).unwrap_err();
}
