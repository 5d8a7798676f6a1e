//! `GetFlows`: the recent store as a stream, with losses in their places.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::mpsc;
use tonic::Status;
use weir_flow::hubble::Extension;
use weir_flow::request::{FlowsRequest, Take, Then};
use weir_flow::{Item, LossPlace, LossRecord, Timestamp};
use weir_proto::observer::GetFlowsResponse;

use crate::recent::Recent;

/// Items read from the store at a time.
const CHUNK: usize = 1024;

/// Where answers go.
pub(super) type Answers = mpsc::Sender<Result<GetFlowsResponse, Status>>;

/// One running request.
pub(super) struct Query {
    pub(super) recent: Recent,
    pub(super) node: Arc<str>,
    pub(super) request: FlowsRequest,
    pub(super) extension: Extension,
    pub(super) answers: Answers,
}

/// The stream has ended: the client has gone, or has all it asked for.
struct End;

/// A place in the store.
struct Cursor {
    at: u64,
    /// The time of the last item read: what is missed afterwards was missed since.
    time: Timestamp,
}

impl Query {
    /// Answers until the client has all, or has gone.
    pub(super) async fn run(self) {
        // Subscribed before the store is read: nothing can come in between unnoticed.
        let mut written = self.recent.subscribe();
        let mut cursor = Cursor {
            at: self.recent.begin(),
            time: Timestamp::default(),
        };
        if self.history(&mut cursor).await.is_err() || self.request.then == Then::End {
            return;
        }
        loop {
            tokio::select! {
                () = self.answers.closed() => return,
                changed = written.changed() => if changed.is_err() { return },
            }
            if self.live(&mut cursor).await.is_err() {
                return;
            }
        }
    }

    /// What there is already; leaves the cursor behind it.
    async fn history(&self, cursor: &mut Cursor) -> Result<(), End> {
        let end = self.recent.end();
        match self.request.take {
            Take::Last(0) => {
                cursor.at = end;
                Ok(())
            }
            Take::Last(number) => {
                for item in self.last(cursor, end, number) {
                    self.send(&item).await?;
                }
                Ok(())
            }
            Take::First(number) => self.first(cursor, end, number).await,
            Take::All => self.first(cursor, end, u64::MAX).await,
        }
    }

    /// The first `number` flows before `end`, and the losses among them.
    async fn first(&self, cursor: &mut Cursor, end: u64, number: u64) -> Result<(), End> {
        let mut left = number;
        while cursor.at < end {
            for item in self.read(cursor, end) {
                if !self.request.wants(&item) {
                    continue;
                }
                if matches!(*item, Item::Flow(_)) {
                    left = left.checked_sub(1).ok_or(End)?;
                }
                self.send(&item).await?;
            }
        }
        Ok(())
    }

    /// The last `number` flows before `end`, and the losses among them.
    fn last(&self, cursor: &mut Cursor, end: u64, number: u64) -> VecDeque<Arc<Item>> {
        let mut kept = VecDeque::new();
        let mut flows = 0;
        while cursor.at < end {
            let items = self.read(cursor, end).into_iter();
            for item in items.filter(|item| self.request.wants(item)) {
                flows += u64::from(matches!(*item, Item::Flow(_)));
                kept.push_back(item);
                while flows > number
                    && let Some(oldest) = kept.pop_front()
                {
                    flows -= u64::from(matches!(*oldest, Item::Flow(_)));
                }
            }
        }
        kept
    }

    /// What was written since.
    async fn live(&self, cursor: &mut Cursor) -> Result<(), End> {
        loop {
            let end = self.recent.end();
            if cursor.at == end {
                return Ok(());
            }
            for item in self.read(cursor, end) {
                if matches!(*item, Item::Flow(_)) && self.request.is_over(item.time()) {
                    return Err(End);
                }
                if self.request.wants(&item) {
                    self.send(&item).await?;
                }
            }
        }
    }

    /// The next items before `end`, and what was overwritten before they could be read.
    fn read(&self, cursor: &mut Cursor, end: u64) -> Vec<Arc<Item>> {
        let limit = usize::try_from(end.saturating_sub(cursor.at)).unwrap_or(CHUNK);
        let chunk = self.recent.read(cursor.at, limit.min(CHUNK));
        let mut items = chunk.items;
        if chunk.missed > 0 {
            let to = items.first().map_or(cursor.time, |item| item.time());
            items.insert(0, Arc::new(self.missed(chunk.missed, cursor.time, to)));
        }
        cursor.at = chunk.next;
        cursor.time = items.last().map_or(cursor.time, |item| item.time());
        items
    }

    fn missed(&self, records: u64, from: Timestamp, to: Timestamp) -> Item {
        Item::Loss(LossRecord {
            time: to,
            node: self.node.clone(),
            place: LossPlace::RecentStore,
            endpoint: None,
            records,
            packets: 0,
            bytes: 0,
            from,
            to,
        })
    }

    async fn send(&self, item: &Item) -> Result<(), End> {
        let response = self.request.response(item, self.extension);
        self.answers.send(Ok(response)).await.map_err(|_| End)
    }
}
