//! A policy is changed while a connection runs: how long until it is cut.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use weir_testkit::{Dial, Outcome, Pod, TcpServer, TcpSession};

use super::common::Length;
use super::common::report::{self, Spread};
use super::stage::Stage;

const PORT: u16 = 5000;
/// A connection that is silent for so long is cut.
const SILENT: Duration = Duration::from_millis(250);

const ISOLATED: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: server, namespace: bench}
spec:
  podSelector: {matchLabels: {app: server}}
  policyTypes: [Ingress]
";

const OPEN: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: clients, namespace: bench}
spec:
  podSelector: {matchLabels: {app: server}}
  policyTypes: [Ingress]
  ingress: [{from: [{podSelector: {matchLabels: {app: client}}}]}]
";

pub(crate) fn run(length: Length) {
    let stage = Stage::new(
        &[("node", &["client".to_owned(), "server".to_owned()])],
        ISOLATED,
    );
    stage.manifests.put("clients.yaml", OPEN).unwrap();
    let collector = stage.collector("node", 131_072);
    let (client, server) = (stage.pod("client"), stage.pod("server"));
    let _server = TcpServer::start(&server.netns, PORT).unwrap();
    let mut times = Vec::new();
    for _ in 0..length.pick(20, 3) {
        let session = connect(client, server);
        times.push(cut(session, || {
            stage.manifests.remove("clients.yaml").unwrap();
        }));
        stage.manifests.put("clients.yaml", OPEN).unwrap();
    }
    let metrics = collector.metrics();
    let mean = |name: &str| {
        let (sum, count) = (
            format!("{name}_seconds_sum"),
            format!("{name}_seconds_count"),
        );
        metrics.sum(&sum) * 1000.0 / metrics.sum(&count)
    };
    report::heading("policy change under traffic");
    let times = Spread::of(times.iter().map(|time| time.as_secs_f64() * 1000.0));
    report::line(
        "manifest written → connection cut",
        format!("{times:.1} ms"),
        "100 ms",
        (times.median < 100.0).into(),
    );
    let change = mean("weir_policy_change");
    report::line(
        "event → in the kernel, mean as the collector counts it",
        format!("{change:.2} ms"),
        "50 ms",
        (change < 50.0).into(),
    );
    report::line(
        "compiled → in the kernel, mean",
        format!("{:.2} ms", mean("weir_policy_apply")),
        "",
        report::Verdict::Reported,
    );
}

/// A connection that works, as soon as the policy allows it.
fn connect(client: &Pod, server: &Pod) -> TcpSession {
    let dial = Dial::to((server.addresses.v4, PORT)).timeout(Duration::from_millis(50));
    let began = Instant::now();
    loop {
        if let Ok(mut session) = dial.session(&client.netns)
            && session.ping(SILENT).unwrap() == Outcome::Connected
        {
            return session;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "never allowed");
    }
}

/// From the change until the last answer that still came.
fn cut(mut session: TcpSession, change: impl FnOnce()) -> Duration {
    let began = Instant::now();
    let last_answer = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed)
                && session.ping(2 * SILENT).unwrap() == Outcome::Connected
            {
                last_answer.store(began.elapsed().as_nanos() as u64, Ordering::Relaxed);
            }
        });
        sleep(Duration::from_millis(50));
        let changed = began.elapsed();
        change();
        let last = loop {
            sleep(SILENT / 10);
            let last = Duration::from_nanos(last_answer.load(Ordering::Relaxed));
            if began.elapsed() - last > SILENT {
                break last;
            }
            assert!(began.elapsed() < Duration::from_secs(10), "never cut");
        };
        stop.store(true, Ordering::Relaxed);
        last.saturating_sub(changed)
    })
}
