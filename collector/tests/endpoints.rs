//! Endpoints on real interfaces: attached when they appear, mapped to pods, enforced, kept through a kill.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{PodNs, TestRoot, enter_node, options, run, skipped};
use weir_collector::config::{Posture, Scope};
use weir_collector::endpoints::{
    EndpointEvent, EndpointState, Endpoints, EndpointsConfig, LocalPod, Parts,
};
use weir_collector::kernel::{Counters, FlowTables, Kernel, Limits, Options, PinRoot, Side};
use weir_collector::state::StateDir;
use weir_collector::telemetry::Telemetry;
use weir_datapath::abi::{DenialKey4, FlowKey4};
use weir_flow::Mode;
use weir_policy::model::Name;
use weir_policy::tables::{
    EndpointSets, IdentityId, NodeAddress, Peer, PortTable, RuleId, SetId, Update, Write,
};

const PATIENCE: Duration = Duration::from_secs(20);
const SET: SetId = SetId(16);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn pod(name: &str, address: &str) -> LocalPod {
    LocalPod {
        name: Name::new("shop", name),
        uid: name.to_owned(),
        addresses: vec![ip(address)],
        more_sources: Vec::new(),
        mode: None,
    }
}

fn config(posture: Posture) -> EndpointsConfig {
    EndpointsConfig::new(Scope::Node, posture, Mode::Enforce, &Limits::small())
}

/// What a test looks at beside the endpoints.
struct Node {
    endpoints: Endpoints,
    tables: FlowTables,
    _counters: Counters,
}

async fn node(kernel: Kernel, state: &std::path::Path, config: EndpointsConfig) -> Node {
    let parts = Parts {
        attacher: kernel.attacher,
        policy: kernel.policy,
        clock: Arc::new(kernel.clock),
        own: Telemetry::new().0.own,
    };
    let state = StateDir::open(state).unwrap();
    let endpoints = Endpoints::start(parts, state, config).await.unwrap();
    Node {
        endpoints,
        tables: kernel.tables,
        _counters: kernel.counters,
    }
}

/// The target is isolated; only `10.1.0.3` may reach it.
fn isolate(pod: &str, client: &str) -> Update {
    let client = (
        ip(client),
        Peer {
            identity: IdentityId(20),
            node: NodeAddress::No,
        },
    );
    Update {
        revision: 1,
        addresses: vec![Write::Peer(client.0, client.1)],
        sets: vec![Write::Verdict(
            SET,
            IdentityId(20),
            PortTable::All(RuleId(64)),
        )],
        switch: vec![Write::Endpoint(
            Name::new("shop", pod),
            EndpointSets {
                ingress: SET,
                egress: SetId::OPEN,
            },
        )],
        ..Update::default()
    }
}

/// Two more pods that nothing isolates.
fn open(pods: &[&str]) -> Update {
    let sets = EndpointSets {
        ingress: SetId::OPEN,
        egress: SetId::OPEN,
    };
    Update {
        switch: pods
            .iter()
            .map(|pod| Write::Endpoint(Name::new("shop", *pod), sets))
            .collect(),
        ..Update::default()
    }
}

