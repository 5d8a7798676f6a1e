//! `observer.Observer`, as hubble-relay serves it: over all nodes, and with history.

use futures::StreamExt;
use futures::stream::BoxStream;
use tonic::{Request, Response, Status};
use weir_proto::observer::observer_server;
use weir_proto::observer::{
    GetAgentEventsRequest, GetAgentEventsResponse, GetDebugEventsRequest, GetDebugEventsResponse,
    GetFlowsRequest, GetFlowsResponse, GetNamespacesRequest, GetNamespacesResponse,
    GetNodesRequest, GetNodesResponse, Namespace, Node, ServerStatusRequest, ServerStatusResponse,
};
use weir_proto::relay::NodeState;
use weir_proto::types::UInt32Value;

use super::{Shared, flows};
use crate::nodes;
use weir_flow::hubble::CLUSTER;

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct Observer(pub(crate) Shared);

type Answers<T> = BoxStream<'static, Result<T, Status>>;

/// The level of Hubble's API that is served. Its CLI warns if a server's is above its own.
const HUBBLE_VERSION: &str = "1.16.0";

#[tonic::async_trait]
impl observer_server::Observer for Observer {
    type GetFlowsStream = Answers<GetFlowsResponse>;
    type GetAgentEventsStream = Answers<GetAgentEventsResponse>;
    type GetDebugEventsStream = Answers<GetDebugEventsResponse>;

    async fn get_flows(
        &self,
        request: Request<GetFlowsRequest>,
    ) -> Result<Response<Self::GetFlowsStream>, Status> {
        let stream = flows::serve(self.0.clone(), request)?;
        Ok(with_version(stream.boxed()))
    }

    async fn get_agent_events(
        &self,
        _: Request<GetAgentEventsRequest>,
    ) -> Result<Response<Self::GetAgentEventsStream>, Status> {
        Err(Status::unimplemented("agent events are not collected"))
    }

    async fn get_debug_events(
        &self,
        _: Request<GetDebugEventsRequest>,
    ) -> Result<Response<Self::GetDebugEventsStream>, Status> {
        Err(Status::unimplemented("debug events are not collected"))
    }

    async fn get_nodes(
        &self,
        _: Request<GetNodesRequest>,
    ) -> Result<Response<GetNodesResponse>, Status> {
        let nodes = self.0.nodes.list().into_iter();
        let nodes = nodes.map(|(name, node)| describe(name, &node)).collect();
        Ok(with_version(GetNodesResponse { nodes }))
    }

    async fn get_namespaces(
        &self,
        _: Request<GetNamespacesRequest>,
    ) -> Result<Response<GetNamespacesResponse>, Status> {
        let names = self.0.nodes.namespaces().into_iter();
        let namespaces = names.map(|namespace| Namespace {
            cluster: CLUSTER.to_owned(),
            namespace,
        });
        Ok(with_version(GetNamespacesResponse {
            namespaces: namespaces.collect(),
        }))
    }

    async fn server_status(
        &self,
        _: Request<ServerStatusRequest>,
    ) -> Result<Response<ServerStatusResponse>, Status> {
        Ok(with_version(server_status(&self.0)))
    }
}

fn with_version<T>(message: T) -> Response<T> {
    let mut response = Response::new(message);
    let version = tonic::metadata::MetadataValue::from_static(HUBBLE_VERSION);
    response
        .metadata_mut()
        .insert("hubble-relay-version", version);
    response
}

fn describe(name: String, node: &nodes::Node) -> Node {
    let state = if node.is_connected() {
        NodeState::NodeConnected
    } else {
        NodeState::NodeUnavailable
    };
    let uptime = node.connected_at.map(|at| at.elapsed().as_nanos());
    Node {
        name,
        version: node.version.clone(),
        address: String::new(),
        state: state as i32,
        tls: None,
        uptime_ns: uptime.map_or(0, |time| u64::try_from(time).unwrap_or(u64::MAX)),
        num_flows: node.rows,
        max_flows: node.rows,
        seen_flows: node.rows,
    }
}

fn server_status(shared: &Shared) -> ServerStatusResponse {
    let nodes = shared.nodes.list();
    let (connected, unavailable): (Vec<_>, Vec<_>) =
        nodes.into_iter().partition(|(_, node)| node.is_connected());
    let sizes = shared.store.sizes();
    let seen = shared.metrics.rows.get();
    let uptime = shared.started.elapsed();
    // Memory holds what it holds, in bytes: as many flows as there are is what fits.
    ServerStatusResponse {
        num_flows: sizes.recent_rows,
        max_flows: sizes.recent_rows.max(1),
        seen_flows: seen,
        uptime_ns: u64::try_from(uptime.as_nanos()).unwrap_or(u64::MAX),
        num_connected_nodes: Some(count(connected.len())),
        num_unavailable_nodes: Some(count(unavailable.len())),
        unavailable_nodes: unavailable.into_iter().map(|(name, _)| name).collect(),
        version: concat!("weir ", env!("CARGO_PKG_VERSION")).to_owned(),
        flows_rate: seen as f64 / uptime.as_secs_f64().max(1.0),
    }
}

fn count(number: usize) -> UInt32Value {
    UInt32Value {
        value: u32::try_from(number).unwrap_or(u32::MAX),
    }
}
