//! OTLP logs: one `LogRecord` per record, batched, in order, over gRPC.
//!
//! The queue is bounded by items. When the receiver takes too little, new items are counted instead of queued, and
//! the count goes out as a loss record as soon as there is room: the stream never hides a gap.

mod encode;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use weir_flow::{Item, LossPlace, LossRecord, Timestamp};

/// Items that wait for the receiver.
const QUEUE: usize = 16_384;
/// Items of one request: with about 1.5 KiB an item well below the 4 MiB that receivers accept.
const BATCH: usize = 512;
/// How long a batch waits to be filled.
const BATCH_WAIT: Duration = Duration::from_millis(200);
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_LAST: Duration = Duration::from_secs(30);

/// Why the exporter cannot start.
#[derive(Debug, Error)]
pub enum OtlpError {
    /// Not a URL such as `http://host:4317`.
    #[error(
        "cannot export records to {endpoint}: {source}; expected a URL such as http://host:4317"
    )]
    Endpoint {
        /// As given.
        endpoint: String,
        /// What is wrong with it.
        source: tonic::transport::Error,
    },
}

/// The pipeline's end of the exporter.
#[derive(Clone, Debug)]
pub struct OtlpSink {
    queue: mpsc::Sender<Arc<Item>>,
    refused: Arc<AtomicU64>,
}

impl OtlpSink {
    /// Queues an item; counts it if the queue is full.
    pub fn send(&self, item: &Arc<Item>) {
        if self.queue.try_send(item.clone()).is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Starts the exporter on the current runtime.
///
/// # Errors
/// [`OtlpError::Endpoint`] if the endpoint is no URL. A receiver that is not there yet is no error.
pub fn start(
    endpoint: &str,
    node: Arc<str>,
    shutdown: CancellationToken,
) -> Result<OtlpSink, OtlpError> {
    let channel = Endpoint::from_shared(endpoint.to_owned())
        .map_err(|source| OtlpError::Endpoint {
            endpoint: endpoint.to_owned(),
            source,
        })?
        .connect_timeout(Duration::from_secs(5))
        .timeout(Duration::from_secs(10))
        .connect_lazy();
    let (sender, receiver) = mpsc::channel(QUEUE);
    let refused = Arc::new(AtomicU64::new(0));
    let exporter = Exporter {
        client: LogsServiceClient::new(channel),
        node,
        refused: refused.clone(),
        since: now(),
    };
    tokio::spawn(exporter.run(receiver, shutdown));
    Ok(OtlpSink {
        queue: sender,
        refused,
    })
}

struct Exporter {
    client: LogsServiceClient<Channel>,
    node: Arc<str>,
    refused: Arc<AtomicU64>,
    since: Timestamp,
}

impl Exporter {
    async fn run(mut self, mut queue: mpsc::Receiver<Arc<Item>>, shutdown: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH + 1);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                first = queue.recv() => match first {
                    Some(item) => batch.push(item),
                    None => break,
                },
            }
            fill(&mut batch, &mut queue).await;
            batch.extend(self.loss().map(Arc::new));
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = self.deliver(&batch) => batch.clear(),
            }
        }
        while let Ok(item) = queue.try_recv() {
            batch.push(item);
        }
        // One last try, bounded: a receiver that is away must not hold up the exit.
        let request = encode::request(&self.node, &batch);
        let _best_effort =
            tokio::time::timeout(Duration::from_secs(2), self.client.export(request)).await;
    }

    /// Sends until the receiver has taken the batch.
    async fn deliver(&mut self, batch: &[Arc<Item>]) {
        let request = encode::request(&self.node, batch);
        let mut pause = RETRY_FIRST;
        while let Err(error) = self.try_send(request.clone()).await {
            if pause == RETRY_FIRST {
                tracing::warn!(%error, "the OTLP receiver does not take records; retrying");
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_LAST);
        }
    }

    async fn try_send(&mut self, request: ExportLogsServiceRequest) -> Result<(), tonic::Status> {
        let response = self.client.export(request).await?.into_inner();
        if let Some(partial) = response
            .partial_success
            .filter(|partial| partial.rejected_log_records > 0)
        {
            tracing::warn!(
                rejected = partial.rejected_log_records,
                message = partial.error_message,
                "the OTLP receiver rejected records"
            );
            self.refused.fetch_add(
                partial.rejected_log_records.unsigned_abs(),
                Ordering::Relaxed,
            );
        }
        Ok(())
    }

    /// What the full queue turned away since the last time.
    fn loss(&mut self) -> Option<Item> {
        let records = self.refused.swap(0, Ordering::Relaxed);
        let from = std::mem::replace(&mut self.since, now());
        (records > 0).then(|| {
            Item::Loss(LossRecord {
                time: self.since,
                node: self.node.clone(),
                place: LossPlace::Otlp,
                endpoint: None,
                records,
                packets: 0,
                bytes: 0,
                from,
                to: self.since,
            })
        })
    }
}

async fn fill(batch: &mut Vec<Arc<Item>>, queue: &mut mpsc::Receiver<Arc<Item>>) {
    let until = Instant::now() + BATCH_WAIT;
    while batch.len() < BATCH {
        match timeout_at(until, queue.recv()).await {
            Ok(Some(item)) => batch.push(item),
            Ok(None) | Err(_) => break,
        }
    }
}

fn now() -> Timestamp {
    Timestamp(i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX))
}
