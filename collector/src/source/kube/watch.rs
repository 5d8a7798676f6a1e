//! One kind, followed: listed, watched from there, listed again when the server has forgotten how to go on.
//!
//! This is not kube's `watcher`: that passes over an event it cannot decode, waits for ever where a server that lost its
//! history refuses the version to go on from, and streams lists from any server's cache, however old. Here a list is
//! always a consistent read (no resourceVersion), and a watch goes on from the last line that was understood.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::time::{Duration, Instant};

use axum::http::Request as HttpRequest;
use futures::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};
use kube::Client;
use kube::api::{ListParams, WatchParams};
use kube::core::{Request, Status};
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};
use weir_policy::model::Kind;

use super::backoff::Backoff;
use super::index::{self, Version};
use super::kinds::Resource;
use super::prune::Keep;
use super::wire::{self, Event, text_at};
use crate::telemetry::OwnMetrics;

/// Objects on one page of a list, as `kubectl` and client-go ask for them.
const PAGE: u32 = 500;
/// The longest wait for the beginning of an answer, or for a page.
const ANSWER: Duration = Duration::from_secs(60);
/// The longest silence in a streamed list. A server older than streamed lists takes one for a plain watch, and never
/// says that it is complete.
const SILENCE: Duration = Duration::from_secs(5);
/// A server ends a watch after so many seconds, and some more at random.
const WATCH_SECONDS: u32 = 240;
const WATCH_SECONDS_MORE: u32 = 50;
/// Beyond the time at which the server should have ended the watch, the connection is taken for dead.
const OVERDUE: Duration = Duration::from_secs(15);
/// A connection that held for so long was a good one, even if nothing happened.
const SETTLED: Duration = Duration::from_secs(10);
/// The longest line: more than an object in etcd can have.
const MAX_LINE: u64 = 16 << 20;
/// After so many refusals of a version by a server that answers, the kind is listed again.
const MAX_REFUSALS: u32 = 3;

/// What is told of a kind.
#[derive(Debug)]
pub(super) enum News {
    /// A list begins: what does not come before its end is gone.
    ListBegins,
    /// An object of the list.
    Listed(Value),
    /// All objects of the list have come.
    ListEnds,
    /// An object was added or modified.
    Changed(Value),
    /// An object was deleted; its last state.
    Deleted(Value),
}

/// News of one kind.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) kind: Kind,
    pub(super) news: News,
}

/// Why a list or a watch ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum WatchError {
    #[error("{}", with_causes(.0))]
    Request(kube::Error),
    #[error("the API server says {code} {reason}: {message}", code = .0.code, reason = .0.reason, message = .0.message)]
    Status(Box<Status>),
    #[error("not understood: {0}")]
    Decode(#[from] serde_json::Error),
    #[error("reading the answer: {}", with_causes(.0))]
    Read(#[from] io::Error),
    #[error("a line is longer than {MAX_LINE} bytes")]
    TooLong,
    #[error("no answer for {0:?}")]
    Silent(Duration),
    #[error("a list or an object without resourceVersion")]
    NoVersion,
    #[error("the API server is at version {now}, before {known}: it has lost its history")]
    WentBack { known: Version, now: Version },
}

/// An error and what lies beneath it, each said once.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

impl From<kube::Error> for WatchError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Status(status),
            other => Self::Request(other),
        }
    }
}

impl WatchError {
    /// Whether the version to go on from is too old for the server.
    fn is_gone(&self) -> bool {
        match self {
            Self::Status(status) => status.code == 410,
            Self::WentBack { .. } => true,
            _ => false,
        }
    }

    /// Whether the server does not want the request as it is.
    fn is_refused(&self) -> bool {
        matches!(self, Self::Status(status) if matches!(status.code, 400 | 404 | 422))
    }

    /// Whether asking for the same again may never do: the server answers, but not to this version. A server whose
    /// history was cut back says 504, for it waits for the version to come.
    fn is_answer(&self) -> bool {
        match self {
            Self::Status(status) => match status.code {
                401 | 403 | 429 => false,
                code => (400..500).contains(&code) || code == 504,
            },
            Self::Decode(_) | Self::NoVersion | Self::TooLong => true,
            Self::Request(_) | Self::Read(_) | Self::Silent(_) | Self::WentBack { .. } => false,
        }
    }

