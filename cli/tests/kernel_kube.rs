//! Policies that come from a Kubernetes API server: they are in the kernel, and stay there while it is away.

mod common;

use std::time::Duration;

use common::{
    Collector, DIAL, PATIENCE, POLICIES, Stage, eventually, is_root, pod, run, text, wait_for_flow,
};
use serde_json::{Value, json};
use weir_testkit::api::{ApiServer, Outage, Resource, Rights};
use weir_testkit::{ClusterSpec, Dial, NodeSpec, Outcome, Pod, TcpServer, Topology};

const RBAC: &str = include_str!("../../deploy/base/rbac.yaml");
const TOKEN: &str = "weir-collector";
/// What the collector says once, for each kind, when the API server has gone.
const AWAY: &str = "cannot follow the API server";
/// For what waits for the collector to find the API server back: its pauses grow to half a minute.
const BACK: Duration = Duration::from_secs(120);

/// A node whose collector follows an API server, by the rights that `deploy/` grants.
struct Kube {
    collector: Collector,
    server: TcpServer,
    api: ApiServer,
    stage: Stage,
}

impl Kube {
    /// The API server has the cluster and these policies.
    fn start(policies: &str) -> Self {
        let node = NodeSpec::new("node-1")
            .pod(pod("target"))
            .pod(pod("allowed"))
            .pod(pod("denied"));
        // The manifests' directory is not used: nothing but the API tells this collector of policies.
        let stage = Stage::new(&ClusterSpec::new(Topology::Ptp).node(node), "");
        let api = ApiServer::start().expect("an API server");
        let rights = Rights::of_service_account("weir", "weir-collector", RBAC);
        api.authorize(TOKEN, rights.expect("the roles of deploy/"));
        let manifests = stage.cluster.manifests();
        api.apply_yaml(&manifests).expect("applied");
        if !policies.is_empty() {
            api.apply_yaml(policies).expect("applied");
        }
        let netns = stage.cluster.node("node-1").expect("node").netns.clone();
        let address = api.listen_in(&netns).expect("a port in the namespace");
        let kubeconfig = stage.path("kubeconfig");
        std::fs::write(&kubeconfig, ApiServer::kubeconfig(address, Some(TOKEN))).expect("written");
        let source = format!("--kubeconfig={}", kubeconfig.display());
        let target = stage.cluster.pod("demo", "target").expect("pod");
        Self {
            collector: stage.collector_from(&source, "node-1", &netns, &[]),
            server: TcpServer::start(&target.netns, 1234).expect("server"),
            api,
            stage,
        }
    }

    fn pod(&self, name: &str) -> &Pod {
        self.stage.cluster.pod("demo", name).expect("pod")
    }

    fn to_target(&self) -> Dial {
        Dial::to((self.pod("target").addresses.v4, 1234))
    }

    /// A new connection of a pod to the target.
    fn dial(&self, from: &str) -> Outcome {
        let dial = self.to_target().timeout(DIAL);
        dial.tcp(&self.pod(from).netns).expect("dialled")
    }

    /// Only `app=allowed` gets through, time and again.
    fn is_enforced(&self, when: &str) {
        let seen = self.server.connections_seen();
        for _ in 0..2 {
            assert_eq!(self.dial("denied"), Outcome::TimedOut, "{when}");
        }
        assert_eq!(self.server.connections_seen(), seen, "{when}");
        for _ in 0..5 {
            let dial = self.to_target().timeout(PATIENCE);
            let outcome = dial.tcp(&self.pod("allowed").netns).expect("dialled");
            assert_eq!(outcome, Outcome::Connected, "{when}");
        }
    }

    fn eventually(&self, from: &str, outcome: Outcome) {
        eventually(&format!("{from}: {outcome:?}"), || {
            self.dial(from) == outcome
        });
    }

    /// Who may connect to the target, from now on.
    fn allow(&self, app: &str) {
        let patch = json!({"spec": {"ingress": [
            {"from": [{"podSelector": {"matchLabels": {"app": app}}}], "ports": [{"port": 1234}]},
        ]}});
        self.change("allow-to-target", patch);
    }

    fn change(&self, policy: &str, patch: Value) {
        let changed = self
            .api
            .patch(Resource::NetworkPolicies, "demo", policy, patch);
        changed.expect("patched");
    }

    fn delete(&self, policy: &str) {
        let deleted = self.api.delete(Resource::NetworkPolicies, "demo", policy);
        deleted.expect("deleted");
    }

    /// The rights of `deploy/` were enough.
    fn was_never_refused(&self) {
        let stats = self.api.stats();
        assert_eq!(stats.refused().count(), 0, "{stats:?}");
    }
}

