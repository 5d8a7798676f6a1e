//! One collector's stream.

use std::sync::Arc;

use arrow_flight::{FlightData, PutResult};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use futures::{FutureExt, StreamExt};
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use weir_flow::columns::{self, Codec, ColumnsError, Facts, MAX_FRAME_BYTES};
use weir_proto::weir::v1::{UplinkAck, UplinkBatch, UplinkHello};

use super::{Answers, Ingest};
use crate::store::{Batch, StoreError, Stored};

/// Batches of one stream that are being stored; a collector that sends more waits.
const IN_FLIGHT: usize = 64;

/// Serves a stream in a task of its own; the answers come as they are ready.
pub(super) fn serve(
    ingest: Ingest,
    requests: Streaming<FlightData>,
) -> Result<Answers<PutResult>, Status> {
    let codec = Codec::new().map_err(|error| Status::internal(error.to_string()))?;
    let (answers, stream) = mpsc::channel(IN_FLIGHT);
    tokio::spawn(async move {
        let refused = ingest.metrics.refused.clone();
        let served = Stream {
            ingest,
            codec,
            requests,
            answers: answers.clone(),
        };
        if let Err(status) = served.run().await {
            if status.code() == tonic::Code::InvalidArgument {
                refused.inc();
            }
            // If the collector is gone, it needs no reason.
            drop(answers.send(Err(status)).await);
        }
    });
    Ok(ReceiverStream::new(stream).boxed())
}

struct Stream {
    ingest: Ingest,
    codec: Codec,
    requests: Streaming<FlightData>,
    answers: mpsc::Sender<Result<PutResult, Status>>,
}

/// A batch's way to disk.
type Storing = BoxFuture<'static, (UplinkBatch, Result<Stored, Arc<StoreError>>)>;

impl Stream {
    async fn run(mut self) -> Result<(), Status> {
        let Some(first) = self.requests.message().await? else {
            return Ok(());
        };
        let hello = self.hello(&first)?;
        let connection = self.ingest.nodes.connect(&hello.node, &hello.version);
        tracing::info!(
            node = hello.node,
            version = hello.version,
            "collector connected"
        );
        let ended = self.batches(&hello.node).await;
        drop(connection);
        match &ended {
            Ok(()) => tracing::info!(node = hello.node, "collector disconnected"),
            Err(status) => {
                tracing::warn!(
                    node = hello.node,
                    reason = status.message(),
                    "collector's stream ended"
                );
            }
        }
        ended
    }

    fn hello(&self, first: &FlightData) -> Result<UplinkHello, Status> {
        self.codec
            .check_schema(&first.data_header)
            .map_err(|error| Status::invalid_argument(format!("the stream's schema: {error}")))?;
        let hello = UplinkHello::decode(first.app_metadata.clone())
            .map_err(|error| Status::invalid_argument(format!("the stream's hello: {error}")))?;
        if hello.node.is_empty() {
            return Err(Status::invalid_argument("the stream's hello names no node"));
        }
        Ok(hello)
    }

    async fn batches(&mut self, node: &str) -> Result<(), Status> {
        let mut storing: FuturesOrdered<Storing> = FuturesOrdered::new();
        let mut frame = Vec::new();
        let mut open = true;
        let stop = self.ingest.stop.clone();
        while open || !storing.is_empty() {
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    return Err(Status::unavailable("the aggregator is shutting down"));
                }
                Some((id, stored)) = storing.next() => self.answer(id, stored).await?,
                message = self.requests.message(), if open && storing.len() < IN_FLIGHT => {
                    match message? {
                        Some(data) => storing.extend(self.take(node, &mut frame, data).await?),
                        None => open = false,
                    }
                }
            }
        }
        Ok(())
    }

    /// Adds a message to the frame in the making; when the batch itself has come, it is on its way to disk.
    async fn take(
        &self,
        node: &str,
        frame: &mut Vec<u8>,
        data: FlightData,
    ) -> Result<Option<Storing>, Status> {
        self.codec
            .append(frame, &data.data_header, &data.data_body)
            .map_err(|error| refuse(node, &error))?;
        if frame.len() > MAX_FRAME_BYTES {
            return Err(refuse(
                node,
                &format!("larger than {MAX_FRAME_BYTES} bytes"),
            ));
        }
        if !columns::Message::is_batch(&data.data_header) {
            return Ok(None);
        }
        let frame = Bytes::from(std::mem::take(frame));
        let id = UplinkBatch::decode(data.app_metadata)
            .map_err(|error| refuse(node, &format!("its number: {error}")))?;
        if id.seq == 0 {
            return Err(refuse(node, &"its number is 0, numbers begin with 1"));
        }
        let batch = self
            .batch(node, id, &frame)
            .map_err(|error| refuse(node, &error))?;
        self.ingest
            .metrics
            .received_bytes
            .inc_by(frame.len() as u64);
        let facts = batch.facts.clone();
        let (node, nodes) = (node.to_owned(), self.ingest.nodes.clone());
        let submitted = self.ingest.store.submit(batch).await;
        let submitted = submitted.map_err(|error| not_stored(&error))?;
        let storing = async move {
            let stored = submitted.stored().await;
            if let Ok(Stored::New) = stored {
                nodes.stored(&node, &facts);
            }
            (id, stored)
        };
        Ok(Some(storing.boxed()))
    }

    fn batch(&self, node: &str, id: UplinkBatch, frame: &Bytes) -> Result<Batch, ColumnsError> {
        let rows = self.codec.decode(frame)?;
        Ok(Batch {
            node: node.to_owned(),
            epoch: id.epoch,
            seq: id.seq,
            packed: Codec::pack(frame).into(),
            facts: Facts::of(&rows)?,
            rows,
        })
    }

    async fn answer(
        &self,
        id: UplinkBatch,
        stored: Result<Stored, Arc<StoreError>>,
    ) -> Result<(), Status> {
        stored.map_err(|error| not_stored(&error))?;
        let ack = UplinkAck {
            epoch: id.epoch,
            seq: id.seq,
        };
        let answer = PutResult {
            app_metadata: ack.encode_to_vec().into(),
        };
        self.answers
            .send(Ok(answer))
            .await
            .map_err(|_| Status::cancelled("the collector is gone"))
    }
}

fn refuse(node: &str, what: &dyn std::fmt::Display) -> Status {
    Status::invalid_argument(format!("a batch of node {node}: {what}"))
}

fn not_stored(error: &StoreError) -> Status {
    Status::unavailable(format!("not stored: {error}"))
}