    /// How long the server asks to be left alone.
    fn retry_after(&self) -> Option<Duration> {
        let Self::Status(status) = self else {
            return None;
        };
        let seconds = status.details.as_ref()?.retry_after_seconds;
        Some(Duration::from_secs(seconds.into()))
    }
}

/// How lists are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lists {
    /// As a watch that begins with all objects (Kubernetes 1.32 and later): kinder to the server's memory.
    Streamed,
    /// Page by page.
    Paged,
}

/// Whether the list is still coming.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Initial,
    Live,
}

/// Follows one kind.
pub(super) struct Watch {
    client: Client,
    resource: &'static Resource,
    out: mpsc::Sender<Told>,
    own: OwnMetrics,
    lists: Lists,
    /// Where the watch goes on.
    version: Option<String>,
    backoff: Backoff,
    refusals: u32,
    is_failing: bool,
    listed: watch::Sender<bool>,
}

impl Watch {
    pub(super) fn new(
        client: Client,
        resource: &'static Resource,
        out: mpsc::Sender<Told>,
        own: OwnMetrics,
    ) -> Self {
        Self {
            client,
            resource,
            out,
            own,
            lists: Lists::Streamed,
            version: None,
            backoff: Backoff::default(),
            refusals: 0,
            is_failing: false,
            listed: watch::channel(false).0,
        }
    }

    /// Whether the first list is complete.
    pub(super) fn listed(&self) -> watch::Receiver<bool> {
        self.listed.subscribe()
    }

    /// Goes on until nobody listens.
    pub(super) async fn run(mut self) {
        while !self.out.is_closed() {
            let began = Instant::now();
            let ended = self.follow().await;
            if began.elapsed() > SETTLED {
                self.backoff.reset();
            }
            let asked = match &ended {
                Ok(()) => None,
                Err(error) => error.retry_after(),
            };
            if let Err(error) = ended {
                self.failed(&error);
            }
            sleep(self.backoff.next(asked)).await;
        }
    }

    /// Decides how to go on.
    fn failed(&mut self, error: &WatchError) {
        let kind = self.resource.kind;
        if self.version.is_none()
            && self.lists == Lists::Streamed
            && (error.is_refused() || matches!(error, WatchError::Silent(_)))
        {
            debug!(%kind, %error, "the server does not stream lists: asking for pages");
            self.lists = Lists::Paged;
            return;
        }
        self.own.watch_failed(kind);
        self.refusals += u32::from(error.is_answer());
        if error.is_gone() || self.refusals >= MAX_REFUSALS {
            debug!(%kind, %error, "listing again");
            self.version = None;
            self.refusals = 0;
        } else if !self.is_failing {
            warn!(%kind, %error, "cannot follow the API server: what is known stays in force; trying again");
            self.is_failing = true;
        }
    }

    /// Something was understood.
    fn progress(&mut self) {
        self.backoff.reset();
        self.refusals = 0;
        if std::mem::take(&mut self.is_failing) {
            info!(kind = %self.resource.kind, "following the API server again");
        }
    }

    /// One connection: the list if it is needed, and the watch until it ends.
    async fn follow(&mut self) -> Result<(), WatchError> {
        match &self.version {
            Some(version) => self.look_back(index::number(version)).await?,
            None if self.lists == Lists::Paged => self.list().await?,
            None => {}
        }
        let seconds = WATCH_SECONDS + fastrand::u32(0..=WATCH_SECONDS_MORE);
        let (mut phase, params) = match self.version {
            None => (Phase::Initial, WatchParams::streaming_lists()),
            Some(_) => (Phase::Live, WatchParams::default()),
        };
        let version = self.version.clone().unwrap_or_default();
        let request = Request::new(self.resource.path()).watch(&params.timeout(seconds), &version);
        let request = request.map_err(kube::Error::BuildRequest)?;
        let answer = self.client.request_stream(request);
        let answer = timeout(ANSWER, answer).await;
        let answer = answer.map_err(|_| WatchError::Silent(ANSWER))??;
        let mut lines = Lines::new(answer);
        if phase == Phase::Initial {
            self.tell(News::ListBegins).await;
        }
        let overdue = Duration::from_secs(seconds.into()) + OVERDUE;
        loop {
            let patience = match phase {
                Phase::Initial => SILENCE,
                Phase::Live => overdue,
            };
            let Some(line) = lines.next(patience).await? else {
                return Ok(());
            };
            let event = wire::event(line, self.resource.keep)?;
            phase = self.take(event, phase).await?;
        }
    }

