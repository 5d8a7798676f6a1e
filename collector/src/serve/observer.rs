//! Hubble's `observer.Observer`.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use futures::Stream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use weir_flow::Item;
use weir_flow::hubble::{CLUSTER, EXTENSION_HEADER, Extension};
use weir_flow::request::FlowsRequest;
use weir_proto::observer::{
    GetAgentEventsRequest, GetAgentEventsResponse, GetDebugEventsRequest, GetDebugEventsResponse,
    GetFlowsRequest, GetFlowsResponse, GetNamespacesRequest, GetNamespacesResponse,
    GetNodesRequest, GetNodesResponse, Namespace, ServerStatusRequest, ServerStatusResponse,
    observer_server,
};

use super::flows::Query;
use crate::recent::Recent;

/// Answers on their way to a slow client; then its cursor waits in the store.
const ANSWERS: usize = 256;
/// Items looked through at a time.
const CHUNK: usize = 4096;

/// The service.
pub struct Observer {
    recent: Recent,
    node: Arc<str>,
    started: Instant,
}

impl Observer {
    /// Serves what is in `recent`.
    pub fn new(recent: Recent, node: Arc<str>) -> Self {
        Self {
            recent,
            node,
            started: Instant::now(),
        }
    }

    /// The namespaces of all flows in the store.
    fn namespaces(&self) -> BTreeSet<Arc<str>> {
        let mut namespaces = BTreeSet::new();
        let (mut cursor, end) = (self.recent.begin(), self.recent.end());
        while cursor < end {
            let chunk = self.recent.read(cursor, CHUNK);
            for item in &chunk.items {
                if let Item::Flow(record) = &**item {
                    namespaces
                        .extend([&record.local, &record.remote].map(|end| end.namespace.clone()));
                }
            }
            cursor = chunk.next;
        }
        namespaces.remove("");
        namespaces
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl observer_server::Observer for Observer {
    type GetFlowsStream = ReceiverStream<Result<GetFlowsResponse, Status>>;
    type GetAgentEventsStream = Answers<GetAgentEventsResponse>;
    type GetDebugEventsStream = Answers<GetDebugEventsResponse>;

    async fn get_flows(
        &self,
        request: Request<GetFlowsRequest>,
    ) -> Result<Response<Self::GetFlowsStream>, Status> {
        let extension = match request.metadata().get(EXTENSION_HEADER) {
            Some(_) => Extension::Attached,
            None => Extension::Omitted,
        };
        let compiled = FlowsRequest::compile(request.get_ref());
        let request = compiled.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let (answers, stream) = mpsc::channel(ANSWERS);
        let query = Query {
            recent: self.recent.clone(),
            node: self.node.clone(),
            request,
            extension,
            answers,
        };
        tokio::spawn(query.run());
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn server_status(
        &self,
        _: Request<ServerStatusRequest>,
    ) -> Result<Response<ServerStatusResponse>, Status> {
        let fill = self.recent.fill();
        let uptime = self.started.elapsed();
        Ok(Response::new(ServerStatusResponse {
            num_flows: fill.items,
            max_flows: fill.capacity,
            seen_flows: fill.written,
            uptime_ns: u64::try_from(uptime.as_nanos()).unwrap_or(u64::MAX),
            version: concat!("weir ", env!("CARGO_PKG_VERSION")).to_owned(),
            flows_rate: fill.written as f64 / uptime.as_secs_f64().max(1.0),
            ..ServerStatusResponse::default()
        }))
    }

    async fn get_namespaces(
        &self,
        _: Request<GetNamespacesRequest>,
    ) -> Result<Response<GetNamespacesResponse>, Status> {
        let namespaces = self.namespaces().into_iter().map(|namespace| Namespace {
            cluster: CLUSTER.to_owned(),
            namespace: namespace.to_string(),
        });
        Ok(Response::new(GetNamespacesResponse {
            namespaces: namespaces.collect(),
        }))
    }

    async fn get_nodes(
        &self,
        _: Request<GetNodesRequest>,
    ) -> Result<Response<GetNodesResponse>, Status> {
        Err(Status::unimplemented(
            "a collector knows its own node only: ask the aggregator",
        ))
    }

    async fn get_agent_events(
        &self,
        _: Request<GetAgentEventsRequest>,
    ) -> Result<Response<Self::GetAgentEventsStream>, Status> {
        Err(Status::unimplemented("there are no agent events"))
    }

    async fn get_debug_events(
        &self,
        _: Request<GetDebugEventsRequest>,
    ) -> Result<Response<Self::GetDebugEventsStream>, Status> {
        Err(Status::unimplemented("there are no debug events"))
    }
}
