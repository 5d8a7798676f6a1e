//! `weir.v1.Aggregator`.

use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use weir_proto::weir::v1::aggregator_server::Aggregator;
use weir_proto::weir::v1::{
    AggregatorStatusRequest, AggregatorStatusResponse, Answer, ExplainRequest, ExplainResponse,
    NodeStatus, Question,
};

use super::Shared;
use crate::nodes::Node;

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct AggregatorStatus(pub(crate) Shared);

#[tonic::async_trait]
impl Aggregator for AggregatorStatus {
    type QuestionsStream = ReceiverStream<Result<Question, Status>>;

    async fn explain(
        &self,
        request: Request<ExplainRequest>,
    ) -> Result<Response<ExplainResponse>, Status> {
        let explained = self.0.asked.explain(request.into_inner()).await?;
        Ok(Response::new(explained))
    }

    async fn questions(
        &self,
        request: Request<Streaming<Answer>>,
    ) -> Result<Response<Self::QuestionsStream>, Status> {
        let (asked, stop) = (self.0.asked.clone(), self.0.stop.clone());
        let questions = asked.collector(request.into_inner(), stop).await?;
        Ok(Response::new(ReceiverStream::new(questions)))
    }

    async fn status(
        &self,
        _: Request<AggregatorStatusRequest>,
    ) -> Result<Response<AggregatorStatusResponse>, Status> {
        let shared = &self.0;
        let sizes = shared.store.sizes();
        let nodes = shared.nodes.list().into_iter();
        Ok(Response::new(AggregatorStatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: Some(shared.started_at.into()),
            nodes: nodes.map(|(name, node)| describe(name, &node)).collect(),
            rows: shared.metrics.rows.get(),
            duplicates: shared.metrics.duplicates.get(),
            wal_bytes: shared.metrics.wal_bytes.get(),
            parquet_files: sizes.files,
            parquet_bytes: sizes.file_bytes,
            recent_bytes: sizes.recent_bytes,
            recent_max_bytes: sizes.recent_max_bytes,
        }))
    }
}

fn describe(name: String, node: &Node) -> NodeStatus {
    NodeStatus {
        name,
        connected: node.is_connected(),
        last_batch: node.last_batch.map(Into::into),
        rows: node.rows,
        lost_records: node.lost_records,
        lost_packets: node.lost_packets,
    }
}
