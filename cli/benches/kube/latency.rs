//! From a change of a policy at the API server to the kernel's map, as seen from outside.

use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use aya::maps::{Array, Map, MapData};
use weir_testkit::api::{ApiServer, Resource};

use super::common::Length;
use super::common::report::{self, Verdict};
use super::objects::Pod;
use super::policies;
use super::stage::Stage;

const LIMIT: f64 = 50.0;
const PATIENCE: Duration = Duration::from_secs(30);
const POLICY: &str = "probe";

/// A policy that comes and goes, and where the kernel has what a pod is judged by.
pub(crate) struct Probe<'a> {
    api: &'a ApiServer,
    /// The two policy sets of each endpoint.
    sets: Array<MapData, u64>,
    /// The pod's endpoint.
    slot: u32,
    pod: Pod,
}

impl<'a> Probe<'a> {
    /// Finds the endpoint of the last local pod: the one that changes with a policy for it alone.
    pub(crate) fn new(stage: &'a Stage) -> Self {
        let root = stage.node().pin_root().unwrap();
        let maps = std::fs::read_dir(root)
            .unwrap()
            .flatten()
            .map(|entry| entry.path().join("maps"));
        let path: PathBuf = maps
            .map(|maps| maps.join("ENDPOINT_SETS"))
            .find(|path| path.exists())
            .unwrap();
        let data = MapData::from_pin(path).unwrap();
        let mut probe = Self {
            api: &stage.api,
            sets: Array::try_from(Map::Array(data)).unwrap(),
            slot: 0,
            pod: stage.scale.pod(super::population::LOCAL - 1),
        };
        let before = probe.all();
        probe.isolate();
        let began = Instant::now();
        let changed = loop {
            let now = probe.all();
            let mut pairs = (0..).zip(before.iter().zip(&now));
            if let Some((slot, _)) = pairs.find(|(_, (before, now))| before != now) {
                break slot;
            }
            assert!(began.elapsed() < PATIENCE, "no endpoint has changed");
        };
        probe.slot = changed;
        probe.open();
        sleep(Duration::from_secs(1));
        probe
    }

    /// The policy comes, and goes: how long each took.
    pub(crate) fn round(&self) -> [Duration; 2] {
        let pause = || sleep(Duration::from_millis(fastrand::u64(50..100)));
        let came = self.until_changed(|| self.isolate());
        pause();
        let went = self.until_changed(|| self.open());
        pause();
        [came, went]
    }

    fn until_changed(&self, change: impl FnOnce()) -> Duration {
        let before = self.sets.get(&self.slot, 0).unwrap();
        let began = Instant::now();
        change();
        while self.sets.get(&self.slot, 0).unwrap() == before {
            assert!(
                began.elapsed() < PATIENCE,
                "the change is not in the kernel"
            );
            sleep(Duration::from_micros(100));
        }
        began.elapsed()
    }

    fn all(&self) -> Vec<u64> {
        let slots = 0..self.sets.len();
        slots.map(|slot| self.sets.get(&slot, 0).unwrap()).collect()
    }

    fn isolate(&self) {
        let app = &self.pod.labels["app"];
        let policy = policies::isolate(&self.pod.namespace, POLICY, ("app", app));
        self.api.apply(policy).unwrap();
    }

    fn open(&self) {
        let namespace = &self.pod.namespace;
        self.api
            .delete(Resource::NetworkPolicies, namespace, POLICY)
            .unwrap();
    }
}

pub(crate) fn run(stage: &Stage, length: Length) {
    let probe = Probe::new(stage);
    let rounds = length.pick(100, 5);
    let times = (0..rounds).flat_map(|_| probe.round()).collect();
    report("policy at the API → kernel map, seen from outside", times);
}

/// The median and the 99th percentile.
pub(crate) fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    let measured = format!("{:.1} ms, 99 % {:.1} ms", at(50), at(99));
    report::line(what, measured, "50 ms", Verdict::from(at(50) <= LIMIT));
}
