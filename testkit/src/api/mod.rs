//! A Kubernetes API server for tests: real HTTP on a loopback port, real objects, and faults on demand.
//!
//! It keeps objects as etcd does (one version counts all changes, and the past can be watched until it is compacted), answers
//! lists, watches and changes as the API's conventions say, and enforces RBAC. What no controller does here is not done: pods
//! are not scheduled, owners do not delete what they own, a namespace is deleted without what is in it.
//! Objects are not validated.
//!
//! ```no_run
//! use serde_json::json;
//! use weir_testkit::api::{ApiServer, Cut, Resource};
//!
//! # fn main() -> Result<(), weir_testkit::api::ApiError> {
//! let api = ApiServer::start()?;
//! api.apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}))?;
//! std::fs::write("kubeconfig", ApiServer::kubeconfig(api.address(), None)).expect("a writable directory");
//! // … a client with this kubeconfig watches …
//! api.cut_watches(Cut::InsideLine);
//! api.delete(Resource::Namespaces, "", "shop")?;
//! # Ok(())
//! # }
//! ```
//!
//! Reference: <https://kubernetes.io/docs/reference/using-api/api-concepts/>.

mod discovery;
mod door;
mod error;
mod faults;
mod list;
mod object;
mod objects;
mod rbac;
mod refusal;
mod request;
mod resource;
mod selector;
mod server;
mod state;
mod stats;
mod store;
mod watch;
mod write;
mod yaml;

use std::{
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::Router;
use tokio::runtime::Runtime;

use self::{door::Door, state::Shared};
use crate::NetNs;

pub use error::ApiError;
pub use faults::{
    Bookmarks, Cut, Delivery, FutureVersions, Outage, Restart, Settings, StreamedLists, WatchErrors,
};
pub use rbac::Rights;
pub use resource::{Resource, Scope};
pub use stats::{RefusedRequest, Stats, Verb};
pub use store::Backup;

/// How often a waiting test looks.
const LOOK: Duration = Duration::from_millis(2);

/// A running API server. It ends when the value is dropped. Its methods do not need an async runtime, and do not disturb one.
#[derive(Debug)]
pub struct ApiServer {
    shared: Shared,
    router: Router,
    /// The first is on the test's own loopback.
    doors: Mutex<Vec<Door>>,
    /// Always there until the end.
    runtime: Option<Runtime>,
}

// === impl ApiServer ===

impl ApiServer {
    /// Starts one without objects, on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// No port or thread is to be had.
    pub fn start() -> Result<Self, ApiError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("api-server")
            .enable_all()
            .build()
            .map_err(ApiError::io("start", "the API server's thread"))?;
        let shared = Shared::new();
        let server = Self {
            router: server::router(shared.clone()),
            shared,
            doors: Mutex::default(),
            runtime: Some(runtime),
        };
        server.listen(None)?;
        Ok(server)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.doors()[0].address()
    }

    /// Listens in another network namespace too, on a free port of 127.0.0.1 there.
    ///
    /// # Errors
    /// The namespace cannot be entered, or no port is to be had.
    pub fn listen_in(&self, netns: &NetNs) -> Result<SocketAddr, ApiError> {
        self.listen(Some(netns.clone()))
    }

    /// A kubeconfig for an address of this server. Without a token the client is `system:anonymous`.
    pub fn kubeconfig(address: SocketAddr, token: Option<&str>) -> String {
        let user = match token {
            Some(token) => format!("{{token: {token:?}}}"),
            None => "{}".to_owned(),
        };
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: weir-testkit\n\
             clusters: [{{name: weir-testkit, cluster: {{server: \"http://{address}\"}}}}]\n\
             users: [{{name: weir-testkit, user: {user}}}]\n\
             contexts: [{{name: weir-testkit, context: {{cluster: weir-testkit, user: weir-testkit}}}}]\n"
        )
    }

    /// Lets a bearer token do what these rights allow. From the first one on, nobody may do anything else: other tokens are
    /// unauthorized (401), and what is not allowed is forbidden (403).
    pub fn authorize(&self, token: &str, rights: Rights) {
        let token = token.to_owned();
        self.shared
            .change(|state| state.rights.insert(token, rights));
    }

    /// What it has seen so far.
    pub fn stats(&self) -> Stats {
        self.shared.lock().stats.clone()
    }

    /// Counts from nothing again.
    pub fn reset_stats(&self) {
        self.shared.change(|state| state.stats.reset());
    }

    /// Waits until it has seen what is looked for. Blocks the thread; see [`ApiServer::seen`].
    ///
    /// # Errors
    /// [`ApiError::Waited`] if `patience` ends before.
    pub fn wait(
        &self,
        patience: Duration,
        is_there: impl Fn(&Stats) -> bool,
    ) -> Result<Stats, ApiError> {
        let begin = Instant::now();
        loop {
            if let Some(result) = self.look(begin, patience, &is_there) {
                return result;
            }
            std::thread::sleep(LOOK);
        }
    }

    /// As [`ApiServer::wait`], for tests that have a runtime.
    ///
    /// # Errors
    /// [`ApiError::Waited`] if `patience` ends before.
    pub async fn seen(
        &self,
        patience: Duration,
        is_there: impl Fn(&Stats) -> bool,
    ) -> Result<Stats, ApiError> {
        let begin = Instant::now();
        loop {
            if let Some(result) = self.look(begin, patience, &is_there) {
                return result;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn look(
        &self,
        begin: Instant,
        patience: Duration,
        is_there: impl Fn(&Stats) -> bool,
    ) -> Option<Result<Stats, ApiError>> {
        let stats = self.stats();
        if is_there(&stats) {
            return Some(Ok(stats));
        }
        let is_over = begin.elapsed() > patience;
        is_over.then(|| {
            Err(ApiError::Waited {
                waited: patience,
                stats: Box::new(stats),
            })
        })
    }

    fn listen(&self, place: Option<NetNs>) -> Result<SocketAddr, ApiError> {
        let mut door = Door::new(place)?;
        let address = door.address();
        // During an outage it opens with the others.
        if self.shared.lock().faults.outage != Some(Outage::Refused) {
            self.open_one(&mut door)?;
        }
        self.doors().push(door);
        Ok(address)
    }

    fn open(&self) -> Result<(), ApiError> {
        let mut doors = self.doors();
        doors.iter_mut().try_for_each(|door| self.open_one(door))
    }

    fn open_one(&self, door: &mut Door) -> Result<(), ApiError> {
        match &self.runtime {
            Some(runtime) => door.open(runtime.handle(), &self.router),
            None => Ok(()),
        }
    }

    fn close(&self) {
        self.doors().iter_mut().for_each(Door::close);
    }

    fn doors(&self) -> MutexGuard<'_, Vec<Door>> {
        self.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.close();
        if let Some(runtime) = self.runtime.take() {
            // Not waiting: the test may be in a runtime of its own.
            runtime.shutdown_background();
        }
    }
}
