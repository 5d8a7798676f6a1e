//! Labels make classes only where a policy selects peers by them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use weir_policy::compile::{Catalogue, Compiler};
use weir_policy::model::{Direction, Name, Protocol};
use weir_policy::tables::{IdentityId, Origin, ProtocolClass, Query};

use super::found::{ingress, pod, policy, state};
use super::{check_same, do_writes};
use crate::generate::NODE;

const BY_APP: &str = "{podSelector: {matchLabels: {own: x}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}";
const BY_HASH: &str = "{podSelector: {matchLabels: {own: x}}, ingress: [{from: [{podSelector: {matchExpressions: [{key: hash, operator: NotIn, values: ['1']}]}}]}]}";
const ADDRESSES: [&str; 3] = ["10.0.0.2", "10.0.0.3", "10.0.0.4"];

/// An endpoint, and peers that differ in a label.
fn pods(hashes: [&str; 3]) -> String {
    let peers = ADDRESSES.iter().zip(hashes).map(|(address, hash)| {
        let labels = format!("{{app: web, hash: '{hash}'}}");
        pod(&format!("peer-{}", &address[7..]), &labels, address)
    });
    peers.fold(pod("own", "{own: x}", "10.0.0.1"), |all, one| all + &one)
}

fn identities(compiler: &Compiler) -> BTreeSet<IdentityId> {
    let peers = &compiler.tables().peers;
    let identity = |address: &str| peers[&address.parse::<IpAddr>().expect("address")].identity;
    ADDRESSES.map(identity).into()
}

fn queries() -> Vec<(Name, Query)> {
    let from = |remote| ingress("10.0.0.1", remote, Origin::Forwarded);
    ADDRESSES
        .map(|remote| (Name::new("x", "own"), from(remote)))
        .into()
}

#[test]
fn a_label_that_no_peer_is_selected_by_makes_no_class_and_costs_no_write() {
    let mut compiler = Compiler::new(NODE, Catalogue::default());
    let manifests = pods(["1", "2", "3"]) + &policy("a", BY_APP);
    compiler.apply(state(&manifests, &[]));
    assert_eq!(identities(&compiler).len(), 1);
    let manifests = pods(["4", "5", "6"]) + &policy("a", BY_APP);
    let update = compiler.apply(state(&manifests, &[]));
    assert!(update.is_empty(), "{update:#?}");
}

#[test]
fn a_new_policy_that_selects_peers_by_another_label_tells_them_apart_write_by_write() {
    let (before, after) = (
        pods(["1", "2", "3"]) + &policy("a", BY_APP),
        pods(["1", "2", "3"]) + &policy("a", BY_HASH),
    );
    let mut compiler = Compiler::new(NODE, Catalogue::default());
    compiler.apply(state(&before, &[]));
    let mut kernel = compiler.tables().clone();
    let update = compiler.apply(state(&after, &[]));
    do_writes(&mut kernel, &update, compiler.tables(), &queries()).expect("old or new");
    assert_eq!(identities(&compiler).len(), 3);
    let mut fresh = Compiler::new(NODE, Catalogue::default());
    fresh.apply(state(&after, &[]));
    check_same(&compiler, &fresh, &queries()).expect("as after a fresh start");
    let allowed = queries().into_iter().map(|(pod, query)| {
        let verdict = compiler.tables().verdict(&pod, &query);
        verdict.expect("an endpoint").allowed
    });
    assert_eq!(allowed.collect::<Vec<_>>(), [false, true, true]);
}

#[test]
fn an_endpoints_own_policies_and_services_select_by_any_label() {
    let own = |hash: &str| pod("own", &format!("{{hash: '{hash}'}}"), "10.0.0.1");
    let rest = pod("peer", "{app: web}", "10.0.0.2")
        + &policy("a", "{podSelector: {matchLabels: {hash: '1'}}}")
        + &policy(
            "b",
            "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{to: [{podSelector: {}}]}]}",
        )
        + "---\napiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: x}\n\
           spec: {clusterIPs: [10.96.0.1], ports: [{port: 80}], selector: {hash: '1'}}\n";
    let mut compiler = Compiler::new(NODE, Catalogue::default());
    let allowed = |compiler: &Compiler| {
        let to_own = ingress("10.0.0.1", "10.0.0.2", Origin::Forwarded);
        let to_service = Query {
            direction: Direction::Egress,
            protocol: ProtocolClass::Named(Protocol::Tcp),
            ..ingress("10.0.0.2", "10.96.0.1", Origin::Forwarded)
        };
        [("own", to_own), ("peer", to_service)].map(|(pod, query)| {
            let verdict = compiler.tables().verdict(&Name::new("x", pod), &query);
            verdict.expect("an endpoint").allowed
        })
    };
    compiler.apply(state(&(own("1") + &rest), &[]));
    assert_eq!(allowed(&compiler), [false, true]);
    compiler.apply(state(&(own("2") + &rest), &[]));
    assert_eq!(
        allowed(&compiler),
        [true, false],
        "isolated no more, and no backend"
    );
}