async fn until(mut is_true: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !is_true() {
        assert!(tokio::time::Instant::now() < deadline, "waited in vain");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn state(node: &Node, pod: &str) -> Option<EndpointState> {
    node.endpoints
        .view
        .of_pod(&Name::new("shop", pod))
        .map(|endpoint| endpoint.state)
}

/// Whether a TCP connection from one namespace to a listener in another comes about.
fn connects(from: &PodNs, to: &PodNs, address: &str) -> bool {
    let address = SocketAddr::new(ip(address), 1234);
    let listener = to.inside(move || TcpListener::bind(address).unwrap());
    let connected = from
        .inside(move || TcpStream::connect_timeout(&address, Duration::from_millis(700)).is_ok());
    drop(listener);
    connected
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

#[test]
fn a_veth_is_attached_when_it_appears_and_its_pod_is_found_by_route() {
    if skipped() {
        return;
    }
    enter_node();
    run("sysctl -qw net.ipv4.ip_forward=1");
    let directory = tempfile::tempdir().unwrap();
    block_on(async {
        let node = node(
            Kernel::private(&options()).unwrap(),
            directory.path(),
            config(Posture::Allow),
        )
        .await;
        let mut events = node.endpoints.events();
        let target = PodNs::ptp("h0", "10.1.0.2");
        let EndpointEvent::Up(up) = events.recv().await.unwrap() else {
            panic!("not up")
        };
        assert_eq!(
            (up.interface.as_ref(), up.state),
            ("h0", EndpointState::Unmapped)
        );
        let (friend, stranger) = (PodNs::ptp("h1", "10.1.0.3"), PodNs::ptp("h2", "10.1.0.4"));
        assert!(connects(&stranger, &target, "10.1.0.2"), "pending, allowed");

        let pods = vec![
            pod("target", "10.1.0.2"),
            pod("friend", "10.1.0.3"),
            pod("stranger", "10.1.0.4"),
        ];
        node.endpoints.set_pods(pods, Instant::now()).await.unwrap();
        node.endpoints
            .apply(open(&["friend", "stranger"]))
            .await
            .unwrap()
            .unwrap();
        node.endpoints
            .apply(isolate("target", "10.1.0.3"))
            .await
            .unwrap()
            .unwrap();
        for pod in ["target", "friend", "stranger"] {
            until(|| state(&node, pod) == Some(EndpointState::Programmed)).await;
        }
        assert!(connects(&friend, &target, "10.1.0.2"));
        assert!(!connects(&stranger, &target, "10.1.0.2"));
        let mut denied = 0;
        node.tables
            .sweep::<DenialKey4>(|_, denial| denied += denial.dropped.packets)
            .unwrap();
        assert!(denied > 0, "and counted");

        let id = node
            .endpoints
            .view
            .of_pod(&Name::new("shop", "target"))
            .unwrap()
            .id;
        drop(target);
        until(|| node.endpoints.view.get(id).unwrap().state == EndpointState::Gone).await;
    });
}

#[test]
fn a_silent_pod_on_a_bridge_is_found_by_asking() {
    if skipped() {
        return;
    }
    enter_node();
    let directory = tempfile::tempdir().unwrap();
    run("ip link add br0 type bridge");
    run("ip addr add 10.1.0.1/24 dev br0");
    run("ip link set br0 up");
    block_on(async {
        let node = node(
            Kernel::private(&options()).unwrap(),
            directory.path(),
            config(Posture::Deny),
        )
        .await;
        let target = PodNs::bridged("br0", "b0", "10.1.0.2", "10.1.0.1");
        let other = PodNs::bridged("br0", "b1", "10.1.0.3", "10.1.0.1");
        let stranger = PodNs::bridged("br0", "b2", "10.1.0.4", "10.1.0.1");
        node.endpoints
            .set_pods(
                vec![
                    pod("target", "10.1.0.2"),
                    pod("friend", "10.1.0.3"),
                    pod("stranger", "10.1.0.4"),
                ],
                Instant::now(),
            )
            .await
            .unwrap();
        node.endpoints
            .apply(open(&["friend", "stranger"]))
            .await
            .unwrap()
            .unwrap();
        node.endpoints
            .apply(isolate("target", "10.1.0.3"))
            .await
            .unwrap()
            .unwrap();
        for pod in ["target", "friend", "stranger"] {
            until(|| state(&node, pod) == Some(EndpointState::Programmed)).await;
        }
        let target_endpoint = node
            .endpoints
            .view
            .of_pod(&Name::new("shop", "target"))
            .unwrap();
        assert_eq!(target_endpoint.interface.as_ref(), "b0");
        assert!(connects(&other, &target, "10.1.0.2"));
        assert!(!connects(&stranger, &target, "10.1.0.2"));
    });
}

#[test]
fn an_uplink_is_left_alone_and_its_addresses_are_the_nodes() {
    if skipped() {
        return;
    }
    enter_node();
    let outside = PodNs::new();
    run(&format!(
        "ip link add up0 type veth peer name eth9 netns {}",
        outside.name
    ));
    run("ip addr add 172.31.0.2/24 dev up0");
    run("ip link set up0 up");
    let directory = tempfile::tempdir().unwrap();
    block_on(async {
        let node = node(
            Kernel::private(&options()).unwrap(),
            directory.path(),
            config(Posture::Deny),
        )
        .await;
        assert!(node.endpoints.view.all().is_empty());
        assert!(
            node.endpoints
                .local_addresses
                .borrow()
                .contains(&ip("172.31.0.2"))
        );
        // One that turns out to be an uplink only later is released.
        run(&format!(
            "ip link add up1 type veth peer name eth8 netns {}",
            outside.name
        ));
        until(|| node.endpoints.view.all().len() == 1).await;
        run("ip addr add 172.32.0.2/24 dev up1");
        until(|| {
            node.endpoints
                .view
                .all()
                .iter()
                .all(|endpoint| endpoint.state == EndpointState::Gone)
        })
        .await;
        until(|| {
            node.endpoints
                .local_addresses
                .borrow()
                .contains(&ip("172.32.0.2"))
        })
        .await;
    });
}

#[test]
fn a_sidecar_enforces_from_inside_the_pods_namespace() {
    if skipped() {
        return;
    }
    enter_node();
    run("sysctl -qw net.ipv4.ip_forward=1");
    let (target, friend) = (PodNs::ptp("h0", "10.1.0.2"), PodNs::ptp("h1", "10.1.0.3"));
    let stranger = PodNs::ptp("h2", "10.1.0.4");
    let directory = tempfile::tempdir().unwrap();
    let state_dir = directory.path().to_owned();
    let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
    let (done, is_done) = tokio::sync::oneshot::channel::<()>();
    let sidecar = target.spawn_inside(move || {
        block_on(async {
            let scope = Scope::Sidecar {
                pod: Name::new("shop", "target"),
                interface: "eth0".to_owned(),
            };
            let config =
                EndpointsConfig::new(scope, Posture::Deny, Mode::Enforce, &Limits::small());
            let kernel = Kernel::private(&Options {
                side: Side::Pod,
                ..options()
            })
            .unwrap();
            let node = node(kernel, &state_dir, config).await;
            node.endpoints
                .apply(isolate("target", "10.1.0.3"))
                .await
                .unwrap()
                .unwrap();
            until(|| state(&node, "target") == Some(EndpointState::Programmed)).await;
            assert!(
                node.endpoints.local_addresses.borrow().is_empty(),
                "they are the pod's"
            );
            ready.send(()).unwrap();
            is_done.await.unwrap();
        });
    });
    is_ready.recv_timeout(PATIENCE).unwrap();
    assert!(connects(&friend, &target, "10.1.0.2"));
    assert!(!connects(&stranger, &target, "10.1.0.2"));
    done.send(()).unwrap();
    sidecar.join().unwrap();
}

/// The collector of the kill test, run as a process of its own by this very test binary.
#[test]
fn child_collector() {
    let Some(root) = std::env::var_os("WEIR_TEST_PIN_ROOT") else {
        return;
    };
    let state = std::env::var_os("WEIR_TEST_STATE").unwrap();
    block_on(async {
        let kernel = Kernel::open(&PinRoot::new(root), &options()).unwrap();
        let node = node(kernel, state.as_ref(), config(Posture::Allow)).await;
        let pods = vec![
            pod("target", "10.1.0.2"),
            pod("friend", "10.1.0.3"),
            pod("stranger", "10.1.0.4"),
        ];
        node.endpoints.set_pods(pods, Instant::now()).await.unwrap();
        node.endpoints
            .apply(open(&["friend", "stranger"]))
            .await
            .unwrap()
            .unwrap();
        node.endpoints
            .apply(isolate("target", "10.1.0.3"))
            .await
            .unwrap()
            .unwrap();
        until(|| state_is_programmed(&node)).await;
        println!("\nchild is ready");
        tokio::time::sleep(Duration::from_secs(600)).await;
    });
}

fn state_is_programmed(node: &Node) -> bool {
    ["target", "friend", "stranger"]
        .iter()
        .all(|pod| state(node, pod) == Some(EndpointState::Programmed))
}

/// Starts [`child_collector`] in this thread's network namespace.
fn start_child(root: &PinRoot, state: &std::path::Path) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_collector", "--nocapture"])
        .env("WEIR_TEST_PIN_ROOT", root.path())
        .env("WEIR_TEST_STATE", state)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for line in lines {
        if line.unwrap().contains("child is ready") {
            return child;
        }
    }
    let _killed = child.kill();
    panic!("the child ended before it was ready: {:?}", child.wait());
}

#[test]
fn a_killed_collector_leaves_enforcement_on_and_the_next_adopts_it() {
    if skipped() {
        return;
    }
    enter_node();
    run("sysctl -qw net.ipv4.ip_forward=1");
    let (target, friend) = (PodNs::ptp("h0", "10.1.0.2"), PodNs::ptp("h1", "10.1.0.3"));
    let stranger = PodNs::ptp("h2", "10.1.0.4");
    let (root, directory) = (TestRoot::new(), tempfile::tempdir().unwrap());
    let mut child = start_child(&root.0, directory.path());
    assert!(!connects(&stranger, &target, "10.1.0.2"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(
        !connects(&stranger, &target, "10.1.0.2"),
        "nobody runs, and still denied"
    );
    assert!(connects(&friend, &target, "10.1.0.2"));

    block_on(async {
        let node = node(
            Kernel::open(&root.0, &options()).unwrap(),
            directory.path(),
            config(Posture::Allow),
        )
        .await;
        assert!(
            !connects(&stranger, &target, "10.1.0.2"),
            "adopted, no pod known yet, and still denied"
        );
        assert_eq!(
            state(&node, "target"),
            Some(EndpointState::Programmed),
            "named from the state directory"
        );
        let sets = EndpointSets {
            ingress: SET,
            egress: SetId::OPEN,
        };
        assert_eq!(
            node.endpoints.adopted.endpoints[&Name::new("shop", "target")],
            sets
        );
        assert_eq!(
            node.endpoints.adopted.table(SET, IdentityId(20)),
            Some(&PortTable::All(RuleId(64)))
        );
        let endpoint = node
            .endpoints
            .view
            .of_pod(&Name::new("shop", "target"))
            .unwrap();
        let mut denied = 0;
        let count = |key: &DenialKey4, packets: u64| {
            if key.endpoint_protocol >> 8 == endpoint.id {
                packets
            } else {
                0
            }
        };
        node.tables
            .sweep::<DenialKey4>(|key, denial| denied += count(key, denial.dropped.packets))
            .unwrap();
        assert!(denied >= 3, "counts go on: {denied}");
        let mut flows = 0;
        node.tables.sweep::<FlowKey4>(|_, _| flows += 1).unwrap();
        assert!(flows > 0);
        // A change of policy takes effect on what was adopted.
        node.endpoints
            .apply(open(&["target"]))
            .await
            .unwrap()
            .unwrap();
        assert!(connects(&stranger, &target, "10.1.0.2"));
    });
}
