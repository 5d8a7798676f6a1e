//! What can be made to go wrong, and what older servers do differently. Everything can be switched while the server runs.

use std::{collections::BTreeSet, time::Duration};

use super::{ApiError, ApiServer, Backup, Resource};

/// How the server behaves from now on. The default is a current Kubernetes without faults.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Lists as the beginning of a watch.
    pub streamed_lists: StreamedLists,
    /// When bookmarks are sent to those who asked for them.
    pub bookmarks: Bookmarks,
    /// How a watch that cannot begin is refused.
    pub watch_errors: WatchErrors,
    /// What becomes of a watch from a version that is still to come.
    pub future_versions: FutureVersions,
    /// How often each event is sent.
    pub delivery: Delivery,
    /// A pause before each event of each watch.
    pub event_delay: Duration,
}

/// What the server does about `sendInitialEvents`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamedLists {
    /// As in 1.34 and later, and in 1.32.
    Supported,
    /// 422, as in 1.27 and later where the feature gate `WatchList` is off.
    Refused,
    /// Before 1.27: a plain watch, whose initial events have no marked end.
    Unknown,
}

/// When bookmarks are sent. The one that ends a streamed list always is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bookmarks {
    /// So often, and when a watch reaches its `timeoutSeconds`. The real server: about once a minute.
    Every(Duration),
    /// When [`ApiServer::send_bookmarks`] is called.
    OnDemand,
}

/// How a watch is refused whose version is too old or too new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchErrors {
    /// 200 and an event of type ERROR, as the server's watch cache does.
    AsEvent,
    /// By the code of the answer, as a server or proxy in front may do.
    AsStatus,
}

/// What becomes of a watch from a version that the server has not come to: its clients know more than it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FutureVersions {
    /// Nothing is sent until the version is passed, as the server's watch cache does.
    Awaited,
    /// 504 `Too large resource version`.
    Refused,
}

/// How often each event is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// As it should be.
    Once,
    /// Each event is followed by itself.
    Twice,
}

/// How the answer to a watch ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// After a whole line, as if its time had come.
    BetweenLines,
    /// Half a line is sent, and the connection breaks.
    InsideLine,
    /// Half a line is sent, and the answer ends properly, as behind some proxies.
    InsideLineAsIfComplete,
}

/// How the server is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// Connections are broken and new ones refused.
    Refused,
    /// Every request is answered by 503, and watches end.
    Unavailable,
}

/// What the server knows after a restart.
#[derive(Clone, Debug)]
pub enum Restart {
    /// All it knew; watches go on where they were.
    Unharmed,
    /// The objects, but nothing of how they came to be: versions go on far ahead, and every older one is gone (410).
    HistoryLost,
    /// What it knew at an earlier moment. Versions go back too, and are given out again for other changes.
    RolledBack(Backup),
}

/// What running watches are told to do; each does it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Signals {
    /// Counts [`ApiServer::cut_watches`].
    pub(super) cuts: u64,
    /// Counts [`ApiServer::cut_watches_at_next_event`].
    pub(super) cuts_at_event: u64,
    /// Counts [`ApiServer::expire_watches`].
    pub(super) expiries: u64,
    /// Counts [`ApiServer::send_bookmarks`].
    pub(super) bookmarks: u64,
    /// How the last cut is to be done.
    pub(super) cut: Cut,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    pub(super) settings: Settings,
    pub(super) signals: Signals,
    pub(super) held: BTreeSet<Resource>,
    pub(super) outage: Option<Outage>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            streamed_lists: StreamedLists::Supported,
            bookmarks: Bookmarks::Every(Duration::from_secs(60)),
            watch_errors: WatchErrors::AsEvent,
            future_versions: FutureVersions::Awaited,
            delivery: Delivery::Once,
            event_delay: Duration::ZERO,
        }
    }
}

