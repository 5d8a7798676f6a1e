//! What the server has seen.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
};

use super::Resource;

/// Refused requests that are remembered; of more, only the number.
const MAX_REFUSED: usize = 256;

/// What is asked, in RBAC's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "RBAC's words")]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
}

/// A request that RBAC refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedRequest {
    /// Who asked; `system:anonymous` without a token.
    pub user: String,
    /// What was to be done.
    pub verb: Verb,
    /// With what.
    pub resource: Resource,
    /// Where; empty for the whole cluster.
    pub namespace: String,
}

/// Counts since the start, or since they were [reset](super::ApiServer::reset_stats).
#[derive(Clone, Debug, Default)]
pub struct Stats {
    pub(super) requests: BTreeMap<(Verb, Resource), u64>,
    pub(super) events: BTreeMap<Resource, u64>,
    pub(super) open_watches: BTreeMap<Resource, u64>,
    pub(super) unavailable: u64,
    refused: VecDeque<RefusedRequest>,
    refused_total: u64,
}

// === impl Verb ===

impl Verb {
    /// As RBAC writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Stats ===

impl Stats {
    /// Requests, refused ones too. A list that is streamed is a watch.
    pub fn requests(&self, verb: Verb, resource: Resource) -> u64 {
        let count = self.requests.get(&(verb, resource));
        count.copied().unwrap_or_default()
    }

    /// Requests of every verb for every resource.
    pub fn all_requests(&self) -> u64 {
        self.requests.values().sum()
    }

    /// Lists that were asked for; each page is one.
    pub fn lists(&self, resource: Resource) -> u64 {
        self.requests(Verb::List, resource)
    }

    /// Watches that were asked for.
    pub fn watches(&self, resource: Resource) -> u64 {
        self.requests(Verb::Watch, resource)
    }

    /// Watches that go on.
    pub fn open_watches(&self, resource: Resource) -> u64 {
        let count = self.open_watches.get(&resource);
        count.copied().unwrap_or_default()
    }

    /// Events that watches have sent, bookmarks and errors not counted.
    pub fn events(&self, resource: Resource) -> u64 {
        self.events.get(&resource).copied().unwrap_or_default()
    }

    /// Requests that were answered by 503 during an outage.
    pub fn unavailable(&self) -> u64 {
        self.unavailable
    }

    /// What RBAC refused; the first of them.
    pub fn refused(&self) -> impl Iterator<Item = &RefusedRequest> {
        self.refused.iter()
    }

    /// How much RBAC refused.
    pub fn refused_total(&self) -> u64 {
        self.refused_total
    }

    pub(super) fn refuse(&mut self, request: RefusedRequest) {
        self.refused_total += 1;
        if self.refused.len() < MAX_REFUSED {
            self.refused.push_back(request);
        }
    }

    /// Begins anew; watches that go on stay counted.
    pub(super) fn reset(&mut self) {
        *self = Self {
            open_watches: std::mem::take(&mut self.open_watches),
            ..Self::default()
        };
    }
}
