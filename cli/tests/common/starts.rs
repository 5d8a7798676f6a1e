//! Pods started through a chain of network plugins, and what their first act came to.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use weir_testkit::cni::{Chain, Sandbox};
use weir_testkit::{ClusterSpec, Dial, NetNs, NodeSpec, Outcome, PodSpec, TcpServer, Topology};

use super::{Collector, Stage, run, weir};

/// Where the peer listens to which the policy gives no way.
pub(crate) const PORT: u16 = 1234;
/// `app=starter` may send nothing at all.
const POLICIES: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: starters-send-nothing, namespace: demo}
spec:
  podSelector: {matchLabels: {app: starter}}
  policyTypes: [Egress]
";

/// What the API says of a pod when its network is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// It is scheduled, as usual.
    Yes,
    /// Nothing yet: the news are late.
    NotYet,
}

/// Whether the chain ends in `weir-cni`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// It does.
    Yes,
    /// It makes the interface, and that is all.
    No,
}

/// A node with the denied peer, a collector, and a chain that makes pods.
pub(crate) struct Starts {
    pub(crate) stage: Stage,
    pub(crate) collector: Collector,
    /// It is content with the posture.
    pub(crate) chain: Chain,
    /// It waits for the pod's policies.
    pub(crate) patient: Chain,
    pub(crate) server: TcpServer,
}

/// A chain whose last plugin, if it waits, asks the collector of a stage.
pub(crate) fn chain(stage: &Stage, waits: Waits, more: &Value) -> Chain {
    let mut plugin = json!({
        "type": "weir-cni",
        "socket": stage.path("node-1.sock"),
        "timeoutSeconds": 30,
        "policyWaitSeconds": 0,
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        plugin[key] = value.clone();
    }
    let last = (waits == Waits::Yes).then_some(plugin);
    let chain = Chain::ptp(last).expect("chain");
    chain.provide("weir-cni", &weir()).expect("provided");
    chain
}

/// The node without a collector.
pub(crate) fn stage() -> Stage {
    let target = PodSpec::new("demo", "target").label("app", "target");
    let spec = ClusterSpec::new(Topology::Ptp).node(NodeSpec::new("node-1").pod(target));
    Stage::new(&spec, POLICIES)
}

/// The page of metrics of a node's collector.
pub(crate) fn metrics(node: &NetNs) -> String {
    let page = node.run(|| {
        let mut stream = TcpStream::connect(("127.0.0.1", 9965))?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        std::io::Result::Ok(page)
    });
    page.expect("entered").expect("metrics")
}

impl Starts {
    pub(crate) fn new(posture: &str, waits: Waits) -> Self {
        let stage = stage();
        let node = stage.cluster.node("node-1").expect("node").netns.clone();
        let posture = format!("--pending={posture}");
        let collector = stage.collector("node-1", &node, &[&posture, "--recent-flows=65536"]);
        let target = stage.cluster.pod("demo", "target").expect("pod");
        Self {
            server: TcpServer::start(&target.netns, PORT).expect("server"),
            chain: chain(&stage, waits, &Value::Null),
            patient: chain(&stage, waits, &json!({"policyWaitSeconds": 30})),
            collector,
            stage,
        }
    }

    /// A pod's sandbox; the API knows of it, or not.
    pub(crate) fn sandbox(&mut self, name: &str, known: Known) -> Sandbox {
        let spec = PodSpec::new("demo", name).label("app", "starter");
        let sandbox = self
            .stage
            .cluster
            .sandbox("node-1", &spec)
            .expect("sandbox");
        if known == Known::Yes {
            let manifests = &self.stage.manifests;
            manifests
                .put("starter.yaml", &sandbox.manifest())
                .expect("written");
        }
        sandbox
    }

    /// What the collector says about a pod's interface.
    pub(crate) fn endpoint(&self, pod: &str) -> Option<Value> {
        let server = &self.collector.server;
        let status = run(&["status", "--server", server, "--pods", "-o", "json"]);
        let status: Value = serde_json::from_slice(&status.stdout).expect("JSON");
        let endpoints = status["endpoints"].as_array()?;
        let is_its = |endpoint: &&Value| endpoint["pod"] == pod && endpoint["state"] != "gone";
        endpoints.iter().find(is_its).cloned()
    }

    /// The pod's process: it connects to the denied peer, from this port.
    pub(crate) fn first_act(&self, sandbox: &Sandbox, port: u16, patience: Duration) -> Outcome {
        let target = self.stage.cluster.pod("demo", "target").expect("pod");
        let dial = Dial::to((target.addresses.v4, PORT))
            .from((sandbox.pod().addresses.v4, port))
            .timeout(patience);
        dial.tcp(&sandbox.pod().netns).expect("dialled")
    }

    /// The end of the pod.
    pub(crate) fn end(&mut self, sandbox: Sandbox, added: &Value) {
        sandbox.del(&self.chain, Some(added)).expect("parted");
        self.stage.cluster.remove_sandbox(sandbox).expect("removed");
        // There is none if the API never knew of it.
        let _absent = self.stage.manifests.remove("starter.yaml");
    }
}
