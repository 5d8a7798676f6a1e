//! One watch: a stream of lines, each of them an event.

use std::{collections::VecDeque, io, sync::Arc, time::Duration};

use axum::body::Bytes;
use futures::{Stream, stream};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    task::yield_now,
    time::{Instant, sleep, sleep_until},
};

use super::{
    Bookmarks, Cut, Delivery, FutureVersions, Resource, StreamedLists,
    faults::Signals,
    object::{Key, View, at_version, seen},
    refusal::Refusal,
    request::{Flag, Params},
    selector::Selector,
    state::{Shared, State},
    store::{Change, ChangeKind, Next},
};

/// The annotation by which a bookmark ends the initial events of a streamed list.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";
/// How long a watch lasts that does not say how long.
const LONGEST: Duration = Duration::from_secs(1800);

/// A watch that has begun.
pub(super) struct Watch {
    shared: Shared,
    changed: watch::Receiver<()>,
    resource: Resource,
    selector: Selector,
    view: View,
    bookmarks: Flag,
    /// Initial events that are still to be sent.
    initial: VecDeque<Arc<Value>>,
    /// Whether the bookmark is still to be sent that ends them.
    end_mark: Flag,
    /// All changes up to this version were sent or do not concern it.
    cursor: u64,
    /// The signals that it has followed.
    seen: Signals,
    began: Instant,
    last_bookmark: Instant,
    lasts: Duration,
    pieces: VecDeque<Piece>,
    _open: Open,
}

/// A piece of the answer.
#[derive(Debug)]
enum Piece {
    Text(Bytes),
    /// The connection breaks.
    Break,
    /// The answer is complete.
    End,
}

/// What is to be done next.
enum Step {
    Send(Vec<Piece>),
    /// The same, after the pause that events are given.
    SendEvent(Vec<Piece>),
    /// Nothing, until the state changes or this moment comes.
    Wait(Instant),
}

/// Where a watch begins.
struct Beginning {
    initial: VecDeque<Arc<Value>>,
    end_mark: Flag,
    cursor: u64,
}

/// Counts a watch as long as it goes on.
struct Open {
    shared: Shared,
    resource: Resource,
}

// === impl Watch ===

impl Watch {
    /// Begins.
    pub(super) fn begin(
        shared: &Shared,
        resource: Resource,
        selector: Selector,
        params: &Params,
        view: View,
    ) -> Result<Self, Refusal> {
        let changed = shared.subscribe();
        let mut state = shared.lock();
        let beginning = Beginning::find(&state, resource, &selector, params)?;
        *state.stats.open_watches.entry(resource).or_default() += 1;
        let seen = state.faults.signals;
        drop(state);
        let now = Instant::now();
        Ok(Self {
            changed,
            resource,
            selector,
            view,
            bookmarks: params.allow_watch_bookmarks,
            initial: beginning.initial,
            end_mark: beginning.end_mark,
            cursor: beginning.cursor,
            seen,
            began: now,
            last_bookmark: now,
            lasts: match params.timeout_seconds {
                0 => LONGEST,
                seconds => Duration::from_secs(seconds).min(LONGEST),
            },
            pieces: VecDeque::new(),
            _open: Open {
                shared: shared.clone(),
                resource,
            },
            shared: shared.clone(),
        })
    }

