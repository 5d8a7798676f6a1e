//! Two nodes, the pods `target`, `allowed` and `denied`, and a small shop.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use weir_testkit::{
    Capture, Cluster, ClusterSpec, Dial, NodeSpec, Outcome, Pod, PodSpec, Protocol, TcpServer,
    Topology, UdpServer,
};

use super::{print, stage::Stage};

const POLICIES: [(&str, &str); 2] = [
    ("demo-policies.yaml", include_str!("manifests/demo.yaml")),
    ("shop-policies.yaml", include_str!("manifests/shop.yaml")),
];
const DIAL: Duration = Duration::from_millis(1500);
/// For what is seen a moment later: a batch on its way, a policy being applied.
const PATIENCE: Duration = Duration::from_secs(20);
const AGGREGATOR: &str = "aggregator";

/// The demo's cluster.
pub(super) fn cluster(topology: Topology) -> ClusterSpec {
    let shop = |name: &str, tier: &str| {
        PodSpec::new("shop", name)
            .label("tier", tier)
            .label("app", name)
            .owner("StatefulSet", tier)
    };
    let dns = PodSpec::new("kube-system", "dns")
        .label("k8s-app", "kube-dns")
        .port("dns", Protocol::Udp, 53);
    let node_1 = NodeSpec::new("node-1")
        .pod(PodSpec::new("demo", "target").label("app", "target"))
        .pod(shop("frontend", "frontend"))
        .pod(dns);
    let node_2 = NodeSpec::new("node-2")
        .pod(PodSpec::new("demo", "allowed").label("app", "allowed"))
        .pod(PodSpec::new("demo", "denied").label("app", "denied"))
        .pod(shop("backend", "backend").port("http", Protocol::Tcp, 8080))
        .pod(shop("database", "database"));
    ClusterSpec::new(topology).node(node_1).node(node_2)
}

/// The servers in the pods.
struct Servers {
    target: TcpServer,
    _rest: (TcpServer, TcpServer, UdpServer),
}

/// Plays all chapters.
///
/// # Errors
/// A part that does not start, or a step that does not go as it must.
pub(super) fn play(cluster: Cluster, stay: bool) -> anyhow::Result<()> {
    let began = Instant::now();
    print::chapter("two nodes, seven pods (network namespaces), two collectors, one aggregator");
    let mut stage = Stage::new(&cluster, &POLICIES)?;
    start(&cluster, &mut stage)?;
    let servers = serve(&cluster)?;
    print::fact(&format!("up after {:.1} s", began.elapsed().as_secs_f32()));

    print::chapter("live: every connection with its verdict, the policy and the rule behind it");
    stage.follow(&stage.server(AGGREGATOR))?;
    traffic(&cluster, &servers)?;
    explain(&stage)?;
    repair(&cluster, &stage, &servers)?;
    history(&mut stage)?;
    if stay {
        keep(&cluster, &stage);
    }
    stage.stop()?;
    print::chapter("done");
    print::note(
        "with --keep it stays up for playing; --sidecar shows one collector in one pod, --topology bridge pods on a bridge",
    );
    Ok(())
}

fn start(cluster: &Cluster, stage: &mut Stage) -> anyhow::Result<()> {
    let hub = cluster.fabric();
    let args = [
        "aggregator".to_owned(),
        format!("--data-dir={}", stage.path("data").display()),
        format!("--listen={}:4245", hub.addresses.v4),
        format!("--unix-socket={}", stage.path("aggregator.sock").display()),
        "--seal-interval=5s".to_owned(),
    ];
    stage.start(&hub.netns, AGGREGATOR, &args)?;
    for node in cluster.nodes() {
        let mut args = stage.collector_args(&node.name, &node.pin_root()?)?;
        args.push(format!("--aggregator=http://{}:4245", hub.addresses.v4));
        stage.start(&node.netns, &node.name, &args)?;
    }
    Ok(())
}

fn serve(cluster: &Cluster) -> anyhow::Result<Servers> {
    let tcp = |namespace, name, port| -> anyhow::Result<TcpServer> {
        Ok(TcpServer::start(
            &cluster.pod(namespace, name)?.netns,
            port,
        )?)
    };
    let dns = UdpServer::start(&cluster.pod("kube-system", "dns")?.netns, 53)?;
    Ok(Servers {
        target: tcp("demo", "target", 1234)?,
        _rest: (
            tcp("shop", "backend", 8080)?,
            tcp("shop", "database", 5432)?,
            dns,
        ),
    })
}

fn traffic(cluster: &Cluster, servers: &Servers) -> anyhow::Result<()> {
    let [target, allowed, denied] =
        ["target", "allowed", "denied"].map(|name| cluster.pod("demo", name));
    let (target, allowed, denied) = (target?, allowed?, denied?);
    let [frontend, backend, database] =
        ["frontend", "backend", "database"].map(|name| cluster.pod("shop", name));
    let (frontend, backend, database) = (frontend?, backend?, database?);
    let dns = cluster.pod("kube-system", "dns")?;

    ensure!(
        dial(allowed, target, 1234)? == Outcome::Connected,
        "demo/allowed could not reach demo/target:1234"
    );
    let mut wire = Capture::start(&target.netns, "eth0")?;
    let seen = servers.target.connections_seen();
    ensure!(
        dial(denied, target, 1234)? == Outcome::TimedOut,
        "demo/denied was not denied"
    );
    ensure!(
        wire.syns()?.is_empty() && servers.target.connections_seen() == seen,
        "a denied SYN arrived at demo/target"
    );

    dial(frontend, backend, 8080)?;
    dial(backend, database, 5432)?;
    Dial::to((dns.addresses.v4, 53))
        .timeout(DIAL)
        .udp(&frontend.netns)?;
    dial(frontend, database, 5432)?;
    dial6(frontend, backend, 8080)?;
    sleep(Duration::from_millis(800));
    print::fact("demo/allowed → demo/target:1234 connected");
    print::fact(
        "demo/denied → demo/target:1234 was dropped by the kernel: no SYN arrived at the target's interface",
    );
    print::fact("the shop's tiers talk as their policies say; frontend → database does not");
    Ok(())
}

