//! `GetFlows`: history, then live.

use std::ops::ControlFlow;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status};
use weir_flow::hubble::{EXTENSION_HEADER, Extension};
use weir_flow::request::{FlowsRequest, Take, Then};
use weir_flow::{Item, Timestamp};
use weir_proto::flow::{LostEvent, LostEventSource};
use weir_proto::observer::get_flows_response::ResponseTypes;
use weir_proto::observer::{GetFlowsRequest, GetFlowsResponse};
use weir_proto::relay::{NodeState, NodeStatusEvent};

use super::Shared;
use crate::query::{self, Found, MAX_LAST};
use crate::store::{Snapshot, StoreError};

/// Responses that wait for a client; history waits with them, live flows that it is too slow for are counted.
const WAITING: usize = 256;

type Answer = Result<GetFlowsResponse, Status>;

/// Begins a stream.
pub(super) fn serve(
    shared: Shared,
    request: Request<GetFlowsRequest>,
) -> Result<ReceiverStream<Answer>, Status> {
    let extension = match request.metadata().get(EXTENSION_HEADER) {
        Some(_) => Extension::Attached,
        None => Extension::Omitted,
    };
    let request = FlowsRequest::compile(request.get_ref())
        .map_err(|error| Status::invalid_argument(error.to_string()))?;
    if let Take::Last(number) = request.take
        && number > MAX_LAST
        && number != u64::MAX
    {
        let message =
            format!("number: {number} is more than {MAX_LAST}: ask with since, or for all");
        return Err(Status::invalid_argument(message));
    }
    let plan = Plan { request, extension };
    let (answers, stream) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let stop = shared.stop.clone();
        tokio::select! {
            () = run(shared, plan, answers.clone()) => {}
            () = stop.cancelled() => {
                let status = Status::unavailable("the aggregator is shutting down");
                // A client that does not read misses nothing but this.
                drop(answers.try_send(Err(status)));
            }
        }
    });
    Ok(ReceiverStream::new(stream))
}

/// What is asked for, and in which form.
struct Plan {
    request: FlowsRequest,
    extension: Extension,
}

impl Plan {
    fn answer(&self, item: &Item) -> GetFlowsResponse {
        self.request.response(item, self.extension)
    }
}

/// Serves a stream until it is complete or the client leaves.
async fn run(shared: Shared, plan: Plan, answers: mpsc::Sender<Answer>) {
    // Before the snapshot, so that nothing that arrives between the two is overlooked.
    let news = shared.store.subscribe();
    let snapshot = shared.store.snapshot();
    let mut live = Live {
        cursor: snapshot.newest,
        rows_seen: snapshot.rows,
        shared,
        plan,
        answers,
    };
    live = match live.history(snapshot).await {
        Some(live) => live,
        None => return,
    };
    if live.plan.request.then == Then::Follow {
        live.shared.metrics.followers.inc();
        let metrics = live.shared.metrics.clone();
        live.follow(news).await;
        metrics.followers.dec();
    }
}

/// A stream, and how far it has read.
struct Live {
    cursor: u64,
    rows_seen: u64,
    shared: Shared,
    plan: Plan,
    answers: mpsc::Sender<Answer>,
}

/// The client is gone, or its time is over.
struct Ended;

impl Live {
    /// Sends what there is; on a thread that may block, because it reads files. `None` if the client left.
    async fn history(self, snapshot: Snapshot) -> Option<Self> {
        let read = tokio::task::spawn_blocking(move || {
            let mut sink = |found| {
                let answer = match found {
                    Found::Item(item) => self.plan.answer(&item),
                    Found::Problem(error) => self.problem(&error),
                };
                match self.answers.blocking_send(Ok(answer)) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                }
            };
            match query::run(&self.plan.request, snapshot, &mut sink) {
                ControlFlow::Continue(()) => Some(self),
                ControlFlow::Break(()) => None,
            }
        });
        read.await.ok().flatten()
    }

    fn problem(&self, error: &StoreError) -> GetFlowsResponse {
        self.shared.metrics.unreadable_files.inc();
        tracing::error!(%error, "a file cannot be read; the others are served");
        let event = NodeStatusEvent {
            state_change: NodeState::NodeError as i32,
            node_names: vec!["aggregator".to_owned()],
            message: error.to_string(),
        };
        GetFlowsResponse {
            node_name: "aggregator".to_owned(),
            time: Some(now().into()),
            response_types: Some(ResponseTypes::NodeStatus(event)),
        }
    }

    async fn follow(mut self, mut news: tokio::sync::watch::Receiver<u64>) {
        loop {
            tokio::select! {
                changed = news.changed() => if changed.is_err() { return },
                () = self.answers.closed() => return,
                () = sleep_until(self.plan.request.until) => return,
            }
            while *news.borrow_and_update() > self.cursor {
                if self.catch_up().await.is_err() {
                    return;
                }
            }
        }
    }

    /// Sends some of what arrived meanwhile, in order of time.
    async fn catch_up(&mut self) -> Result<(), Ended> {
        let news = self.shared.store.news(self.cursor, self.rows_seen);
        if news.missed_rows > 0 {
            self.shared
                .metrics
                .followers_missed
                .inc_by(news.missed_rows);
            self.send(missed(news.missed_rows)).await?;
            self.rows_seen += news.missed_rows;
        }
        let mut items = Vec::new();
        for batch in &news.batches {
            match weir_flow::columns::Rows::new(&batch.rows).and_then(|mut rows| rows.items()) {
                Ok(rows) => items.extend(rows),
                Err(error) => {
                    tracing::error!(%error, node = batch.node, "a stored batch cannot be read")
                }
            }
            self.cursor = batch.ordinal;
            self.rows_seen = batch.rows_before + batch.facts.rows;
        }
        items.sort_by_key(Item::time);
        for item in items {
            if self.plan.request.wants(&item) {
                let answer = self.plan.answer(&item);
                self.send(answer).await?;
            }
        }
        Ok(())
    }

    async fn send(&self, answer: GetFlowsResponse) -> Result<(), Ended> {
        self.answers.send(Ok(answer)).await.map_err(|_| Ended)
    }
}

/// Returns when `until` is past; never if there is none.
async fn sleep_until(until: Option<Timestamp>) {
    match until {
        Some(until) => {
            let left = until.0.saturating_sub(now().0);
            let left = std::time::Duration::from_nanos(u64::try_from(left).unwrap_or(0));
            tokio::time::sleep(left).await;
        }
        None => std::future::pending().await,
    }
}

fn now() -> Timestamp {
    let now = jiff::Timestamp::now().as_nanosecond();
    Timestamp(i64::try_from(now).unwrap_or(i64::MAX))
}

/// For a follower that rows left memory before it came for them.
fn missed(rows: u64) -> GetFlowsResponse {
    let event = LostEvent {
        source: LostEventSource::HubbleRingBuffer as i32,
        num_events_lost: rows,
        ..LostEvent::default()
    };
    GetFlowsResponse {
        node_name: "aggregator".to_owned(),
        time: Some(now().into()),
        response_types: Some(ResponseTypes::LostEvents(event)),
    }
}