    /// The answer's body.
    pub(super) fn into_stream(self) -> impl Stream<Item = io::Result<Bytes>> {
        stream::unfold(self, |mut watch| async {
            let piece = watch.next().await?;
            Some((piece, watch))
        })
    }

    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            match self.pieces.pop_front() {
                Some(Piece::Text(text)) => return Some(Ok(text)),
                Some(Piece::Break) => {
                    // So that what came before is written to the socket.
                    yield_now().await;
                    return Some(Err(io::Error::other("cut by the test")));
                }
                Some(Piece::End) => return None,
                None => {}
            }
            // Before looking, so that no later change is missed.
            self.changed.borrow_and_update();
            let (step, delay) = {
                let shared = self.shared.clone();
                let mut state = shared.lock();
                let delay = state.faults.settings.event_delay;
                (self.step(&mut state), delay)
            };
            match step {
                Step::Send(pieces) => self.pieces.extend(pieces),
                Step::SendEvent(pieces) => {
                    if !delay.is_zero() {
                        sleep(delay).await;
                    }
                    self.pieces.extend(pieces);
                }
                Step::Wait(until) => {
                    tokio::select! {
                        // The sender is in `shared`, so it is there.
                        _ = self.changed.changed() => {}
                        () = sleep_until(until) => {}
                    }
                }
            }
        }
    }

    fn step(&mut self, state: &mut State) -> Step {
        let signals = state.faults.signals;
        if signals.cuts != self.seen.cuts {
            let line = match state.store.next(self.resource, self.cursor) {
                Next::Change(change) => self.event(&change).map(|(line, _)| line),
                _ => None,
            };
            let line = line.unwrap_or_else(|| self.bookmark(state.store.version(), Flag::Off));
            return Step::Send(torn(&line, signals.cut));
        }
        if signals.expiries != self.seen.expiries {
            return self.gone(state);
        }
        if self.began.elapsed() >= self.lasts {
            return self.end(state);
        }
        if state.faults.held.contains(&self.resource) {
            return Step::Wait(self.began + self.lasts);
        }
        if let Some(object) = self.initial.pop_front() {
            let line = line("ADDED", &seen(&object, self.view));
            return self.send(state, line);
        }
        if std::mem::take(&mut self.end_mark) == Flag::On {
            return Step::Send(vec![Piece::Text(self.bookmark(self.cursor, Flag::On))]);
        }
        match state.store.next(self.resource, self.cursor) {
            Next::Forgotten => self.gone(state),
            Next::Change(change) => {
                self.cursor = change.version;
                match self.event(&change) {
                    Some((line, _)) => self.send(state, line),
                    None => Step::Send(Vec::new()),
                }
            }
            Next::None(version) => {
                self.cursor = version;
                self.idle(state)
            }
        }
    }

    /// An event, with whatever goes wrong with events.
    fn send(&mut self, state: &mut State, line: Bytes) -> Step {
        let signals = state.faults.signals;
        if signals.cuts_at_event != self.seen.cuts_at_event {
            return Step::SendEvent(torn(&line, signals.cut));
        }
        let times = match state.faults.settings.delivery {
            Delivery::Once => 1,
            Delivery::Twice => 2,
        };
        *state.stats.events.entry(self.resource).or_default() += times as u64;
        let pieces = std::iter::repeat_with(|| Piece::Text(line.clone()));
        Step::SendEvent(pieces.take(times).collect())
    }

    /// All was sent: perhaps a bookmark is due.
    fn idle(&mut self, state: &State) -> Step {
        let end = self.began + self.lasts;
        let asked = std::mem::replace(&mut self.seen.bookmarks, state.faults.signals.bookmarks);
        let is_asked = asked != self.seen.bookmarks;
        let due = match state.faults.settings.bookmarks {
            Bookmarks::Every(period) => self.last_bookmark + period,
            Bookmarks::OnDemand => end,
        };
        if self.bookmarks == Flag::Off {
            return Step::Wait(end);
        }
        if is_asked || due <= Instant::now() {
            self.last_bookmark = Instant::now();
            return Step::Send(vec![Piece::Text(self.bookmark(self.cursor, Flag::Off))]);
        }
        Step::Wait(due.min(end))
    }

    /// Its time has come.
    fn end(&self, state: &State) -> Step {
        let mut pieces = Vec::new();
        let is_complete = self.initial.is_empty()
            && self.end_mark == Flag::Off
            && matches!(state.store.next(self.resource, self.cursor), Next::None(_));
        let are_sent = matches!(state.faults.settings.bookmarks, Bookmarks::Every(_));
        if self.bookmarks == Flag::On && is_complete && are_sent {
            pieces.push(Piece::Text(self.bookmark(self.cursor, Flag::Off)));
        }
        pieces.push(Piece::End);
        Step::Send(pieces)
    }

    fn gone(&self, state: &State) -> Step {
        let refusal = Refusal::too_old(self.cursor, state.store.compacted());
        Step::Send(vec![Piece::Text(error_line(&refusal)), Piece::End])
    }

    /// What a change is to this watch: an object that comes to match its selector is added, one that ceases to is deleted.
    fn event(&self, change: &Change) -> Option<(Bytes, ChangeKind)> {
        let Change {
            key,
            before,
            object,
            kind,
            version,
            ..
        } = change;
        let matches = |key: &Key, object: &Value| self.selector.matches(key, object);
        let was = before.as_ref().filter(|before| matches(key, before));
        let is = *kind != ChangeKind::Deleted && matches(key, object);
        let (kind, object) = match (was, is) {
            (None, false) => return None,
            (None, true) => (ChangeKind::Added, seen(object, self.view)),
            (Some(_), true) => (ChangeKind::Modified, seen(object, self.view)),
            (Some(before), false) => (
                ChangeKind::Deleted,
                seen(&at_version(before, *version), self.view),
            ),
        };
        let name = match kind {
            ChangeKind::Added => "ADDED",
            ChangeKind::Modified => "MODIFIED",
            ChangeKind::Deleted => "DELETED",
        };
        Some((line(name, &object), kind))
    }

    fn bookmark(&self, version: u64, end_mark: Flag) -> Bytes {
        let mut metadata = json!({
            "resourceVersion": version.to_string(),
            "creationTimestamp": null,
        });
        if end_mark == Flag::On {
            metadata["annotations"] = json!({ INITIAL_EVENTS_END: "true" });
        }
        let (kind, api_version) = (self.resource.kind(), self.resource.api_version());
        let object = json!({"kind": kind, "apiVersion": api_version, "metadata": metadata});
        line("BOOKMARK", &seen(&object, self.view))
    }
}

