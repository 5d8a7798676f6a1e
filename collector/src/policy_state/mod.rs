//! The owner of the compiled policy: takes changes of the cluster, compiles them, saves what their numbers mean, brings
//! them into force, and names everything that records can name.
//!
//! No map is written before the first whole state is known: until then what an earlier run left stays in force. What
//! cannot be taken is said once, and the last good state stays in force.

mod catalogue;
mod claims;
mod miss;
mod modes;
mod naming;
mod twin;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::broadcast;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info};
use weir_flow::Timestamp;
use weir_policy::compile::{Change, Compiler};
use weir_policy::model::{Kind, Name, Object, ObjectChange, Pod};
use weir_policy::tables::{Tables, Update, Write};

use crate::apply::{ApplyError, Journal};
use crate::endpoints::{EndpointEvent, EndpointState, Endpoints, EndpointsError, LocalPod};
use crate::kernel::give_back_free_memory;
use crate::names::{Names, Strangers};
use crate::source::{Batch, Source};
use crate::state::{StateDir, StateError};
use crate::telemetry::{MapFill, OwnMetrics};
use catalogue::Named;
use modes::Modes;
use naming::Naming;
use twin::Twin;

pub use miss::Misses;
pub use modes::MODE_ANNOTATION;
pub use view::{PolicyInForce, PolicyReader};

/// Between two looks at how full the policy maps are, and two tries of a state that was not applied.
const TICK: Duration = Duration::from_secs(5);
/// Changes taken at once that leave so much free memory behind that it is given back: a list's, not a watch's.
const MANY: usize = 1000;

/// Why the first state is not in force.
#[derive(Debug, thiserror::Error)]
pub enum PolicyStateError {
    /// The source of the cluster's state.
    #[error("what follows the API server has ended: a defect")]
    Source,
    /// The endpoints' thread.
    #[error(transparent)]
    Endpoints(#[from] EndpointsError),
    /// The kernel's maps.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The state directory.
    #[error(transparent)]
    State(#[from] StateError),
}

/// What the owner of the policy works with.
pub struct Parts {
    /// The node to compile for.
    pub node: Arc<str>,
    /// Changes of the cluster.
    pub source: Source,
    /// The owner of the policy maps.
    pub endpoints: Endpoints,
    /// Filled here, read by the pipeline.
    pub names: Arc<Names>,
    /// Where the catalogue is kept.
    pub state: StateDir,
    /// How the collector fares.
    pub own: OwnMetrics,
    /// What is in force, for readers.
    pub reader: PolicyReader,
}

/// Whether others have been told how something is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Yes,
    NotYet,
}

/// The owner of the policy.
pub struct PolicyState {
    parts: Parts,
    compiler: Compiler,
    journal: Journal,
    named: Named,
    naming: Naming,
    /// What is in force: the compiler's state before a change that could not be applied.
    in_force: Tables,
    cluster: Twin,
    /// This node's pods.
    local: BTreeMap<Name, Arc<Pod>>,
    /// Whether the endpoints know them.
    local_pods: Told,
    modes: Modes,
    /// Namespaces whose living flows are to be judged again, because of their new mode.
    rejudged: BTreeSet<Arc<str>>,
    /// When the last changes were known.
    news: Instant,
    /// The kernel's policy epoch.
    epoch: u32,
    /// The compiled state that is not in force.
    is_behind: bool,
}

impl PolicyState {
    /// Takes over what an earlier run left in the kernel and on disk.
    ///
    /// # Errors
    /// [`PolicyStateError::State`] if the catalogue cannot be read.
    pub fn open(parts: Parts) -> Result<Self, PolicyStateError> {
        let (journal, restored) = Journal::open(&parts.state)?;
        let epoch = parts.endpoints.adopted_epoch;
        let named = Named::all(&parts.names, &restored.catalogue, &restored.revisions);
        let mut in_force = Tables::clone(&parts.endpoints.adopted);
        let known = restored.revisions.get(epoch);
        in_force.revision = known.unwrap_or(restored.last_revision);
        let mut compiler = Compiler::new(parts.node.clone(), restored.catalogue);
        compiler.adopt(in_force.clone());
        let mut naming = Naming::new(parts.names.clone(), parts.node.clone());
        naming.endpoints(&parts.endpoints.view);
        parts.names.set_strangers(Strangers::Unknown);
        Ok(Self {
            parts,
            compiler,
            journal,
            named,
            naming,
            in_force,
            cluster: Twin::default(),
            local: BTreeMap::new(),
            news: Instant::now(),
            local_pods: Told::NotYet,
            modes: Modes::default(),
            rejudged: BTreeSet::new(),
            epoch,
            is_behind: false,
        })
    }