    /// Looks whether the server has lost its history, as after a restored backup: a watch from a version that is still to
    /// come would wait for it, without a word, and pass over what was changed until then.
    async fn look_back(&self, known: Version) -> Result<(), WatchError> {
        let request = Request::new(self.resource.path());
        let request = request.list_metadata(&ListParams::default().limit(1));
        let request = request.map_err(kube::Error::BuildRequest)?;
        let page = wire::page(&self.text(request).await?, Keep::Only(&[]))?;
        match index::number(&page.version) {
            now if now != 0 && now < known => Err(WatchError::WentBack { known, now }),
            _ => Ok(()),
        }
    }

    async fn text(&self, request: HttpRequest<Vec<u8>>) -> Result<String, WatchError> {
        let text = timeout(ANSWER, self.client.request_text(request)).await;
        Ok(text.map_err(|_| WatchError::Silent(ANSWER))??)
    }

    async fn take(&mut self, event: Event, phase: Phase) -> Result<Phase, WatchError> {
        let (news, version, next) = match event {
            Event::Failed(status) => return Err(WatchError::Status(status)),
            Event::Changed(object) => {
                let version = version(&object)?;
                let news = match phase {
                    Phase::Initial => News::Listed(object),
                    Phase::Live => News::Changed(object),
                };
                (Some(news), version, phase)
            }
            Event::Deleted(object) => {
                let version = version(&object)?;
                (Some(News::Deleted(object)), version, phase)
            }
            Event::Bookmark(version) => (None, version, phase),
            Event::InitialEventsEnd(version) if phase == Phase::Initial => {
                (Some(News::ListEnds), version, Phase::Live)
            }
            Event::InitialEventsEnd(version) => (None, version, phase),
        };
        if version.is_empty() {
            return Err(WatchError::NoVersion);
        }
        let is_complete = matches!(news, Some(News::ListEnds));
        if let Some(news) = news {
            self.tell(news).await;
        }
        if next == Phase::Live {
            self.version = Some(version);
        }
        if is_complete {
            self.listed.send_replace(true);
        }
        self.progress();
        Ok(next)
    }

    /// Lists page by page.
    async fn list(&mut self) -> Result<(), WatchError> {
        self.tell(News::ListBegins).await;
        let mut params = ListParams::default().limit(PAGE);
        loop {
            let request = Request::new(self.resource.path()).list(&params);
            let request = request.map_err(kube::Error::BuildRequest)?;
            let page = wire::page(&self.text(request).await?, self.resource.keep)?;
            for object in page.items {
                self.tell(News::Listed(object)).await;
            }
            let Some(more) = page.more else {
                if page.version.is_empty() {
                    return Err(WatchError::NoVersion);
                }
                self.tell(News::ListEnds).await;
                self.version = Some(page.version);
                self.listed.send_replace(true);
                self.progress();
                return Ok(());
            };
            params.continue_token = Some(more);
        }
    }

    async fn tell(&self, news: News) {
        let kind = self.resource.kind;
        // Nobody listens at the end only, and then `run` ends.
        self.out.send(Told { kind, news }).await.ok();
    }
}

fn version(object: &Value) -> Result<String, WatchError> {
    match text_at(&object["metadata"], "resourceVersion") {
        "" => Err(WatchError::NoVersion),
        version => Ok(version.to_owned()),
    }
}

/// Lines of an answer.
struct Lines {
    answer: Pin<Box<dyn AsyncBufRead + Send>>,
    line: Vec<u8>,
}

impl Lines {
    fn new(answer: impl AsyncBufRead + Send + 'static) -> Self {
        Self {
            answer: Box::pin(answer),
            line: Vec::new(),
        }
    }

    /// The next line; none at the end. What comes after the last line break was cut off and is dropped: the watch goes on
    /// before it.
    async fn next(&mut self, patience: Duration) -> Result<Option<&[u8]>, WatchError> {
        self.line.clear();
        let mut bounded = (&mut self.answer).take(MAX_LINE);
        let read = bounded.read_until(b'\n', &mut self.line);
        let read = timeout(patience, read).await;
        let bytes = read.map_err(|_| WatchError::Silent(patience))??;
        if self.line.ends_with(b"\n") {
            return Ok(Some(&self.line));
        }
        if bytes as u64 >= MAX_LINE {
            return Err(WatchError::TooLong);
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
