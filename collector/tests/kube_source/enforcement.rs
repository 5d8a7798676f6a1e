//! Through random faults enforcement never opens, and afterwards all is as if the collector had started just now.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use weir_policy::model::Cluster;
use weir_policy::tables::Tables;
use weir_testkit::api::ApiServer;

use crate::kernel::{Kernel, Row, rows};
use crate::schedule::{Changing, Schedule};
use crate::support::{Followed, PATIENCE, api, cluster};

const SEEDS: u64 = 40;
const ROUNDS: usize = 8;
const STEPS: usize = 10;

/// The collector on one node, as far as it decides what is in the kernel, and what must be denied there.
pub(crate) struct Node {
    followed: Followed,
    kernel: Kernel,
    rows: Vec<Row>,
    /// The rows that were denied by every state that the API server has had in this round.
    denied: BTreeSet<usize>,
    pub(crate) what: String,
}

impl Node {
    pub(crate) async fn start(api: &ApiServer, seed: u64) -> Self {
        let mut node = Self {
            followed: Followed::start(api, None).await,
            kernel: Kernel::new(),
            rows: rows(),
            denied: BTreeSet::new(),
            what: format!("seed {seed}"),
        };
        node.take_until(Instant::now() + PATIENCE, |node| {
            !node.followed.cluster.pods.is_empty()
        })
        .await;
        node
    }

    /// Takes what the source hands on, and looks after every write whether something is open that never was.
    pub(crate) async fn take_until(&mut self, end: Instant, is_done: impl Fn(&Self) -> bool) {
        while !is_done(self) {
            let Ok(batch) = timeout_at(end, self.followed.source.next()).await else {
                return;
            };
            let changes = batch.expect("a source").changes;
            for change in &changes {
                self.followed.cluster.apply(change.clone());
            }
            let told = format!("{changes:?}");
            let Self {
                kernel,
                rows,
                denied,
                what,
                ..
            } = self;
            kernel.take(changes, |tables| {
                stays_closed(tables, rows, denied, what, &told)
            });
        }
    }

    /// The API server has another state.
    pub(crate) fn note(&mut self, api: &ApiServer) {
        let now = Kernel::fresh(&cluster(api)).denied();
        self.denied.retain(|row| now.contains(row));
    }

    /// Waits until it knows what the server has, and compares it with a node that starts now.
    pub(crate) async fn converges(&mut self, api: &ApiServer) {
        let expected = cluster(api);
        let end = Instant::now() + PATIENCE;
        self.take_until(end, |node| node.followed.cluster == expected)
            .await;
        let lacks = self.followed.cluster.changes_to(&expected);
        assert!(
            lacks.is_empty(),
            "{}: lacks {lacks:?}\n{:?}",
            self.what,
            api.stats()
        );
        let fresh = Kernel::fresh(&expected);
        assert_eq!(self.kernel.says(), fresh.says(), "{}", self.what);
        self.denied = fresh.denied();
    }

    /// Whether this is what it knows.
    pub(crate) fn knows(&self, cluster: &Cluster) -> bool {
        self.followed.cluster == *cluster
    }

    /// Starts again, whether or not the API server answers.
    pub(crate) async fn restart(&mut self, api: &ApiServer) {
        let state = tempfile::tempdir().expect("directory");
        let state = std::mem::replace(&mut self.followed.state, state);
        self.followed = Followed::start_in(api, None, state).await;
        self.kernel.restart();
    }
}

fn stays_closed(tables: &Tables, rows: &[Row], denied: &BTreeSet<usize>, what: &str, told: &str) {
    for number in denied {
        let row = &rows[*number];
        assert_eq!(
            Kernel::allows(tables, row),
            Some(false),
            "{what}: {row:?} was denied all the time; {told}"
        );
    }
}

async fn run(seed: u64) {
    let api = api();
    let random = fastrand::Rng::with_seed(seed);
    let mut schedule = Schedule { api: &api, random };
    schedule.begin();
    let mut node = Node::start(&api, seed).await;
    for round in 0..ROUNDS {
        let changing = Changing::of(round);
        node.what = format!("seed {seed} round {round} {changing:?}");
        node.converges(&api).await;
        for _ in 0..STEPS {
            let is_missed = schedule.random.usize(..4);
            let mut change = |_: &ApiServer| {
                for _ in 0..schedule.random.usize(..4) {
                    schedule.change(changing, || node.note(&api));
                }
            };
            match is_missed {
                0 => api.miss_changes(change),
                _ => change(&api),
            }
            if schedule.random.bool() {
                schedule.fault();
            }
            if schedule.random.usize(..10) == 0 {
                node.restart(&api).await;
            }
            let pause = Duration::from_millis(schedule.random.u64(..60));
            node.take_until(Instant::now() + pause, |_| false).await;
        }
        schedule.repair(round);
    }
    node.converges(&api).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn enforcement_never_opens_and_converges_to_what_a_fresh_start_gives() {
    let mut all = JoinSet::new();
    (0..SEEDS).for_each(|seed| drop(all.spawn(run(seed))));
    while let Some(ended) = all.join_next().await {
        ended.expect("no panic");
    }
}
