//! RBAC against what the collector asks for.

use std::collections::BTreeSet;

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};

use super::files::Set;
use super::workload::{Workload, workloads};

/// Group, resource, verb.
type Granted = BTreeSet<(String, String, String)>;

#[test]
fn the_collector_may_do_what_it_does_and_no_more() {
    let rights = weir_collector::source::rights();
    let needed: Granted = rights
        .iter()
        .flat_map(|right| {
            right
                .verbs
                .iter()
                .map(|verb| (right.group.into(), right.resource.into(), (*verb).into()))
        })
        .collect();
    let mut collectors = 0;
    for set in super::sets() {
        for workload in workloads(&set) {
            let granted = granted(&set, &workload);
            let has_token = workload.pod.automount_service_account_token == Some(true);
            if workload.name == "weir-collector" {
                collectors += 1;
                assert_eq!(granted, needed, "{}", workload.origin);
                assert!(has_token, "{}", workload.origin);
            } else if workload.name != "weir-certs" {
                assert!(
                    granted.is_empty() && !has_token,
                    "{} needs no rights",
                    workload.origin
                );
            }
        }
    }
    assert!(collectors > 0);
}

/// Enough is shown by `cli/tests/certs_secrets.rs`, which runs it with these rights.
#[test]
fn whoever_makes_certificates_sees_its_four_secrets_and_no_others() {
    let mut seen = 0;
    for set in super::sets() {
        let workloads = workloads(&set);
        let certs = workloads.iter().filter(|it| it.name == "weir-certs");
        for workload in certs {
            seen += 1;
            assert_eq!(granted(&set, workload), Granted::new(), "of the cluster");
            assert_eq!(workload.pod.automount_service_account_token, Some(true));
            let account = workload.pod.service_account_name.as_deref();
            assert_eq!(account, Some("weir-certs"));
        }
        for role in set.of_kind("Role").map(|object| object.typed::<Role>()) {
            assert_eq!(role.metadata.name.as_deref(), Some("weir-certs"));
            for rule in role.rules.into_iter().flatten() {
                assert_eq!(rule.resources, Some(vec!["secrets".to_owned()]));
                let named = rule.resource_names.map_or(0, |names| names.len());
                let verbs: Vec<&str> = rule.verbs.iter().map(String::as_str).collect();
                assert!(matches!(
                    (verbs.as_slice(), named),
                    (["create"], 0) | (["get", "update"], 4)
                ));
            }
        }
        for binding in set.of_kind("RoleBinding") {
            let binding: RoleBinding = binding.typed();
            let subjects = binding.subjects.unwrap_or_default();
            let names: Vec<&str> = subjects.iter().map(|it| it.name.as_str()).collect();
            assert_eq!(
                (binding.role_ref.name.as_str(), names),
                ("weir-certs", vec!["weir-certs"])
            );
        }
    }
    assert_eq!(seen, 2, "a Job and a CronJob");
}

/// What the workload's service account may do.
fn granted(set: &Set, workload: &Workload) -> Granted {
    let Some(account) = &workload.pod.service_account_name else {
        return Granted::new();
    };
    let bindings = set
        .of_kind("ClusterRoleBinding")
        .map(|object| object.typed::<ClusterRoleBinding>());
    let roles = bindings.filter(|binding| {
        binding.subjects.iter().flatten().any(|subject| {
            subject.kind == "ServiceAccount"
                && subject.name == *account
                && subject.namespace.as_deref() == Some(&workload.namespace)
        })
    });
    roles
        .flat_map(|binding| rules(set, &binding.role_ref.name))
        .collect()
}

fn rules(set: &Set, role: &str) -> Granted {
    let found = set
        .of_kind("ClusterRole")
        .find(|object| object.name() == role);
    let role: ClusterRole = found.expect("a role that is bound").typed();
    let mut granted = Granted::new();
    for rule in role.rules.into_iter().flatten() {
        assert_eq!(rule.resource_names, None);
        assert_eq!(rule.non_resource_urls, None);
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                for verb in &rule.verbs {
                    granted.insert((group.clone(), resource.clone(), verb.clone()));
                }
            }
        }
    }
    granted
}