#[test]
fn kernel_a_policy_of_the_api_is_enforced_until_it_is_deleted() {
    if !is_root() {
        return;
    }
    let kube = Kube::start("");
    assert_eq!(kube.dial("denied"), Outcome::Connected, "no policy yet");

    kube.api.apply_yaml(POLICIES).expect("applied");
    kube.eventually("denied", Outcome::TimedOut);
    kube.is_enforced("with the policies");
    let record = wait_for_flow(&kube.collector.server, &["--verdict", "dropped"], |flow| {
        text(flow, "/source/pod_name") == "denied"
    });
    assert_eq!(text(&record, "/extensions/reason"), "default_deny");
    let isolated_by = record.pointer("/extensions/isolated_by").expect("policies");
    assert!(
        isolated_by.to_string().contains("default-deny"),
        "{record:#}"
    );

    kube.delete("default-deny");
    kube.delete("allow-to-target");
    kube.eventually("denied", Outcome::Connected);
    kube.was_never_refused();
}

#[test]
fn kernel_an_outage_of_the_api_leaves_enforcement_on_through_a_sigkill() {
    if !is_root() {
        return;
    }
    let mut kube = Kube::start(POLICIES);
    kube.is_enforced("before the outage");
    let dial = kube.to_target().timeout(PATIENCE);
    let mut session = dial.session(&kube.pod("allowed").netns).expect("connected");

    kube.api.start_outage(Outage::Refused);
    let said = kube.collector.process.wait_for_line(AWAY, PATIENCE);
    said.expect("the outage is said");
    kube.is_enforced("in the outage");

    kube.collector.process.kill().expect("killed");
    kube.is_enforced("in the outage, without a collector");

    kube.collector.start_until(AWAY);
    kube.is_enforced("in the outage, after a start");
    assert_eq!(session.ping(PATIENCE).expect("pinged"), Outcome::Connected);
    let status = run(&["status", "--server", &kube.collector.server]);
    assert!(status.status.success(), "it serves: {status:?}");

    let server = kube.collector.server.clone();
    let dropped =
        |fits: &dyn Fn(&Value) -> bool| wait_for_flow(&server, &["--verdict", "dropped"], fits);
    // Rules and the node's own pods have the names that the last run kept; whose an address is, is not known yet.
    let record = dropped(&|flow| text(flow, "/traffic_direction") == "INGRESS");
    assert_eq!(
        text(&record, "/destination/pod_name"),
        "target",
        "{record:#}"
    );
    let isolated_by = record.pointer("/extensions/isolated_by").expect("policies");
    assert!(
        isolated_by.to_string().contains("default-deny"),
        "{record:#}"
    );
    assert_eq!(
        text(&record, "/extensions/remote_kind"),
        "unknown",
        "{record:#}"
    );

    kube.allow("denied");
    kube.is_enforced("a change in the outage is not known");
    let written = kube.collector.process.output().expect("its log");
    assert!(!written.contains("ready"), "{written}");

    kube.api.end_outage().expect("up");
    let ready = kube.collector.process.wait_for_line("ready", BACK);
    ready.expect("ready");
    let serial = text(&record, "/extensions/id/serial");
    dropped(&|flow| {
        text(flow, "/extensions/id/serial") == serial && text(flow, "/source/pod_name") == "denied"
    });
    kube.eventually("denied", Outcome::Connected);
    kube.eventually("allowed", Outcome::TimedOut);
    kube.was_never_refused();
}

#[test]
fn kernel_a_refused_policy_gets_an_event_and_its_last_good_version_stays_in_force() {
    if !is_root() {
        return;
    }
    let mut kube = Kube::start(POLICIES);
    let broken = json!({"spec": {"ingress": [{"form": []}]}});
    kube.change("allow-to-target", broken);
    let events = || kube.api.list(Resource::Events);
    eventually("an Event is there", || !events().is_empty());
    let [event] = <[Value; 1]>::try_from(events()).expect("one Event");
    assert_eq!(text(&event, "/reason"), "Refused");
    assert_eq!(text(&event, "/regarding/name"), "allow-to-target");
    assert_eq!(text(&event, "/metadata/namespace"), "demo");
    let note = text(&event, "/note");
    assert!(
        note.contains("last good version") && note.contains("spec.ingress[0].form"),
        "{note}"
    );

    // Another change is in force after it: what the refused one had done would be seen by now.
    let other = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: all, namespace: demo}, \
                 spec: {podSelector: {matchLabels: {app: target}}, ingress: [{}]}}";
    kube.api.apply_yaml(other).expect("applied");
    kube.eventually("denied", Outcome::Connected);
    kube.delete("all");
    kube.eventually("denied", Outcome::TimedOut);
    kube.is_enforced("with a refused policy");

    kube.collector.restart();
    kube.is_enforced("with a refused policy, after a restart");

    kube.allow("denied");
    kube.eventually("denied", Outcome::Connected);
    kube.eventually("allowed", Outcome::TimedOut);
    kube.was_never_refused();
}
