//! A Kubernetes API server, followed: one watch for each kind, an index of what Weir reads of the objects, and batches of
//! changes for the owner of the policy.
//!
//! ```text
//!  watch ─▶ prune ─▶ index ─▶ hub ─▶ batches
//!  (one for each kind)         │ ▲
//!                     new pods └─┘ held until a consistent read says that policies and namespaces are known
//! ```
//!
//! Nothing is handed on before all first lists are complete: until then what is in the kernel stays in force, through an
//! outage of the API server too. What cannot be taken is refused by itself; its last good version stays in force.

mod backoff;
mod connect;
mod fresh;
mod held;
mod hub;
mod index;
mod intern;
mod kinds;
mod prune;
mod refusal;
mod rights;
mod watch;
mod wire;

use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::Client;
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep_until};
use tracing::{error, warn};
use weir_policy::model::Kind;

use self::fresh::Answer;
use self::hub::Hub;
use self::kinds::{PODS, RESOURCES};
use self::refusal::Reporter;
use self::watch::{Told, Watch};
use super::Batch;
use crate::state::{StateDir, StateError};
use crate::telemetry::OwnMetrics;

pub use connect::{ConnectError, connect};
pub use rights::{Right, rights};

/// The last good versions of policies that are refused, in the state directory.
const KEPT: &str = "refused-policies.json";
/// News that the watches may be ahead.
const NEWS: usize = 1024;
/// News taken at once.
const AT_ONCE: usize = 256;
/// Changes that come within this time are handed on as one batch.
const TOGETHER: Duration = Duration::from_millis(15);
/// Between two looks at pods that are kept back.
const LOOK: Duration = Duration::from_millis(100);
/// Questions about namespaces that are asked at the same time.
const QUESTIONS: usize = 4;

/// A source that follows an API server.
pub struct KubeSource {
    batches: mpsc::Receiver<Batch>,
    /// Everything that works for it ends with it.
    _tasks: JoinSet<()>,
}

impl KubeSource {
    /// Begins to follow. `node`: whose pods wait for their policies.
    ///
    /// # Errors
    /// [`StateError`] if what an earlier run kept cannot be read.
    pub fn start(
        client: Client,
        node: Arc<str>,
        own: OwnMetrics,
        state: StateDir,
    ) -> Result<Self, StateError> {
        let kept: Vec<Value> = state.load(KEPT)?.unwrap_or_default();
        let (sender, news) = mpsc::channel(NEWS);
        let mut tasks = JoinSet::new();
        let pods = Watch::new(client.clone(), &PODS, sender.clone(), own.clone());
        let pods_listed = pods.listed();
        tasks.spawn(pods.run());
        for resource in RESOURCES {
            let watch = Watch::new(client.clone(), resource, sender.clone(), own.clone());
            let mut pods_listed = pods_listed.clone();
            match resource.kind {
                Kind::Pod => {}
                // After the pods, so that they are at least as new as every pod of the first list.
                Kind::Namespace | Kind::NetworkPolicy => drop(tasks.spawn(async move {
                    if pods_listed.wait_for(|listed| *listed).await.is_ok() {
                        watch.run().await;
                    }
                })),
                _ => drop(tasks.spawn(watch.run())),
            }
        }
        let (batches, receiver) = mpsc::channel(1);
        let follower = Follower {
            hub: Hub::new(node.clone(), &kept),
            reporter: Reporter::start(client.clone(), node.to_string()),
            client,
            own,
            state,
            slots: Arc::new(Semaphore::new(QUESTIONS)),
            answers: mpsc::channel(NEWS),
        };
        tasks.spawn(follower.run(news, batches));
        Ok(Self {
            batches: receiver,
            _tasks: tasks,
        })
    }

    /// The next changes. The first ones are all objects of the cluster. None if following has come to an end, which is a
    /// defect.
    pub async fn next(&mut self) -> Option<Batch> {
        self.batches.recv().await
    }
}

/// A namespace, the question's number, and the answer if there was one.
type Answered = (Arc<str>, u64, Option<Answer>);

struct Follower {
    hub: Hub,
    client: Client,
    reporter: Reporter,
    own: OwnMetrics,
    state: StateDir,
    slots: Arc<Semaphore>,
    answers: (mpsc::Sender<Answered>, mpsc::Receiver<Answered>),
}

impl Follower {
    async fn run(mut self, mut news: mpsc::Receiver<Told>, batches: mpsc::Sender<Batch>) {
        let mut told = Vec::with_capacity(AT_ONCE);
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let since = self.hub.waiting_since();
            let due = async {
                let since = since.unwrap_or_else(Instant::now);
                sleep_until((since + TOGETHER).into()).await;
                batches.reserve().await
            };
            tokio::select! {
                count = news.recv_many(&mut told, AT_ONCE) => {
                    if count == 0 {
                        return;
                    }
                    told.drain(..).for_each(|told| self.take(told));
                    self.keep();
                    self.ask();
                }
                permit = due, if since.is_some() => match permit {
                    Ok(permit) => permit.send(self.hub.batch(Instant::now())),
                    Err(_) => return,
                },
                Some((namespace, number, answer)) = self.answers.1.recv() => {
                    self.hub.answered((&namespace, number), answer, Instant::now());
                    self.ask();
                }
                _ = look.tick(), if self.hub.held() > 0 => self.ask(),
            }
        }
    }

    fn take(&mut self, told: Told) {
        if let Some(refused) = self.hub.take(told, Instant::now()) {
            self.own.refused(refused.kind);
            if refused.kind == Kind::NetworkPolicy {
                self.reporter.report(refused);
            }
        }
    }

    /// Keeps the last good versions of refused policies for a later run.
    fn keep(&mut self) {
        if let Some(kept) = self.hub.kept()
            && let Err(error) = self.state.save_bytes(KEPT, kept.as_bytes())
        {
            error!(%error, "after a restart refused policies will have no effect");
        }
    }

    /// Asks about the namespaces of pods that are kept back.
    fn ask(&mut self) {
        self.own.set_pods_held(self.hub.held());
        for (namespace, number) in self.hub.questions(Instant::now()) {
            let (client, slots) = (self.client.clone(), self.slots.clone());
            let answers = self.answers.0.clone();
            tokio::spawn(async move {
                let _slot = slots.acquire().await;
                let answer = fresh::ask(&client, namespace.clone()).await;
                let answer = answer.inspect_err(|error| {
                    warn!(%namespace, %error, "cannot tell whether a new pod's policies are known: it stays pending");
                });
                // Nobody listens at the end only.
                answers.send((namespace, number, answer.ok())).await.ok();
            });
        }
    }
}
