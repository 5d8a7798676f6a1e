//! A pod's first packet: started through a chain of network plugins that ends in `weir-cni`, it finds its policies or
//! its posture in force, 200 times of 200.

mod common;

use std::time::{Duration, Instant};

use common::starts::{Known, PORT, Starts, Waits, chain, metrics, stage};
use common::{PATIENCE, eventually, is_root, number, run, text, wait_for_flow};
use serde_json::{Value, json};
use tonic::transport::Endpoint;
use weir_proto::weir::v1::AttachRequest;
use weir_proto::weir::v1::node_client::NodeClient;
use weir_testkit::{Dial, Outcome, PodSpec, RunningProcess, TcpServer, UdpServer};

const RUNS: u16 = 200;
/// How long the process waits for an answer that must not come. Its packets stay denied: the server would count any.
const SHORT: Duration = Duration::from_millis(100);
const PORTS: u16 = 20_000;
/// Nobody listens there.
const NO_API_SERVER: &str = "
apiVersion: v1
kind: Config
current-context: none
contexts: [{name: none, context: {cluster: none, user: none}}]
clusters: [{name: none, cluster: {server: \"https://127.0.0.1:1\"}}]
users: [{name: none, user: {token: none}}]
";

/// Whether the API knows of the pod alternates.
fn known(number: u16) -> Known {
    if number.is_multiple_of(2) {
        Known::Yes
    } else {
        Known::NotYet
    }
}

/// Starts pods one after another and says from which of their ports a connection came through, and how long the chains
/// took. What counts is what the peer saw.
fn race(starts: &mut Starts, runs: u16) -> (Vec<u16>, Vec<Duration>) {
    let mut took = Vec::new();
    for number in 0..runs {
        let sandbox = starts.sandbox(&format!("starter-{number}"), known(number));
        let began = Instant::now();
        let chain = match known(number) {
            Known::Yes => &starts.patient,
            Known::NotYet => &starts.chain,
        };
        let added = sandbox.add(chain).expect("joined");
        took.push(began.elapsed());
        starts.first_act(&sandbox, PORTS + number, SHORT);
        starts.end(sandbox, &added);
    }
    let peers = starts.server.peers();
    assert_eq!(peers.len() as u64, starts.server.connections_seen());
    (peers.iter().map(|peer| peer.port()).collect(), took)
}

fn describe(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    format!(
        "median {:?}, 95 % {:?}, longest {:?}",
        at(50),
        at(95),
        at(100)
    )
}

#[test]
fn kernel_with_posture_deny_no_pods_first_packet_gets_through() {
    if !is_root() {
        return;
    }
    let mut starts = Starts::new("deny", Waits::Yes);
    let (through, took) = race(&mut starts, RUNS);
    assert_eq!(through, [] as [u16; 0]);
    println!("chain with weir-cni: {}", describe(took));
}

#[test]
fn kernel_with_posture_allow_only_pending_pods_get_through_and_their_records_say_so() {
    if !is_root() {
        return;
    }
    let mut starts = Starts::new("allow", Waits::Yes);
    let (through, took) = race(&mut starts, RUNS);
    println!("chain with weir-cni: {}", describe(took));
    println!("{} of {RUNS} came through, pending", through.len());
    assert!(!through.is_empty(), "some pods were not known");
    for port in through {
        assert_eq!(
            known(port - PORTS),
            Known::NotYet,
            "its policies were known"
        );
        let from = ["--from-port", &port.to_string()];
        wait_for_flow(&starts.collector.server, &from, |flow| {
            text(flow, "/extensions/reason") == "pending"
        });
    }
}

#[test]
fn kernel_without_the_plugin_the_window_is_measured() {
    if !is_root() {
        return;
    }
    const RUNS: u16 = 30;
    let mut starts = Starts::new("deny", Waits::No);
    let target = starts
        .stage
        .cluster
        .pod("demo", "target")
        .expect("pod")
        .clone();
    let _server = UdpServer::start(&target.netns, 5353).expect("server");
    let (mut windows, mut early) = (Vec::new(), 0);
    for number in 0..RUNS {
        let sandbox = starts.sandbox(&format!("starter-{number}"), known(number));
        let added = sandbox.add(&starts.chain).expect("joined");
        let began = Instant::now();
        let mut last = None;
        while last.is_none_or(|last: Duration| began.elapsed() < last + SHORT)
            && began.elapsed() < PATIENCE
        {
            let dial = Dial::to((target.addresses.v4, 5353)).timeout(Duration::from_millis(2));
            match dial.udp(&sandbox.pod().netns).expect("sent") {
                Outcome::Connected => last = Some(began.elapsed()),
                _ if last.is_none() => break,
                _ => {}
            }
        }
        early += u16::from(last.is_some());
        windows.push(last.unwrap_or_default());
        starts.end(sandbox, &added);
    }
    println!(
        "without weir-cni: {early} of {RUNS} first datagrams came through a closed policy; open for {}",
        describe(windows)
    );
}

#[test]
fn kernel_how_long_attaching_and_programming_take_is_told_for_each_pod_and_in_metrics() {
    if !is_root() {
        return;
    }
    const PODS: u16 = 20;
    let mut starts = Starts::new("deny", Waits::Yes);
    let node = starts.stage.cluster.node("node-1").expect("node").clone();
    let metric = |name: &str| -> f64 {
        let page = metrics(&node.netns);
        let line = page.lines().find_map(|line| line.strip_prefix(name));
        let value = line.unwrap_or_else(|| panic!("no {name} in {page}"));
        value.trim().parse().expect("a number")
    };
    let programmed = metric("weir_endpoint_program_seconds_count");
    for pod in 0..PODS {
        let name = format!("starter-{pod}");
        let sandbox = starts.sandbox(&name, Known::NotYet);
        let added = sandbox.add(&starts.chain).expect("joined");
        let manifest = sandbox.pod().manifest(&node);
        let manifests = &starts.stage.manifests;
        manifests.put("starter.yaml", &manifest).expect("written");
        eventually("the pod is programmed", || {
            let endpoint = starts.endpoint(&name);
            endpoint.is_some_and(|endpoint| {
                assert!(endpoint["attached_at"].is_string(), "{endpoint}");
                endpoint["programmed_at"].is_string() && number(&endpoint, "/revision") > 0
            })
        });
        starts.end(sandbox, &added);
    }
    for what in ["attach", "program"] {
        let name = format!("weir_endpoint_{what}_seconds");
        let (sum, count) = (
            metric(&format!("{name}_sum")),
            metric(&format!("{name}_count")),
        );
        assert!(count >= f64::from(PODS), "{name}: {count}");
        println!("{name}: mean {:.1} ms of {count}", sum * 1e3 / count);
    }
    let since = metric("weir_endpoint_program_seconds_count") - programmed;
    assert!(
        (since - f64::from(PODS)).abs() < 0.5,
        "one for each pod: {since}"
    );
}

#[test]
fn kernel_before_the_first_lists_are_complete_the_posture_is_in_force() {
    if !is_root() {
        return;
    }
    let mut stage = stage();
    let node = stage.cluster.node("node-1").expect("node").clone();
    let kubeconfig = stage.path("kubeconfig");
    std::fs::write(&kubeconfig, NO_API_SERVER).expect("written");
    let mut command = node.netns.command(common::weir());
    command.args(["collector", "--node=node-1", "--pending=deny"]);
    for (flag, path) in [
        ("--kubeconfig", kubeconfig),
        ("--pin-root", node.pin_root().expect("pin root")),
        ("--state-dir", stage.path("state")),
        ("--unix-socket", stage.path("node-1.sock")),
    ] {
        command.arg(flag).arg(path);
    }
    let log = stage.path("log");
    let mut collector = RunningProcess::spawn(command, &log).expect("started");
    let target = stage.cluster.pod("demo", "target").expect("pod").clone();
    let server = TcpServer::start(&target.netns, PORT).expect("server");
    let chain = chain(&stage, Waits::Yes, &Value::Null);
    let spec = PodSpec::new("demo", "starter");
    let sandbox = stage.cluster.sandbox("node-1", &spec).expect("sandbox");
    sandbox.add(&chain).expect("its posture is in force");
    let dial = Dial::to((target.addresses.v4, PORT)).timeout(SHORT);
    let outcome = dial.tcp(&sandbox.pod().netns).expect("dialled");
    assert_eq!(outcome, Outcome::TimedOut);
    assert_eq!(server.connections_seen(), 0);
    assert!(
        !collector
            .output()
            .expect("log")
            .contains("INFO weir_collector::wiring: ready")
    );
    collector.terminate(PATIENCE).expect("ended");
}

#[test]
fn kernel_the_chain_says_what_is_in_force_and_fails_without_a_collector() {
    if !is_root() {
        return;
    }
    let mut starts = Starts::new("deny", Waits::Yes);
    let node = starts
        .stage
        .cluster
        .node("node-1")
        .expect("node")
        .netns
        .clone();
    starts.chain.status(&node).expect("a collector answers");
    let sandbox = starts.sandbox("starter", Known::Yes);
    let added = sandbox.add(&starts.patient).expect("joined");
    let interfaces = added["interfaces"].as_array().expect("interfaces");
    assert_eq!(
        interfaces.len(),
        2,
        "the result of the plugin before: {added}"
    );
    let endpoint = starts
        .endpoint("starter")
        .expect("known by the plugin's word: the API has no address yet");
    assert_eq!(endpoint["state"], "programmed");
    assert_eq!(
        endpoint["addresses"][0],
        sandbox.pod().addresses.v4.to_string()
    );
    sandbox
        .check(&starts.chain, &added)
        .expect("as ADD left it");

    starts.collector.process.kill().expect("killed");
    let hasty = chain(&starts.stage, Waits::Yes, &json!({"timeoutSeconds": 1}));
    hasty.status(&node).expect_err("nobody answers");
    starts.end(sandbox, &added);
    let sandbox = starts.sandbox("another", Known::Yes);
    let error = sandbox.add(&hasty).expect_err("nobody answers").to_string();
    let interface = &sandbox.pod().host_interface;
    for part in [
        "\"code\":11",
        "pod demo/another",
        interface,
        "node-1.sock",
        "within 1s",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    sandbox
        .del(&hasty, None)
        .expect("an ADD that failed is undone");
    let careless = chain(&starts.stage, Waits::Yes, &json!({"whenAbsent": "pass"}));
    careless.status(&node).expect("it would let pods start");
    let added = sandbox.add(&careless).expect("it lets the pod start");
    assert_eq!(added["interfaces"].as_array().map(Vec::len), Some(2));
}

#[test]
fn kernel_what_is_installed_runs_in_the_chain_until_it_is_uninstalled() {
    if !is_root() {
        return;
    }
    let mut starts = Starts::new("deny", Waits::No);
    let (directory, socket) = (starts.stage.path("net.d"), starts.stage.path("node-1.sock"));
    let file = directory.join("10-testkit.conflist");
    std::fs::create_dir(&directory).expect("made");
    std::fs::write(&file, starts.chain.conflist()).expect("written");
    let bin_dir = starts.patient.bin_dir().to_owned();
    std::fs::remove_file(bin_dir.join("weir-cni")).expect("there by another way");
    let weir_cni = |verb: &str, more: &[String]| {
        let dirs = [("--bin-dir", &bin_dir), ("--conf-dir", &directory)];
        let dirs = dirs.map(|(flag, path)| format!("{flag}={}", path.display()));
        let args = ["cni", verb].into_iter();
        let args: Vec<&str> = args
            .chain(dirs.iter().chain(more).map(String::as_str))
            .collect();
        let output = run(&args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        std::fs::read_to_string(&file).expect("a conflist")
    };
    let patience = "--policy-wait-seconds=30".to_owned();
    let installed = weir_cni(
        "install",
        &[format!("--socket={}", socket.display()), patience],
    );
    starts.patient.set_conflist(&installed).expect("a chain");
    let sandbox = starts.sandbox("starter", Known::Yes);
    let added = sandbox.add(&starts.patient).expect("joined");
    let endpoint = starts.endpoint("starter").expect("by the plugin's word");
    assert_eq!(endpoint["state"], "programmed");
    starts.end(sandbox, &added);

    let uninstalled = weir_cni("uninstall", &[]);
    assert!(!bin_dir.join("weir-cni").exists());
    starts.patient.set_conflist(&uninstalled).expect("a chain");
    let sandbox = starts.sandbox("another", Known::Yes);
    let added = sandbox.add(&starts.patient).expect("joined without it");
    starts.end(sandbox, &added);
}

#[test]
fn kernel_over_tcp_nobody_says_whose_an_interface_is() {
    if !is_root() {
        return;
    }
    let starts = Starts::new("deny", Waits::Yes);
    let node = starts.stage.cluster.node("node-1").expect("node");
    let ask = || -> Result<(), tonic::Status> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let server = Endpoint::from_static("http://127.0.0.1:4244");
            let channel = server.connect().await.expect("a collector listens");
            let mut client = NodeClient::new(channel);
            client.attach(AttachRequest::default()).await.map(drop)
        })
    };
    let refused = node.netns.run(ask).expect("entered").expect_err("refused");
    assert_eq!(refused.code(), tonic::Code::Unimplemented);
}

#[test]
fn kernel_an_interface_that_is_not_the_pods_is_refused() {
    if !is_root() {
        return;
    }
    let mut stage = stage();
    let spec = PodSpec::new("demo", "starter");
    let sandbox = stage.cluster.sandbox("node-1", &spec).expect("sandbox");
    let chain = chain(&stage, Waits::Yes, &json!({"timeoutSeconds": 1}));
    let target = stage.cluster.pod("demo", "target").expect("pod");
    let first = weir_testkit::cni::Chain::ptp([]).expect("chain");
    let mut added = sandbox.add(&first).expect("joined");
    added["interfaces"][0]["name"] = target.host_interface.as_str().into();
    let error = sandbox
        .check(&chain, &added)
        .expect_err("not its veth")
        .to_string();
    let own = &sandbox.pod().host_interface;
    for part in [&own[..], &target.host_interface, "prevResult.interfaces"] {
        assert!(error.contains(part), "{part}: {error}");
    }
}
