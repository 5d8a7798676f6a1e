//! `weir.v1.Node`: what a collector does for programs of its own node, e.g. the CNI plugin.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tonic::{Request, Response, Status};
use weir_policy::model::Name;
use weir_proto::weir::v1 as wire;
use weir_proto::weir::v1::node_server;

use super::weir::revision;
use crate::config::Posture;
use crate::endpoints::{Attaching, Claim, ClaimError, EndpointInfo, EndpointState, EndpointView};
use crate::policy_state::PolicyReader;

/// No caller waits longer for policies, whatever it asks for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(5);

/// The service. Not for TCP: a caller is believed about whose an interface is.
pub struct Node {
    /// This node.
    pub node: Arc<str>,
    /// What happens to pods whose policies are not known.
    pub posture: Posture,
    /// Has interfaces carry the programs.
    pub attaching: Attaching,
    /// The pods' interfaces.
    pub endpoints: EndpointView,
    /// The policies in force.
    pub policies: PolicyReader,
}

#[tonic::async_trait]
impl node_server::Node for Node {
    async fn attach(
        &self,
        request: Request<wire::AttachRequest>,
    ) -> Result<Response<wire::AttachResponse>, Status> {
        let request = request.into_inner();
        let wait = Duration::from_millis(request.policy_wait_ms.into()).min(LONGEST_WAIT);
        let claim = claim(request)?;
        let is_named = claim.pod.is_some();
        let attached = self.attaching.attach(claim).await;
        let endpoint = attached.map_err(|error| refusal(&error))?;
        let endpoint = if is_named {
            self.programmed(endpoint, wait).await
        } else {
            endpoint
        };
        Ok(Response::new(self.in_force(&endpoint)))
    }

    async fn check(
        &self,
        request: Request<wire::CheckRequest>,
    ) -> Result<Response<wire::AttachResponse>, Status> {
        let request = request.into_inner();
        let all = self.endpoints.all();
        let found = all.iter().find(|endpoint| {
            endpoint.state != EndpointState::Gone && endpoint.ifindex == request.host_ifindex
        });
        let (interface, ifindex) = (request.host_interface, request.host_ifindex);
        let not_found = || {
            Status::not_found(format!(
                "{interface} (interface {ifindex}) does not carry the programs"
            ))
        };
        let endpoint = found.ok_or_else(not_found)?;
        Ok(Response::new(self.in_force(endpoint)))
    }
}

impl Node {
    /// The endpoint once its policies are in force, or as it is when the wait is over.
    async fn programmed(&self, endpoint: Arc<EndpointInfo>, wait: Duration) -> Arc<EndpointInfo> {
        let end = Instant::now() + wait;
        let mut endpoint = endpoint;
        while endpoint.state != EndpointState::Programmed && Instant::now() < end {
            sleep(LOOK).await;
            endpoint = self.endpoints.get(endpoint.id).unwrap_or(endpoint);
        }
        endpoint
    }

    fn in_force(&self, endpoint: &EndpointInfo) -> wire::AttachResponse {
        wire::AttachResponse {
            node: self.node.to_string(),
            state: endpoint.state.as_str().to_owned(),
            attached_at: Some(endpoint.attached_at.into()),
            programmed_at: endpoint.programmed_at.map(Into::into),
            revision: revision(endpoint, &self.policies.get()),
            posture: self.posture.as_str().to_owned(),
            id: endpoint.id,
        }
    }
}

fn claim(request: wire::AttachRequest) -> Result<Claim, Status> {
    let pod = match (request.namespace.as_str(), request.pod.as_str()) {
        ("", "") => None,
        ("", pod) => {
            return Err(Status::invalid_argument(format!(
                "pod {pod} without its namespace"
            )));
        }
        (namespace, pod) => Some(Name::new(namespace, pod)),
    };
    let addresses = request.addresses.iter().map(|text| {
        text.parse::<IpAddr>()
            .map_err(|error| Status::invalid_argument(format!("address {text}: {error}")))
    });
    Ok(Claim {
        ifindex: request.host_ifindex,
        interface: request.host_interface,
        pod,
        uid: request.uid,
        addresses: addresses.collect::<Result<_, _>>()?,
    })
}

fn refusal(error: &ClaimError) -> Status {
    let text = error.to_string();
    match error {
        ClaimError::NoInterface { .. } => Status::not_found(text),
        ClaimError::OtherName { .. } | ClaimError::NotWanted { .. } => {
            Status::failed_precondition(text)
        }
        ClaimError::OtherVersion { .. } | ClaimError::Look(_) | ClaimError::Ended => {
            Status::unavailable(text)
        }
        ClaimError::Attach(_) => Status::internal(text),
    }
}
