//! What all connections of a server share.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::{Stats, faults::Faults, list::Pages, rbac::Rights, store::Store};

/// The state, and the news that it changed.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    state: Arc<Mutex<State>>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) store: Store,
    pub(super) faults: Faults,
    pub(super) stats: Stats,
    pub(super) pages: Pages,
    /// By bearer token. Empty: everybody may do everything.
    pub(super) rights: BTreeMap<String, Rights>,
}

// === impl Shared ===

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            state: Arc::default(),
            changed: watch::Sender::new(()),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic of another test thread must not hide what it said.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and lets watches look at it.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.send_replace(());
        result
    }

    /// To wait for changes.
    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

// === impl State ===

impl State {
    pub(super) fn compact(&mut self) {
        self.store.compact();
        self.pages.clear();
    }
}