impl Default for Signals {
    fn default() -> Self {
        Self {
            cuts: 0,
            cuts_at_event: 0,
            expiries: 0,
            bookmarks: 0,
            cut: Cut::BetweenLines,
        }
    }
}

// === impl ApiServer ===

impl ApiServer {
    /// Changes how the server behaves, for running watches too.
    pub fn configure(&self, change: impl FnOnce(&mut Settings)) {
        self.shared
            .change(|state| change(&mut state.faults.settings));
    }

    /// Ends every running watch now.
    pub fn cut_watches(&self, cut: Cut) {
        self.signal(|signals| {
            signals.cuts += 1;
            signals.cut = cut;
        });
    }

    /// Ends every running watch instead of sending its next event: that one, or half of it, is its last.
    pub fn cut_watches_at_next_event(&self, cut: Cut) {
        self.signal(|signals| {
            signals.cuts_at_event += 1;
            signals.cut = cut;
        });
    }

    /// Sends a bookmark to every running watch that asked for bookmarks.
    pub fn send_bookmarks(&self) {
        self.signal(|signals| signals.bookmarks += 1);
    }

    /// Forgets how the objects came to be: a watch from any version given out so far is refused (410). Running watches go on,
    /// unless they had not come to what is forgotten.
    pub fn compact(&self) {
        self.shared.change(|state| state.compact());
    }

    /// As [`ApiServer::compact`], and running watches are told so too, by an ERROR event of code 410, and end.
    pub fn expire_watches(&self) {
        self.shared.change(|state| {
            state.compact();
            state.faults.signals.expiries += 1;
        });
    }

    /// Sends nothing of a resource to running watches until [`ApiServer::release`], so that changes of other resources
    /// overtake its own. Lists and what a new watch begins with are up to date.
    pub fn hold(&self, resource: Resource) {
        self.shared
            .change(|state| state.faults.held.insert(resource));
    }

    /// Ends [`ApiServer::hold`].
    pub fn release(&self, resource: Resource) {
        self.shared
            .change(|state| state.faults.held.remove(&resource));
    }

    /// Makes changes that no running watch is told of: those that they concern end with 410 afterwards.
    pub fn miss_changes<T>(&self, changes: impl FnOnce(&Self) -> T) -> T {
        let held = self.shared.change(|state| {
            let all = BTreeSet::from(Resource::ALL);
            std::mem::replace(&mut state.faults.held, all)
        });
        let result = changes(self);
        self.shared.change(|state| {
            state.compact();
            state.faults.held = held;
        });
        result
    }

    /// Is not there until [`ApiServer::end_outage`]. Objects can be changed meanwhile.
    pub fn start_outage(&self, outage: Outage) {
        self.shared.change(|state| {
            state.faults.outage = Some(outage);
            state.faults.signals.cuts += 1;
            state.faults.signals.cut = Cut::BetweenLines;
        });
        if outage == Outage::Refused {
            self.close();
        }
    }

    /// Is there again, at the same addresses.
    ///
    /// # Errors
    /// An address cannot be listened on any more.
    pub fn end_outage(&self) -> Result<(), ApiError> {
        self.shared.change(|state| state.faults.outage = None);
        self.open()
    }

    /// Ends every connection and begins anew, at the same addresses. An outage is over.
    ///
    /// # Errors
    /// An address cannot be listened on any more.
    pub fn restart(&self, restart: Restart) -> Result<(), ApiError> {
        self.close();
        self.shared.change(|state| {
            state.pages.clear();
            state.faults.outage = None;
            match restart {
                Restart::Unharmed => {}
                Restart::HistoryLost => state.store.jump(),
                Restart::RolledBack(backup) => state.store.restore(backup),
            }
        });
        self.open()
    }

    /// The objects of this moment, for [`Restart::RolledBack`].
    pub fn backup(&self) -> Backup {
        self.shared.lock().store.backup()
    }

    fn signal(&self, signal: impl FnOnce(&mut Signals)) {
        self.shared
            .change(|state| signal(&mut state.faults.signals));
    }
}
