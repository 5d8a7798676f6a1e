//! Each warning on a cluster that deserves it, and none on one that does not.

use weir_policy::lint::{self, lint};
use weir_policy::manifest;

const CLUSTER: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {nodeName: node-1, containers: [{name: c, ports: [{name: http, containerPort: 8080}]}]}
status: {podIP: 10.0.0.1}
---
apiVersion: v1
kind: Pod
metadata: {name: db, namespace: shop, labels: {app: db}}
spec: {nodeName: node-1, containers: [{name: c}]}
status: {podIP: 10.0.0.2}
";

/// The codes and places of the warnings about policies with these specs, named p0, p1, ...
fn codes(specs: &[&str]) -> Vec<(&'static str, String)> {
    let policies: Vec<String> = specs
        .iter()
        .enumerate()
        .map(|(index, spec)| format!("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p{index}, namespace: shop}}\nspec: {spec}\n"))
        .collect();
    let loaded = manifest::load([
        ("cluster.yaml", CLUSTER.to_owned()),
        ("policies.yaml", policies.join("---\n")),
    ]);
    assert!(!loaded.has_errors(), "{:?}", loaded.diagnostics);
    lint(&loaded)
        .into_iter()
        .map(|found| (found.code, found.path))
        .collect()
}

#[test]
fn a_plain_policy_has_no_warning() {
    let spec = "{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {matchLabels: {app: db}}}], ports: [{port: http}]}]}";
    assert_eq!(codes(&[spec]), []);
}

#[test]
fn egress_without_dns() {
    let without = "{podSelector: {}, egress: [{to: [{podSelector: {}}], ports: [{port: 80}]}], policyTypes: [Egress]}";
    assert_eq!(
        codes(&[without]),
        [("egress-without-dns", "spec.egress".to_owned())]
    );
    let dns = "{podSelector: {}, egress: [{ports: [{port: 53, protocol: UDP}, {port: 53}]}], policyTypes: [Egress]}";
    assert_eq!(codes(&[without, dns]), []);
}

#[test]
fn selectors_that_match_nothing() {
    let spec = "{podSelector: {matchLabels: {app: wbe}}, ingress: [{}]}";
    assert_eq!(
        codes(&[spec]),
        [("selects-nothing", "spec.podSelector".to_owned())]
    );
    let spec =
        "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: nobody}}}]}]}";
    let expected = [
        ("peer-selects-nothing", "spec.ingress[0].from[0]"),
        ("rule-never-matches", "spec.ingress[0]"),
    ];
    assert_eq!(
        sorted(codes(&[spec])),
        sorted(
            expected
                .map(|(code, path)| (code, path.to_owned()))
                .to_vec()
        )
    );
}

#[test]
fn rules_without_effect() {
    let spec = "{podSelector: {}, policyTypes: [Egress], ingress: [{}]}";
    assert!(codes(&[spec]).contains(&("rule-never-matches", "spec.ingress".to_owned())));
}

#[test]
fn a_port_name_that_nobody_has() {
    let spec =
        "{podSelector: {matchLabels: {app: db}}, ingress: [{ports: [{port: http}, {port: 5432}]}]}";
    assert_eq!(
        codes(&[spec]),
        [(
            "named-port-missing",
            "spec.ingress[0].ports[0].port".to_owned()
        )]
    );
}

#[test]
fn a_block_that_covers_pods() {
    let spec = "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}}]}]}";
    assert_eq!(
        codes(&[spec]),
        [(
            "ip-block-covers-pods",
            "spec.ingress[0].from[0].ipBlock.cidr".to_owned()
        )]
    );
    let spec = "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 192.0.2.0/24}}]}]}";
    assert_eq!(codes(&[spec]), []);
}

#[test]
fn a_policy_in_the_shadow_of_another() {
    let all = "{podSelector: {}, ingress: [{}]}";
    let some = "{podSelector: {matchLabels: {app: db}}, ingress: [{ports: [{port: 5432}]}]}";
    assert_eq!(
        codes(&[all, some]),
        [("shadowed", "spec.ingress".to_owned())]
    );
}

#[test]
fn isolation_without_a_rule_is_noted() {
    assert_eq!(
        codes(&["{podSelector: {}, policyTypes: [Ingress]}"]),
        [("isolates-only", "spec.ingress".to_owned())]
    );
}

#[test]
fn every_finding_has_a_place_and_a_documented_code() {
    let text = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: p\n  namespace: nowhere\nspec:\n  podSelector: {}\n";
    let loaded = manifest::load([("cluster.yaml", CLUSTER), ("p.yaml", text)]);
    let found = lint(&loaded);
    let missing = found
        .iter()
        .find(|found| found.code == "namespace-missing")
        .expect("found");
    assert_eq!((missing.line, missing.column), (5, 14));
    for finding in &found {
        assert!(
            lint::CODES.iter().any(|(code, _)| *code == finding.code),
            "{}",
            finding.code
        );
    }
    let sarif = lint::to_sarif(&found);
    assert_eq!(
        sarif["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"],
        "p.yaml"
    );
}

fn sorted<T: Ord>(mut list: Vec<T>) -> Vec<T> {
    list.sort();
    list
}
