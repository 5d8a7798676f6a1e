//! Why a connection is allowed or denied, by the policies in force: for `weir.v1.Collector`, and for questions that
//! come through the aggregator.

use std::sync::Arc;

use tonic::Status;
use weir_policy::explain::{self, Description, Explanation, NamedRule, Party, Side};
use weir_policy::model::{Cluster, Direction, Name, Protocol};
use weir_proto::weir::v1 as wire;

use crate::policy_state::PolicyReader;

const KIND: &str = "NetworkPolicy";

/// Answers from the policies in force.
#[derive(Clone)]
pub struct Explainer {
    /// This node.
    pub node: Arc<str>,
    /// The policies in force.
    pub policies: PolicyReader,
}

/// What is asked.
enum Asked {
    /// A connection.
    Connection(explain::Request),
    /// A pod's isolation.
    Pod(Name, Direction),
}

/// What is answered.
enum Answered {
    Connection(Explanation),
    Pod(Description),
}

impl Explainer {
    /// Explains a connection, or a pod's isolation.
    ///
    /// # Errors
    /// `invalid_argument` names the field; `not_found` the party that is not there.
    pub async fn explain(
        &self,
        request: &wire::ExplainRequest,
    ) -> Result<wire::ExplainResponse, Status> {
        let asked = asked(request)?;
        let state = self.policies.get();
        let cluster = state.cluster.clone();
        // Compiling for the nodes of both sides may take a while in a large cluster.
        let answered = tokio::task::spawn_blocking(move || answer(&cluster, &asked)).await;
        let answered =
            answered.map_err(|error| Status::internal(format!("explaining: {error}")))??;
        let mut response = wire::ExplainResponse {
            revision: state.revision,
            node: self.node.to_string(),
            ..wire::ExplainResponse::default()
        };
        match answered {
            Answered::Connection(explanation) => {
                response.text = explain::to_text(&explanation);
                response.json = json(&explanation)?;
                response.allowed = explanation.allowed;
                response.sides = explanation.sides.iter().map(side).collect();
            }
            Answered::Pod(description) => {
                response.text = description.to_text();
                response.json = json(&description)?;
                response.allowed = true;
            }
        }
        Ok(response)
    }
}

fn answer(cluster: &Cluster, asked: &Asked) -> Result<Answered, Status> {
    let missing = |error: &dyn std::fmt::Display| Status::not_found(error.to_string());
    match asked {
        Asked::Connection(request) => explain::explain(cluster, request)
            .map(Answered::Connection)
            .map_err(|error| missing(&error)),
        Asked::Pod(name, direction) => explain::describe(cluster, name, *direction)
            .map(Answered::Pod)
            .map_err(|error| missing(&error)),
    }
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, Status> {
    serde_json::to_string(value)
        .map_err(|error| Status::internal(format!("encoding the explanation: {error}")))
}

fn asked(request: &wire::ExplainRequest) -> Result<Asked, Status> {
    let pod = |field: &str, text: &str| {
        text.parse::<Name>()
            .map_err(|error| Status::invalid_argument(format!("{field}: {error}")))
    };
    match (request.from.as_str(), request.to.as_str()) {
        ("", "") => Err(Status::invalid_argument("from and to are both missing")),
        (from, "") => Ok(Asked::Pod(pod("from", from)?, Direction::Egress)),
        ("", to) => Ok(Asked::Pod(pod("to", to)?, Direction::Ingress)),
        _ => explain_request(request).map(Asked::Connection),
    }
}

fn explain_request(request: &wire::ExplainRequest) -> Result<explain::Request, Status> {
    let invalid = |error: String| Status::invalid_argument(error);
    let party = |name: &str, text: &str| {
        text.parse::<Party>()
            .map_err(|error| invalid(format!("{name}: {error}")))
    };
    let port = u16::try_from(request.port)
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| invalid(format!("port: {} is not in 1..=65535", request.port)))?;
    let protocol = Protocol::parse(&request.protocol).ok_or_else(|| {
        invalid(format!(
            "protocol: `{}` is none of TCP, UDP, SCTP",
            request.protocol
        ))
    })?;
    Ok(explain::Request {
        from: party("from", &request.from)?,
        to: party("to", &request.to)?,
        protocol,
        port,
    })
}

fn side(side: &Side) -> wire::SideVerdict {
    let rule = |rule: &NamedRule| wire::RuleRef {
        policy: Some(policy(&rule.policy)),
        direction: side.direction.as_str().to_owned(),
        index: rule.index,
    };
    wire::SideVerdict {
        direction: side.direction.as_str().to_owned(),
        pod: side.pod.to_string(),
        allowed: side.allowed,
        reason: side.reason.as_str().to_owned(),
        rule: side.rule.as_ref().map(rule),
        isolated_by: side.isolated_by.iter().map(policy).collect(),
        nearest_miss: side.nearest_miss().unwrap_or_default(),
        suggested_yaml: side.suggestion.clone().unwrap_or_default(),
    }
}

/// A policy's name on the wire.
pub(super) fn policy(name: &Name) -> wire::PolicyRef {
    wire::PolicyRef {
        kind: KIND.to_owned(),
        namespace: name.namespace.to_string(),
        name: name.name.to_string(),
    }
}