fn dial(from: &Pod, to: &Pod, port: u16) -> anyhow::Result<Outcome> {
    Ok(Dial::to((to.addresses.v4, port))
        .timeout(DIAL)
        .tcp(&from.netns)?)
}

fn dial6(from: &Pod, to: &Pod, port: u16) -> anyhow::Result<Outcome> {
    Ok(Dial::to((to.addresses.v6, port))
        .timeout(DIAL)
        .tcp(&from.netns)?)
}

fn explain(stage: &Stage) -> anyhow::Result<()> {
    print::chapter("why was it denied?");
    let server = stage.server("node-1");
    let text = stage.show(&[
        "explain",
        "--server",
        &server,
        "--from",
        "demo/denied",
        "--to",
        "demo/target",
        "--port",
        "1234",
    ])?;
    ensure!(
        text.contains("default-deny") && text.contains("app=allowed"),
        "the explanation names neither the policies nor the label"
    );
    Ok(())
}

/// The smallest policy that lets the denied pod in. `weir explain` suggests the like.
const FIX: &str = include_str!("manifests/fix.yaml");

fn repair(cluster: &Cluster, stage: &Stage, servers: &Servers) -> anyhow::Result<()> {
    print::chapter("the repair, live: one more policy file in the manifests directory");
    print::text(FIX);
    let seen = servers.target.connections_seen();
    let written = Instant::now();
    stage.manifests().put("fix.yaml", FIX)?;
    let (denied, target) = (
        cluster.pod("demo", "denied")?,
        cluster.pod("demo", "target")?,
    );
    while Dial::to((target.addresses.v4, 1234))
        .timeout(Duration::from_millis(200))
        .tcp(&denied.netns)?
        != Outcome::Connected
    {
        ensure!(written.elapsed() < PATIENCE, "demo/denied is still denied");
    }
    ensure!(
        servers.target.connections_seen() > seen,
        "the target saw no connection"
    );
    sleep(Duration::from_millis(800));
    print::fact(&format!(
        "demo/denied → demo/target:1234 connected, {} ms after the file was written",
        written.elapsed().as_millis() - 800
    ));
    Ok(())
}

fn history(stage: &mut Stage) -> anyhow::Result<()> {
    stage.unfollow();
    print::chapter("the record: denials, from the aggregator's memory and its Parquet files");
    let server = stage.server(AGGREGATOR);
    let text = stage.show(&[
        "observe",
        "--server",
        &server,
        "--verdict",
        "dropped",
        "--last",
        "10",
    ])?;
    ensure!(
        text.contains("demo/denied"),
        "the denial is not in the aggregator's record"
    );
    let began = Instant::now();
    let files = loop {
        let files = parquet_files(&stage.path("data"));
        if !files.is_empty() {
            break files;
        }
        ensure!(began.elapsed() < PATIENCE, "no Parquet file was written");
        sleep(Duration::from_millis(100));
    };
    for file in files {
        let size = std::fs::metadata(&file)
            .with_context(|| format!("cannot read {}", file.display()))?
            .len();
        print::note(&format!("{} ({size} bytes)", file.display()));
    }
    Ok(())
}

fn parquet_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path
                .extension()
                .is_some_and(|extension| extension == "parquet")
            {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// Stays up, with a little traffic, until Ctrl-C.
fn keep(cluster: &Cluster, stage: &Stage) {
    print::chapter("up until Ctrl-C; in another terminal:");
    let (hub, node) = (stage.server(AGGREGATOR), stage.server("node-1"));
    print::weir(&format!(
        "observe --server {hub} --follow --verdict dropped"
    ));
    print::weir(&format!(
        "explain --server {node} --from shop/frontend --to shop/database --port 5432"
    ));
    print::weir(&format!("status --server {node} --pods"));
    if let (Ok(denied), Ok(target)) = (cluster.pod("demo", "denied"), cluster.pod("demo", "target"))
    {
        let (netns, address) = (denied.netns.path(), target.addresses.v4);
        print::command(&format!(
            "nsenter --net={} curl --max-time 1 telnet://{address}:1234",
            netns.display()
        ));
    }
    print::note(&format!(
        "manifests (edit them, changes take effect at once): {}",
        stage.manifests().path().display()
    ));
    loop {
        for (from, to, port) in [
            ("frontend", "backend", 8080),
            ("backend", "database", 5432),
            ("frontend", "database", 5432),
        ] {
            let pods = (cluster.pod("shop", from), cluster.pod("shop", to));
            if let (Ok(from), Ok(to)) = pods {
                // The traffic is for show; what becomes of it is what the user watches.
                let _outcome = Dial::to((to.addresses.v4, port))
                    .timeout(Duration::from_millis(300))
                    .tcp(&from.netns);
            }
            sleep(Duration::from_secs(1));
        }
    }
}
