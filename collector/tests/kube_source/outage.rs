//! An outage of five minutes, by a clock that is advanced: what the source waits for passes faster than it is lived
//! through, everything on the wire is real.

use std::time::Duration;

use tokio::time::{self, Instant};
use weir_testkit::api::{Outage, Restart};

use crate::enforcement::Node;
use crate::schedule::{Changing, Schedule};
use crate::support::{KINDS, PATIENCE, api, cluster};

const SEEDS: u64 = 12;
const OUTAGE: Duration = Duration::from_secs(5 * 60);
/// So much passes at once, so that every delay of the source's back-off ends within the outage...
const STEP: Duration = Duration::from_secs(1);
/// ...and there is real time for what it tries then.
const REAL: Duration = Duration::from_millis(5);

/// So often may one kind be asked for in an outage: nine times until half a minute lies between two tries, which is cut by up
/// to a half at random, and the first of these again after the restart.
const TRIES: u64 = 40;

/// How the API server comes back.
#[derive(Clone, Copy, Debug)]
enum Return {
    /// With all that it had.
    AsItWas,
    /// Without what watches could go on from (410 Gone).
    Compacted,
    /// As another process without a history.
    HistoryLost,
}

async fn step(node: &mut Node) {
    time::pause();
    time::advance(STEP).await;
    time::resume();
    node.take_until(Instant::now() + REAL, |_| false).await;
}

async fn run(seed: u64) {
    let api = api();
    let mut schedule = Schedule {
        api: &api,
        random: fastrand::Rng::with_seed(seed),
    };
    schedule.begin();
    let mut node = Node::start(&api, seed).await;
    node.converges(&api).await;
    let changing = Changing::of(schedule.random.usize(..4));
    let outage = [Outage::Refused, Outage::Unavailable][schedule.random.usize(..2)];
    let back = [Return::AsItWas, Return::Compacted, Return::HistoryLost];
    let back = back[schedule.random.usize(..3)];
    node.what = format!("seed {seed} {changing:?} {outage:?} {back:?}");

    api.start_outage(outage);
    let steps = OUTAGE.as_secs() / STEP.as_secs();
    let restarted_at = schedule.random.u64(..steps);
    for second in 0..steps {
        if schedule.random.usize(..20) == 0 {
            schedule.change(changing, || node.note(&api));
        }
        if second == restarted_at {
            node.restart(&api).await;
        }
        step(&mut node).await;
    }
    let asked = api.stats().unavailable();
    let most = TRIES * KINDS.len() as u64;
    assert!(asked <= most, "{}: asked {asked} times", node.what);
    match back {
        Return::AsItWas => {}
        Return::Compacted => api.compact(),
        Return::HistoryLost => api.restart(Restart::HistoryLost).expect("up"),
    }
    schedule.repair(0);
    // It may have to wait for as long as its longest delay.
    let (began, expected) = (std::time::Instant::now(), cluster(&api));
    while !node.knows(&expected) && began.elapsed() < PATIENCE {
        step(&mut node).await;
    }
    node.converges(&api).await;
}

#[tokio::test(flavor = "current_thread")]
async fn after_five_minutes_without_the_api_nothing_was_open_and_all_is_as_after_a_fresh_start() {
    for seed in 0..SEEDS {
        run(seed).await;
    }
}