// === impl Beginning ===

impl Beginning {
    fn find(
        state: &State,
        resource: Resource,
        selector: &Selector,
        params: &Params,
    ) -> Result<Self, Refusal> {
        let settings = &state.faults.settings;
        let streamed = match settings.streamed_lists {
            StreamedLists::Supported => params.send_initial_events,
            StreamedLists::Unknown => None,
            StreamedLists::Refused => {
                if params.send_initial_events.is_some() {
                    return Err(invalid(
                        "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled",
                    ));
                }
                None
            }
        };
        if streamed.is_some() && params.resource_version_match != "NotOlderThan" {
            return Err(invalid(
                "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ));
        }
        let current = state.store.version();
        let asked = params.version()?;
        let all = || {
            let all = state.store.all(resource);
            let all = all.filter(|(key, object)| selector.matches(key, object));
            all.map(|(_, object)| object.clone()).collect()
        };
        let future = asked.filter(|asked| *asked > current);
        if let Some(asked) = future
            && (streamed == Some(Flag::On) || settings.future_versions == FutureVersions::Refused)
        {
            return Err(Refusal::FutureVersion { asked, current });
        }
        Ok(match (streamed, asked) {
            (Some(Flag::On), _) => Self {
                initial: all(),
                end_mark: params.allow_watch_bookmarks,
                cursor: current,
            },
            (None, None | Some(0)) => Self {
                initial: all(),
                end_mark: Flag::Off,
                cursor: current,
            },
            (Some(Flag::Off), None | Some(0)) => Self::at(current),
            (_, Some(asked)) => {
                let oldest = state.store.compacted();
                if asked < oldest {
                    return Err(Refusal::too_old(asked, oldest));
                }
                Self::at(asked)
            }
        })
    }

    fn at(cursor: u64) -> Self {
        Self {
            initial: VecDeque::new(),
            end_mark: Flag::Off,
            cursor,
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        let open = state.stats.open_watches.entry(self.resource).or_default();
        *open = open.saturating_sub(1);
    }
}

/// The line that says why a watch cannot go on, or cannot begin.
pub(super) fn error_line(refusal: &Refusal) -> Bytes {
    line("ERROR", &refusal.body())
}

fn line(kind: &str, object: &Value) -> Bytes {
    // Clients must not depend on an order, but read faster if the type comes first, as from a real server.
    Bytes::from(format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n"))
}

/// The end of an answer that is cut where this line would have been sent.
fn torn(line: &Bytes, cut: Cut) -> Vec<Piece> {
    let half = Piece::Text(line.slice(..line.len() / 2));
    match cut {
        Cut::BetweenLines => vec![Piece::End],
        Cut::InsideLine => vec![half, Piece::Break],
        Cut::InsideLineAsIfComplete => vec![half, Piece::End],
    }
}

fn invalid(why: &str) -> Refusal {
    Refusal::Invalid(format!("ListOptions.meta.k8s.io \"\" is invalid: {why}"))
}
