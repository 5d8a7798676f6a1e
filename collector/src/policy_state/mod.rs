//! The owner of the compiled policy: takes states of the cluster, compiles them, saves what their numbers mean, brings
//! them into force, and names everything that records can name.
//!
//! No map is written before the first whole state is known: until then what an earlier run left stays in force. A state
//! that cannot be taken is said once, and the last good one stays in force.

mod catalogue;
mod manifests;
mod miss;
mod naming;
mod view;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::broadcast;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use weir_flow::{Mode, Timestamp};
use weir_policy::compile::{Change, Compiler};
use weir_policy::model::Cluster;
use weir_policy::tables::{Tables, Update};

use crate::apply::{ApplyError, Journal};
use crate::config::Scope;
use crate::endpoints::{EndpointEvent, EndpointState, Endpoints, EndpointsError, LocalPod};
use crate::names::Names;
use crate::source::DirError;
use crate::state::{StateDir, StateError};
use crate::telemetry::{MapFill, OwnMetrics};
use catalogue::Named;
use manifests::Manifests;
use naming::Naming;

pub use manifests::Refusal;
pub use miss::Misses;
pub use view::{PolicyInForce, PolicyReader};

/// Between two looks at how full the policy maps are, and two tries of a state that was not applied.
const TICK: Duration = Duration::from_secs(5);

/// Why the first state is not in force.
#[derive(Debug, thiserror::Error)]
pub enum PolicyStateError {
    /// The manifests.
    #[error("{0}")]
    Manifests(#[from] Refusal),
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

/// A good first state of the manifests, and the watch for the next ones.
pub struct Source {
    manifests: Manifests,
    cluster: Cluster,
}

impl Source {
    /// Reads the manifests for the first time.
    ///
    /// # Errors
    /// [`Refusal`] names file, line and column of what is wrong.
    pub fn open(path: &Path) -> Result<Self, Refusal> {
        let mut manifests = Manifests::watch(path)?;
        let cluster = manifests.read()?.unwrap_or_default();
        Ok(Self { manifests, cluster })
    }

    /// The node whose policies a scope needs: in sidecar mode the pod's own.
    pub fn node(&self, scope: &Scope, node: &Arc<str>) -> Arc<str> {
        let Scope::Sidecar { pod, .. } = scope else {
            return node.clone();
        };
        match self.cluster.pods.get(pod) {
            Some(pod) if !pod.node.is_empty() => pod.node.clone(),
            Some(_) => node.clone(),
            None => {
                warn!(%pod, "the sidecar's pod is in no manifest: it stays pending until it is");
                node.clone()
            }
        }
    }
}

/// What the owner of the policy works with.
pub struct Parts {
    /// The node to compile for.
    pub node: Arc<str>,
    /// What is done with denied traffic.
    pub mode: Mode,
    /// States of the cluster.
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

/// The owner of the policy.
pub struct PolicyState {
    parts: Parts,
    compiler: Compiler,
    journal: Journal,
    named: Named,
    naming: Naming,
    /// What is in force: the compiler's state before a change that could not be applied.
    in_force: Tables,
    cluster: Arc<Cluster>,
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
    pub fn open(mut parts: Parts) -> Result<Self, PolicyStateError> {
        let (journal, restored) = Journal::open(&parts.state)?;
        let epoch = parts.endpoints.adopted_epoch;
        let named = Named::all(&parts.names, &restored.catalogue, &restored.revisions);
        let mut in_force = Tables::clone(&parts.endpoints.adopted);
        let known = restored.revisions.get(&epoch).copied();
        in_force.revision = known.unwrap_or(restored.last_revision);
        let mut compiler = Compiler::new(parts.node.clone(), restored.catalogue);
        compiler.adopt(in_force.clone());
        let naming = Naming::new(parts.names.clone(), parts.node.clone(), parts.mode);
        let cluster = Arc::new(std::mem::take(&mut parts.source.cluster));
        Ok(Self {
            parts,
            compiler,
            journal,
            named,
            naming,
            in_force,
            cluster,
            epoch,
            is_behind: false,
        })
    }

    /// Brings the first state into force.
    ///
    /// # Errors
    /// [`PolicyStateError`]; what an earlier run left stays in force.
    pub async fn start(&mut self) -> Result<(), PolicyStateError> {
        let local = self.local_addresses();
        self.rename(&local);
        let changes = vec![
            Change::LocalAddresses((*local).clone()),
            Change::Replace((*self.cluster).clone()),
        ];
        self.bring_into_force(changes).await?;
        let policies = self.cluster.policies.len();
        info!(
            revision = self.compiler.tables().revision,
            policies, "the policies are in force"
        );
        Ok(())
    }

    /// Follows changes until `shutdown`.
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
                () = self.parts.source.manifests.changed() => self.on_manifests().await,
                event = events.recv() => if !self.on_event(event) { return },
                changed = local.changed() => match changed {
                    Ok(()) => self.on_addresses().await,
                    Err(_) => return, // the endpoints' thread has ended
                },
                _ = tick.tick() => self.on_tick().await,
            }
        }
    }

    async fn on_manifests(&mut self) {
        match self.parts.source.manifests.read() {
            Ok(None) => {}
            Ok(Some(cluster)) => {
                self.parts
                    .reader
                    .change(|state| state.manifest_error = None);
                self.cluster = Arc::new(cluster);
                let local = self.local_addresses();
                self.rename(&local);
                let change = Change::Replace((*self.cluster).clone());
                self.try_bring_into_force(vec![change]).await;
            }
            Err(refusal) => self.refuse(&refusal),
        }
    }

    /// Says once that manifests are not taken.
    fn refuse(&self, refusal: &Refusal) {
        let text: Arc<str> = refusal.to_string().into();
        if self.parts.reader.get().manifest_error.as_ref() == Some(&text) {
            return;
        }
        error!("manifests refused, the last good state stays in force: {text}");
        self.parts.own.policy_errors.inc();
        self.parts
            .reader
            .change(|state| state.manifest_error = Some(text.clone()));
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
        self.rename(&local);
        self.try_bring_into_force(vec![Change::LocalAddresses((*local).clone())])
            .await;
    }

    async fn on_tick(&mut self) {
        if self.is_behind {
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

    fn rename(&mut self, local: &BTreeSet<IpAddr>) {
        self.naming.cluster(&self.cluster, local, now());
        self.naming.endpoints(&self.parts.endpoints.view);
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
        let pods = LocalPod::of_node(&self.cluster, &self.parts.node);
        self.parts.endpoints.set_pods(pods).await?;
        self.publish();
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
        info!(
            revision,
            epoch = applied.epoch,
            writes = applied.writes,
            "applied"
        );
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
            state.cluster = self.cluster.clone();
            state.sets = endpoints.clone();
        });
    }
}

impl From<DirError> for PolicyStateError {
    fn from(error: DirError) -> Self {
        Self::Manifests(error.into())
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Timestamp(since.map_or(0, |since| since.as_nanos() as i64))
}
