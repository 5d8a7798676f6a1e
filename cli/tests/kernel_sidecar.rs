//! A sidecar with nothing but mounted manifests against the tables of policy cases: of each case one pod, and every row
//! that this pod has a part in as a real packet through its `eth0`, where what comes in goes to the pod.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::sidecar::{Place, Row};
use common::{PATIENCE, is_root};
use weir_policy::casefile::{self, ModelRun};
use weir_policy::manifest;
use weir_policy::model::{Cluster, Name};
use weir_testkit::cases::{self, Case, CaseStep};

/// A packet that passes a veth is at its other end within this time, on a machine that is not stopped.
const ON_THE_WAY: Duration = Duration::from_millis(20);
/// What a sidecar may use, in bytes.
const RESIDENT: u64 = 40_000_000;

#[test]
fn kernel_a_sidecar_holds_the_rows_of_its_pod_in_the_projects_own_cases() {
    hold("own/");
}

#[test]
fn kernel_a_sidecar_holds_the_rows_of_its_pod_in_the_shared_cases() {
    hold("shared/");
}

/// Plays all cases of a table, one after the other, each with a new sidecar.
fn hold(table: &str) {
    if !is_root() {
        return;
    }
    let mut place = Place::new();
    let (mut played, mut packets, mut largest) = (0, 0, 0);
    for case in cases::all() {
        if !case.name.starts_with(table) {
            continue;
        }
        let states = states(&case);
        let Some(pod) = busiest(&states) else {
            println!("{}: no row of a pod with a network of its own", case.name);
            continue;
        };
        place.give(&states[0].cluster.pods[&pod].ips);
        place.mount(&files(&case.steps[0]));
        let sidecar = place.start(&pod);
        for (number, state) in states.iter().enumerate() {
            let rows = state.rows.get(&pod).map_or(&[][..], Vec::as_slice);
            println!(
                "{} step {number}: {} packets of {pod}",
                case.name,
                rows.len()
            );
            packets += rows.len();
            if number == 0 {
                let mut volley = place.shoot(rows);
                sidecar.told(&volley);
                sleep(ON_THE_WAY);
                assert_eq!(place.wrong(&mut volley), Vec::<String>::new());
            } else {
                place.give(&state.cluster.pods[&pod].ips);
                place.mount(&files(&case.steps[number]));
                converge(&mut place, rows);
            }
            largest = largest.max(sidecar.resident());
        }
        place.end(sidecar);
        played += 1;
    }
    assert!(largest <= RESIDENT, "{largest} bytes resident");
    println!("{table}: {played} pods, {packets} packets, at most {largest} bytes resident");
}

/// Sends the rows' packets anew until all of them end as they must.
fn converge(place: &mut Place, rows: &[Row]) {
    let began = Instant::now();
    loop {
        let mut volley = place.shoot(rows);
        sleep(ON_THE_WAY);
        let wrong = place.wrong(&mut volley);
        if wrong.is_empty() {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{wrong:#?}");
    }
}

/// One state of a case, and what its rows mean for each pod.
struct State {
    cluster: Cluster,
    rows: BTreeMap<Name, Vec<Row>>,
}

fn states(case: &Case) -> Vec<State> {
    let mut model = ModelRun::default();
    let state = |step: &CaseStep| {
        let cluster = manifest::load(step.manifests.clone()).cluster;
        model.step(cluster.clone());
        let mut rows: BTreeMap<Name, Vec<Row>> = BTreeMap::new();
        for row in casefile::parse(&step.table, &step.expected).expect("a table") {
            let outcome = model.judge(&row).expect("the row's parties are there");
            assert!(outcome.passed(), "{}:{}", step.table, row.line);
            for side in outcome.sides {
                let own = &cluster.pods[&side.check.pod].ips;
                if own.contains(&side.check.query.remote) {
                    continue; // to itself: never at its eth0
                }
                rows.entry(side.check.pod.clone()).or_default().push(Row {
                    line: row.line,
                    allowed: side.judgement.allowed,
                    check: side.check,
                    rule: side.rule,
                });
            }
        }
        State { cluster, rows }
    };
    case.steps.iter().map(state).collect()
}

/// The pod with most rows, of those that are there in every state and on the same node: a pod does not move, another takes
/// its place.
fn busiest(states: &[State]) -> Option<Name> {
    let there = |name: &Name| {
        let networked = |state: &State| {
            let pod = state.cluster.pods.get(name)?;
            pod.is_networked().then(|| pod.node.clone())
        };
        let first = networked(&states[0]);
        first.is_some() && states.iter().all(|state| networked(state) == first)
    };
    let count = |name: &Name| -> usize {
        let of = |state: &State| state.rows.get(name).map_or(0, Vec::len);
        states.iter().map(of).sum()
    };
    let pods = states[0].rows.keys().filter(|name| there(name));
    pods.max_by_key(|name| count(name)).cloned()
}

fn files(step: &CaseStep) -> BTreeMap<String, String> {
    let named = |(path, text): &(String, String)| {
        let name = Path::new(path)
            .file_name()
            .expect("a file")
            .to_string_lossy();
        (name.into_owned(), text.clone())
    };
    step.manifests.iter().map(named).collect()
}
