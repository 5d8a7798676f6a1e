//! The sender: connects, sends what is in the spool in order, and takes the acknowledgements.

use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightData, PutResult};
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use weir_flow::columns::{Codec, ColumnsError, MAX_FRAME_BYTES};
use weir_proto::weir::v1::{UplinkAck, UplinkBatch, UplinkHello};
use weir_tls::{Target, TlsError, status_cause};

use super::spool::Outgoing;
use super::{Config, Link, Position, Shared, SpoolError, lock};

/// Batches sent and not acknowledged yet.
const WINDOW: usize = 32;
/// Pauses between attempts to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Time for the last acknowledgements at the end.
const GRACE: Duration = Duration::from_secs(2);

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("connecting: {0}")]
    Connect(String),
    #[error("{}", status_cause(.0))]
    Refused(#[from] Status),
    #[error("the aggregator closed the stream")]
    Closed,
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error("a batch in the spool: {0}")]
    Batch(#[from] ColumnsError),
}

/// The aggregator, its address and the files for it checked.
pub(super) fn target(config: &Config) -> Result<Target, TlsError> {
    Target::new(&config.url, config.tls.clone(), |endpoint| {
        endpoint
            .connect_timeout(Duration::from_secs(5))
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10))
            .keep_alive_while_idle(true)
    })
}

/// Runs until `shutdown`, and then until everything is acknowledged or the grace time is over.
pub(super) async fn run(shared: Arc<Shared>, shutdown: CancellationToken) {
    let sender = Sender { shared: &shared };
    let end = async {
        shutdown.cancelled().await;
        shared.spool().flush();
        shared.spooled.notify_one();
        let drained = async {
            while shared.spool().unacked_batches() > 0 {
                shared.acked.notified().await;
            }
        };
        // What is not acknowledged stays in the spool for the next start.
        drop(tokio::time::timeout(GRACE, drained).await);
    };
    tokio::select! {
        () = sender.flush_in_time() => {}
        () = sender.keep_connected() => {}
        () = end => {}
    }
    *lock(&shared.link) = Link::Down;
}

struct Sender<'a> {
    shared: &'a Shared,
}

impl Sender<'_> {
    /// Makes batches of what was pushed, when it has waited long enough.
    async fn flush_in_time(&self) {
        loop {
            self.shared.buffered.notified().await;
            if self.shared.spool().has_buffered() {
                tokio::time::sleep(self.shared.config.batch_delay).await;
                self.shared.spool().flush();
                self.shared.spooled.notify_one();
            }
        }
    }

    async fn keep_connected(&self) {
        let mut pause = FIRST_PAUSE;
        let mut warned = false;
        loop {
            let mut acked = false;
            let ended = self.connection(&mut acked, &mut warned).await;
            *lock(&self.shared.link) = Link::Down;
            if acked {
                pause = FIRST_PAUSE;
            }
            let url = &self.shared.config.url;
            if warned {
                tracing::debug!(url, reason = %ended, ?pause, "still no aggregator");
            } else {
                tracing::warn!(url, reason = %ended, "no aggregator: records are kept, trying on");
                warned = true;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// One connection, until it ends. `warned` is cleared when the aggregator has acknowledged something.
    async fn connection(&self, acked: &mut bool, warned: &mut bool) -> Ended {
        let (answers, requests) = match self.connect().await {
            Ok(connected) => connected,
            Err(ended) => return ended,
        };
        *lock(&self.shared.link) = Link::Up;
        let url = &self.shared.config.url;
        tracing::info!(url, "connected to the aggregator");
        let ended = tokio::select! {
            ended = self.send(requests) => ended,
            ended = self.take_acks(answers, acked) => ended,
        };
        if *acked {
            *warned = false;
        }
        ended
    }

    async fn connect(&self) -> Result<(Streaming<PutResult>, mpsc::Sender<FlightData>), Ended> {
        let channel = self.shared.target.connect().await;
        let channel = channel.map_err(Ended::Connect)?;
        let mut client =
            FlightServiceClient::new(channel).max_encoding_message_size(MAX_FRAME_BYTES + 4096);
        let (requests, stream) = mpsc::channel(WINDOW);
        let hello = UplinkHello {
            node: self.shared.config.node.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let schema = FlightData::new()
            .with_data_header(self.shared.spool().schema_message())
            .with_app_metadata(hello.encode_to_vec());
        // The channel is new and has room.
        drop(requests.try_send(schema));
        let answers = client.do_put(ReceiverStream::new(stream)).await?;
        Ok((answers.into_inner(), requests))
    }

    /// Sends frames in order, as far as the window allows.
    async fn send(&self, requests: mpsc::Sender<FlightData>) -> Ended {
        let mut sent = None;
        loop {
            let next = {
                let spool = self.shared.spool();
                if spool.in_flight(sent) < WINDOW {
                    spool.next(sent)
                } else {
                    Ok(None)
                }
            };
            let messages = match next {
                Ok(Some(outgoing)) => messages(&outgoing).map(|data| (outgoing.position, data)),
                Ok(None) => {
                    tokio::select! {
                        () = self.shared.spooled.notified() => {}
                        () = self.shared.acked.notified() => {}
                    }
                    continue;
                }
                Err(error) => Err(error.into()),
            };
            let (position, messages) = match messages {
                Ok(messages) => messages,
                Err(error) => {
                    tracing::error!(%error, "a batch cannot be sent, counting its records as lost");
                    self.shared.spool().give_up(sent);
                    continue;
                }
            };
            for message in messages {
                if requests.send(message).await.is_err() {
                    // The acknowledging side has the reason.
                    return std::future::pending().await;
                }
            }
            sent = Some(position);
        }
    }

    async fn take_acks(&self, mut answers: Streaming<PutResult>, acked: &mut bool) -> Ended {
        loop {
            let answer = match answers.message().await {
                Ok(Some(answer)) => answer,
                Ok(None) => return Ended::Closed,
                Err(status) => return status.into(),
            };
            let ack = match UplinkAck::decode(answer.app_metadata) {
                Ok(ack) => ack,
                Err(error) => {
                    return Status::internal(format!("an acknowledgement: {error}")).into();
                }
            };
            self.shared.spool().acknowledge(Position {
                epoch: ack.epoch,
                seq: ack.seq,
            });
            *acked = true;
            self.shared.acked.notify_waiters();
            self.shared.acked.notify_one();
        }
    }
}

/// A frame as Flight messages; the last one, the batch itself, bears the number.
fn messages(outgoing: &Outgoing) -> Result<Vec<FlightData>, Ended> {
    let id = UplinkBatch {
        epoch: outgoing.position.epoch,
        seq: outgoing.position.seq,
    };
    let frame = Codec::unpack(&outgoing.packed)?;
    let mut messages: Vec<FlightData> = Codec::messages(&frame)?
        .into_iter()
        .map(|message| {
            FlightData::new()
                .with_data_header(message.header)
                .with_data_body(message.body)
        })
        .collect();
    if let Some(batch) = messages.last_mut() {
        batch.app_metadata = id.encode_to_vec().into();
    }
    Ok(messages)
}