    /// Waits for the first state and brings it into force.
    ///
    /// # Errors
    /// [`PolicyStateError`]; what an earlier run left stays in force.
    pub async fn start(&mut self) -> Result<(), PolicyStateError> {
        let first = self.parts.source.next().await;
        let Batch {
            changes, refused, ..
        } = first.ok_or(PolicyStateError::Source)?;
        self.note_refused(refused);
        let local = self.local_addresses();
        self.naming.own(&local, now());
        let mut changes = self.take(changes);
        self.parts.names.set_strangers(Strangers::World);
        changes.push(Change::LocalAddresses((*local).clone()));
        self.bring_into_force(changes).await?;
        give_back_free_memory();
        let policies = self.cluster.get().policies.len();
        info!(
            revision = self.compiler.tables().revision,
            policies, "the policies are in force"
        );
        Ok(())
    }

    /// Follows changes until `shutdown`, or until a part that it works with has ended.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut events = self.parts.endpoints.events();
        let mut local = self.parts.endpoints.local_addresses.clone();
        local.mark_changed();
        self.naming.endpoints(&self.parts.endpoints.view);
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                batch = self.parts.source.next() => match batch {
                    Some(batch) => self.on_batch(batch).await,
                    None => return error!("{}", PolicyStateError::Source),
                },
                event = events.recv() => if !self.on_event(event) { return },
                changed = local.changed() => match changed {
                    Ok(()) => self.on_addresses().await,
                    Err(_) => return, // the endpoints' thread has ended
                },
                _ = tick.tick() => self.on_tick().await,
            }
        }
    }

    async fn on_batch(&mut self, batch: Batch) {
        self.note_refused(batch.refused);
        self.news = batch.since;
        if batch.changes.is_empty() {
            return;
        }
        let kinds = batch.changes.iter().map(|change| change.subject().0);
        let policies = kinds.filter(|kind| *kind == Kind::NetworkPolicy).count();
        let changes = self.take(batch.changes);
        let many = changes.len() >= MANY;
        self.try_bring_into_force(changes).await;
        if many {
            give_back_free_memory();
        }
        if self.is_unfinished() {
            return;
        }
        let elapsed = batch.since.elapsed();
        let seconds = elapsed.as_secs_f64();
        self.parts.own.change_seconds.observe(seconds);
        if policies > 0 {
            let revision = self.compiler.tables().revision;
            info!(
                revision,
                policies,
                ?elapsed,
                "changed policies are in force"
            );
        }
    }

    /// Takes changes of objects into the cluster and the names.
    fn take(&mut self, changes: Vec<ObjectChange>) -> Vec<Change> {
        let now = now();
        for change in &changes {
            let (kind, name) = change.subject();
            let old = self.cluster.get().get(kind, &name);
            self.naming.change(old.as_ref(), change.object(), now);
            if kind == Kind::Pod {
                self.take_local(name, change);
            } else if let Some(namespace) = self.modes.take(change) {
                self.local_pods = Told::NotYet;
                self.rejudged.insert(namespace);
            }
        }
        if self.local_pods == Told::NotYet {
            self.naming.endpoints(&self.parts.endpoints.view);
        }
        self.cluster.apply(&changes);
        changes.into_iter().map(Change::from).collect()
    }

    fn take_local(&mut self, name: Name, change: &ObjectChange) {
        let before = match change {
            ObjectChange::Upsert(Object::Pod(pod)) if pod.node == self.parts.node => {
                self.local.insert(name, pod.clone()).as_ref() != Some(pod)
            }
            _ => self.local.remove(&name).is_some(),
        };
        if before {
            self.local_pods = Told::NotYet;
        }
    }

    /// Has readers see what is refused.
    fn note_refused(&self, refused: Option<Arc<str>>) {
        let reader = &self.parts.reader;
        if reader.get().refused == refused {
            return;
        }
        if refused.is_some() {
            self.parts.own.policy_errors.inc();
        }
        reader.change(|state| state.refused.clone_from(&refused));
    }

    /// False if the endpoints' thread has ended.
    fn on_event(&mut self, event: Result<EndpointEvent, broadcast::error::RecvError>) -> bool {
        // What happened matters less than what there is: a receiver that lagged behind reads the same view.
        if matches!(event, Err(broadcast::error::RecvError::Closed)) {
            return false;
        }
        self.naming.endpoints(&self.parts.endpoints.view);
        true
    }

    async fn on_addresses(&mut self) {
        let local = self.local_addresses();
        self.naming.own(&local, now());
        self.try_bring_into_force(vec![Change::LocalAddresses((*local).clone())])
            .await;
    }

    async fn on_tick(&mut self) {
        if self.is_unfinished() {
            self.try_bring_into_force(Vec::new()).await;
        }
        self.naming.endpoints(&self.parts.endpoints.view);
        self.count_endpoints();
        if let Ok(fill) = self.parts.endpoints.fill().await {
            for (map, (used, capacity)) in &fill {
                let (used, capacity) = (u64::from(*used), u64::from(*capacity));
                self.parts.own.set_map(MapFill {
                    map,
                    used,
                    capacity,
                });
            }
            self.parts
                .reader
                .change(|state| state.maps.clone_from(&fill));
        }
    }

    fn count_endpoints(&self) {
        let all = self.parts.endpoints.view.all();
        for state in EndpointState::ALL {
            let count = all
                .iter()
                .filter(|endpoint| endpoint.state == state)
                .count();
            let name = state.as_str();
            self.parts.own.set_endpoints(name, count);
        }
    }

    fn local_addresses(&self) -> Arc<BTreeSet<IpAddr>> {
        self.parts.endpoints.local_addresses.borrow().clone()
    }

    /// The same as [`Self::bring_into_force`], where what fails is said once and tried again.
    async fn try_bring_into_force(&mut self, changes: Vec<Change>) {
        match self.bring_into_force(changes).await {
            Ok(()) => {
                if self.parts.reader.get().policy_error.is_some() {
                    info!("the last good state was replaced");
                    self.parts.reader.change(|state| state.policy_error = None);
                }
            }
            Err(problem) => {
                let text: Arc<str> = problem.to_string().into();
                if self.parts.reader.get().policy_error.as_ref() != Some(&text) {
                    error!("{text}");
                    self.parts.own.policy_errors.inc();
                    self.parts
                        .reader
                        .change(|state| state.policy_error = Some(text.clone()));
                }
            }
        }
    }

    /// Whether anything that is known is not in force: the compiled state, this node's pods, or a mode.
    fn is_unfinished(&self) -> bool {
        self.is_behind || self.local_pods == Told::NotYet || !self.rejudged.is_empty()
    }

    /// Compiles, saves, applies, in this order. What fails leaves the kernel as it was, and is tried again.
    async fn bring_into_force(&mut self, changes: Vec<Change>) -> Result<(), PolicyStateError> {
        let update = self.compiler.apply(changes);
        let result = if update.is_empty() {
            Ok(())
        } else {
            self.apply(update).await
        };
        self.is_behind = result.is_err();
        if result.is_err() {
            self.compiler.adopt(self.in_force.clone());
            return result;
        }
        if self.local_pods == Told::NotYet {
            let pods = LocalPod::of(self.local.values(), |namespace| self.modes.of(namespace));
            self.parts.endpoints.set_pods(pods, self.news).await?;
            self.local_pods = Told::Yes;
        }
        self.rejudge().await?;
        self.publish();
        Ok(())
    }

    /// A new epoch where modes have changed: verdicts of living flows are those of the old mode.
    async fn rejudge(&mut self) -> Result<(), PolicyStateError> {
        let namespaces = &self.rejudged;
        let endpoints = self.in_force.endpoints.iter();
        let concerned = endpoints.filter(|(pod, _)| namespaces.contains(&pod.namespace));
        let switch: Vec<Write> = concerned
            .map(|(pod, sets)| Write::Endpoint(pod.clone(), *sets))
            .collect();
        if !switch.is_empty() {
            let revision = self.in_force.revision;
            self.apply(Update {
                revision,
                switch,
                ..Update::default()
            })
            .await?;
        }
        self.rejudged.clear();
        Ok(())
    }

    async fn apply(&mut self, update: Update) -> Result<(), PolicyStateError> {
        let began = Instant::now();
        let revision = update.revision;
        catalogue::prune(&mut self.compiler);
        let catalogue = self.compiler.catalogue();
        self.journal.record(catalogue, revision)?;
        self.named.next(
            &self.parts.names,
            catalogue,
            self.epoch.wrapping_add(1),
            revision,
        );
        let applied = self.parts.endpoints.apply(update.clone()).await??;
        update.writes().for_each(|write| self.in_force.apply(write));
        self.in_force.revision = revision;
        if applied.epoch == self.epoch {
            // Only what nothing refers to any more went: no verdict bears the next epoch.
            return Ok(());
        }
        self.epoch = applied.epoch;
        self.journal.in_force(applied.epoch, revision)?;
        self.parts
            .own
            .apply_seconds
            .observe(began.elapsed().as_secs_f64());
        self.parts
            .own
            .policy_revision
            .set(i64::try_from(revision).unwrap_or(i64::MAX));
        let (epoch, writes) = (applied.epoch, applied.writes);
        debug!(revision, epoch, writes, "applied");
        Ok(())
    }

    fn publish(&self) {
        let Tables {
            revision,
            endpoints,
            ..
        } = self.compiler.tables();
        let now = now();
        self.parts.reader.change(|state| {
            if state.revision != *revision {
                state.applied = now;
            }
            state.revision = *revision;
            state.epoch = self.epoch;
            state.cluster = self.cluster.snapshot();
            state.sets = endpoints.clone();
        });
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Timestamp(since.map_or(0, |since| since.as_nanos() as i64))
}
