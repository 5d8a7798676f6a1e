//! `weir.v1.Collector`: what a node agent says beyond Hubble's API.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use weir_flow::{Mode, Tally, Timestamp};
use weir_policy::model::{self, Name};
use weir_proto::weir::v1 as wire;
use weir_proto::weir::v1::collector_server;

use super::explain::{Explainer, policy};
use crate::endpoints::{EndpointInfo, EndpointState, EndpointView};
use crate::pipeline::{LedgerLine, LossTotal, PipelineStatus, StatusView};
use crate::policy_state::{PolicyInForce, PolicyReader};
use crate::uplink::Uplink;

/// The service.
pub struct Collector {
    /// This node.
    pub node: Arc<str>,
    /// What is done with denied traffic.
    pub mode: Mode,
    /// When this run began.
    pub started: Timestamp,
    /// Answers from the policies in force.
    pub explainer: Explainer,
    /// The policies in force.
    pub policies: PolicyReader,
    /// The pods' interfaces.
    pub endpoints: EndpointView,
    /// Tables, ledger, losses.
    pub pipeline: StatusView,
    /// The way to the aggregator, if there is one.
    pub uplink: Option<Uplink>,
}

#[tonic::async_trait]
impl collector_server::Collector for Collector {
    async fn explain(
        &self,
        request: Request<wire::ExplainRequest>,
    ) -> Result<Response<wire::ExplainResponse>, Status> {
        let explained = self.explainer.explain(request.get_ref()).await?;
        Ok(Response::new(explained))
    }

    async fn status(
        &self,
        request: Request<wire::StatusRequest>,
    ) -> Result<Response<wire::StatusResponse>, Status> {
        let state = self.policies.get();
        let pipeline = self.pipeline.get();
        let endpoints = if request.get_ref().endpoints {
            self.endpoint_list(&state, &pipeline)
        } else {
            Vec::new()
        };
        let error = |error: &Option<Arc<str>>| error.as_deref().unwrap_or_default().to_owned();
        Ok(Response::new(wire::StatusResponse {
            node: self.node.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            mode: self.mode.as_str().to_owned(),
            started: Some(self.started.into()),
            policy_revision: state.revision,
            policy_applied: (state.revision > 0).then(|| state.applied.into()),
            policy_error: error(&state.policy_error),
            policies: state.cluster.policies.len() as u64,
            endpoints,
            maps: maps(&state, &pipeline),
            losses: pipeline.losses.iter().map(loss).collect(),
            uplink: self.uplink.as_ref().map(uplink),
            records: pipeline.records,
            flow_ring_full: pipeline.flow_ring_full,
            denial_ring_full: pipeline.denial_ring_full,
            policy_epoch: state.epoch,
            manifest_error: error(&state.refused),
        }))
    }
}

impl Collector {
    fn endpoint_list(
        &self,
        state: &PolicyInForce,
        pipeline: &PipelineStatus,
    ) -> Vec<wire::EndpointStatus> {
        let mut endpoints = self.endpoints.all();
        endpoints.sort_by(|a, b| (&a.pod, a.id).cmp(&(&b.pod, b.id)));
        let describe = |info: &Arc<EndpointInfo>| {
            let lines = pipeline.ledger.get(&info.id).map_or(&[][..], Vec::as_slice);
            endpoint(info, state, lines)
        };
        endpoints.iter().map(describe).collect()
    }
}

fn endpoint(
    info: &EndpointInfo,
    state: &PolicyInForce,
    ledger: &[LedgerLine],
) -> wire::EndpointStatus {
    let name = info.pod.clone().unwrap_or_else(|| Name::new("", ""));
    let isolated_by = |direction| {
        let policies = state.cluster.policies.values();
        let pod = state.cluster.pods.get(&name);
        let isolates = |policy: &&Arc<model::NetworkPolicy>| {
            policy.isolates(direction) && pod.is_some_and(|pod| policy.selects(pod))
        };
        policies
            .filter(isolates)
            .map(|isolating| policy(&isolating.name))
            .collect()
    };
    wire::EndpointStatus {
        namespace: name.namespace.to_string(),
        pod: name.name.to_string(),
        interface: info.interface.to_string(),
        ifindex: info.ifindex,
        addresses: info.addresses.iter().map(ToString::to_string).collect(),
        state: info.state.as_str().to_owned(),
        attached_at: Some(info.attached_at.into()),
        programmed_at: info.programmed_at.map(Into::into),
        ingress_isolated_by: isolated_by(model::Direction::Ingress),
        egress_isolated_by: isolated_by(model::Direction::Egress),
        id: info.id,
        revision: revision(info, state),
        mode: info.mode.as_str().to_owned(),
        ledger: ledger.iter().map(ledger_line).collect(),
    }
}

/// Revision of the policy in force at an endpoint; 0 while its posture decides.
pub(super) fn revision(info: &EndpointInfo, state: &PolicyInForce) -> u64 {
    match info.state {
        EndpointState::Programmed => state.revision,
        EndpointState::Unmapped | EndpointState::Pending | EndpointState::Gone => 0,
    }
}

fn ledger_line(line: &LedgerLine) -> wire::LedgerLine {
    wire::LedgerLine {
        direction: line.direction.as_str().to_owned(),
        verdict: line.verdict.as_str().to_owned(),
        reason: line.reason.as_str().to_owned(),
        total: Some(tally(&line.total)),
    }
}

fn tally(tally: &Tally) -> wire::Tally {
    wire::Tally {
        packets: tally.packets,
        bytes: tally.bytes,
        segments: tally.segments,
    }
}

fn maps(state: &PolicyInForce, pipeline: &PipelineStatus) -> Vec<wire::MapStatus> {
    let tables = pipeline.tables.iter().map(|table| wire::MapStatus {
        name: table.name.to_owned(),
        used: table.used,
        capacity: table.capacity,
    });
    let policy = state
        .maps
        .iter()
        .map(|(name, (used, capacity))| wire::MapStatus {
            name: (*name).to_owned(),
            used: u64::from(*used),
            capacity: u64::from(*capacity),
        });
    tables.chain(policy).collect()
}

fn loss(loss: &LossTotal) -> wire::LossRecord {
    wire::LossRecord {
        place: loss.place.as_str().to_owned(),
        records: loss.records,
        packets: loss.packets,
        bytes: loss.bytes,
        endpoint: String::new(),
        first: Some(loss.first.into()),
        last: Some(loss.last.into()),
    }
}

fn uplink(uplink: &Uplink) -> wire::UplinkStatus {
    let stats = uplink.stats();
    wire::UplinkStatus {
        target: stats.url,
        connected: stats.connected,
        unacked_bytes: stats.unacked_bytes,
        max_bytes: stats.max_bytes,
    }
}
