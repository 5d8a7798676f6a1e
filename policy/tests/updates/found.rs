//! Updates in which a random story once met a third verdict.

use std::collections::BTreeSet;
use std::net::IpAddr;

use weir_policy::compile::{Catalogue, Change, Compiler};
use weir_policy::manifest;
use weir_policy::model::{Direction, Name, Protocol};
use weir_policy::tables::{Origin, ProtocolClass, Query};

use super::{check_same, do_writes};
use crate::generate::NODE;

/// A whole state: manifests, and the addresses of the node's own interfaces.
pub(super) fn state(manifests: &str, local: &[&str]) -> Vec<Change> {
    let loaded = manifest::load([("state.yaml", manifests)]);
    assert!(!loaded.has_errors(), "{:?}", loaded.diagnostics);
    let local: BTreeSet<IpAddr> = local.iter().map(|a| a.parse().expect("address")).collect();
    vec![
        Change::Replace(loaded.cluster),
        Change::LocalAddresses(local),
    ]
}

pub(super) fn ingress(local: &str, remote: &str, origin: Origin) -> Query {
    Query {
        direction: Direction::Ingress,
        local: local.parse().expect("address"),
        remote: remote.parse().expect("address"),
        protocol: ProtocolClass::Named(Protocol::Tcp),
        port: 80,
        origin,
    }
}

/// Does the update from one state to the next write by write.
fn step_through(before: Vec<Change>, after: Vec<Change>, pod: &str, query: Query) {
    let mut compiler = Compiler::new(NODE, Catalogue::default());
    compiler.apply(before);
    let mut kernel = compiler.tables().clone();
    let update = compiler.apply(after);
    let queries = [(Name::new("x", pod), query)];
    do_writes(&mut kernel, &update, compiler.tables(), &queries).expect("old or new");
}

pub(super) fn pod(name: &str, labels: &str, ip: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: x, labels: {labels}}}\n\
         spec: {{nodeName: {NODE}}}\nstatus: {{podIPs: [{{ip: {ip}}}]}}\n"
    )
}

pub(super) fn policy(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
         metadata: {{name: {name}, namespace: x}}\nspec: {spec}\n"
    )
}

#[test]
fn a_new_endpoint_does_not_meet_a_former_address_of_the_node() {
    let deny = policy("a", "{podSelector: {}}");
    let query = ingress("10.0.0.1", "10.0.0.254", Origin::Local);
    let with_pod = deny.clone() + &pod("p", "{}", "10.0.0.1");
    step_through(
        state(&deny, &["10.0.0.254"]),
        state(&with_pod, &[]),
        "p",
        query,
    );
}

#[test]
fn a_pod_with_a_new_address_and_new_labels_is_not_itself_to_its_old_address() {
    let deny = policy("a", "{podSelector: {}}");
    let own = "{podSelector: {matchLabels: {b: c}}, ingress: [{from: [{podSelector: {}}]}]}";
    let policies = deny + &policy("b", own);
    let query = ingress("10.0.0.2", "10.0.0.1", Origin::Forwarded);
    step_through(
        state(&(policies.clone() + &pod("p", "{b: c}", "10.0.0.2")), &[]),
        state(&(policies + &pod("p", "{}", "10.0.0.1")), &[]),
        "p",
        query,
    );
}

#[test]
fn two_pods_with_one_address_both_hear_of_the_service_that_leads_to_it() {
    let labels = "{b: '1'}";
    let pods = pod("s", labels, "10.0.0.1").replace(
        "namespace: x,",
        "namespace: x, deletionTimestamp: '2026-01-01T00:00:00Z',",
    ) + &pod("r", "{}", "10.0.0.1").replace("namespace: x", "namespace: z");
    let before = pods + &policy("b", "{podSelector: {}, policyTypes: [Egress]}");
    let after = before.clone()
        + "---\napiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: x}\n\
           spec: {clusterIPs: [10.96.0.1], ports: [{port: 80}], selector: {b: '1'}}\n";
    let query = Query {
        direction: Direction::Egress,
        ..ingress("10.0.0.1", "10.96.0.1", Origin::Forwarded)
    };
    let mut compiler = Compiler::new(NODE, Catalogue::default());
    compiler.apply(state(&before, &[]));
    compiler.apply(state(&after, &[]));
    let mut fresh = Compiler::new(NODE, Catalogue::default());
    fresh.apply(state(&after, &[]));
    let queries = [(Name::new("x", "s"), query)];
    assert!(
        fresh
            .tables()
            .verdict(&queries[0].0, &query)
            .is_some_and(|v| v.allowed)
    );
    check_same(&compiler, &fresh, &queries).expect("the same");
}
