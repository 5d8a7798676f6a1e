//! `GetFlowsRequest.field_mask`: which fields of a flow a client wants.

use weir_proto::flow::{Endpoint, Flow};
use weir_proto::types::FieldMask;

/// A compiled mask.
///
/// Paths into `source` and `destination` are followed; a path into any other message brings the whole message. Two
/// fields always come, because the CLI up to 1.19 prints them and does not ask for them (cilium/hubble#1781).
#[derive(Clone, Debug, Default)]
pub struct Mask {
    paths: Vec<String>,
}

/// A path of a mask names no field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("field_mask: flow.Flow has no field {0:?}")]
pub struct MaskError(String);

const ALWAYS: [&str; 2] = ["traffic_direction", "policy_match_type"];

impl Mask {
    /// Compiles a request's mask; none, or an empty one, lets everything pass.
    ///
    /// # Errors
    /// A path names no field of `flow.Flow`.
    pub fn compile(mask: Option<&FieldMask>) -> Result<Self, MaskError> {
        let paths = mask.map_or(&[][..], |mask| &mask.paths);
        for path in paths {
            let known = match path.split_once('.') {
                Some(("source" | "destination", field)) => ENDPOINT_FIELDS.contains(&field),
                Some((field, _)) => FLOW_FIELDS.contains(&field),
                None => FLOW_FIELDS.contains(&path.as_str()),
            };
            if !known {
                return Err(MaskError(path.clone()));
            }
        }
        Ok(Self {
            paths: paths.to_vec(),
        })
    }

    /// The flow with the wanted fields only.
    pub fn apply(&self, flow: Flow) -> Flow {
        if self.paths.is_empty() {
            return flow;
        }
        let mut kept = copy(self, flow);
        kept.source = kept.source.map(|side| self.endpoint("source", side));
        kept.destination = kept
            .destination
            .map(|side| self.endpoint("destination", side));
        kept
    }

    /// Whether the field, or a part of it, is wanted.
    fn wants(&self, field: &str) -> bool {
        let names = |path: &str| {
            path.strip_prefix(field)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        ALWAYS.contains(&field) || self.paths.iter().any(|path| names(path))
    }

    fn endpoint(&self, side: &str, from: Endpoint) -> Endpoint {
        if self.paths.iter().any(|path| path == side) {
            return from;
        }
        let wants = |field: &str| {
            let path = |path: &String| {
                path.strip_prefix(side)?
                    .strip_prefix('.')
                    .map(str::to_owned)
            };
            self.paths.iter().filter_map(path).any(|path| path == field)
        };
        let mut kept = Endpoint::default();
        if wants("ID") {
            kept.id = from.id;
        }
        if wants("identity") {
            kept.identity = from.identity;
        }
        if wants("cluster_name") {
            kept.cluster_name = from.cluster_name;
        }
        if wants("namespace") {
            kept.namespace = from.namespace;
        }
        if wants("labels") {
            kept.labels = from.labels;
        }
        if wants("pod_name") {
            kept.pod_name = from.pod_name;
        }
        if wants("workloads") {
            kept.workloads = from.workloads;
        }
        kept
    }
}

const ENDPOINT_FIELDS: [&str; 7] = [
    "ID",
    "identity",
    "cluster_name",
    "namespace",
    "labels",
    "pod_name",
    "workloads",
];

macro_rules! fields {
    ($($field:ident = $name:literal),* $(,)?) => {
        /// The fields of `flow.Flow`, by their names in the .proto file.
        const FLOW_FIELDS: &[&str] = &[$($name),*];

        #[allow(deprecated, reason = "clients still ask for drop_reason, reply and Summary")]
        fn copy(mask: &Mask, from: Flow) -> Flow {
            let mut kept = Flow::default();
            $(if mask.wants($name) { kept.$field = from.$field; })*
            kept
        }
    };
}

fields! {
    time = "time",
    uuid = "uuid",
    verdict = "verdict",
    drop_reason = "drop_reason",
    auth_type = "auth_type",
    ethernet = "ethernet",
    ip = "IP",
    l4 = "l4",
    tunnel = "tunnel",
    source = "source",
    destination = "destination",
    r#type = "Type",
    node_name = "node_name",
    node_labels = "node_labels",
    source_names = "source_names",
    destination_names = "destination_names",
    l7 = "l7",
    reply = "reply",
    event_type = "event_type",
    source_service = "source_service",
    destination_service = "destination_service",
    traffic_direction = "traffic_direction",
    policy_match_type = "policy_match_type",
    trace_observation_point = "trace_observation_point",
    trace_reason = "trace_reason",
    file = "file",
    ip_trace_id = "ip_trace_id",
    drop_reason_desc = "drop_reason_desc",
    is_reply = "is_reply",
    debug_capture_point = "debug_capture_point",
    interface = "interface",
    proxy_port = "proxy_port",
    trace_context = "trace_context",
    sock_xlate_point = "sock_xlate_point",
    socket_cookie = "socket_cookie",
    cgroup_id = "cgroup_id",
    emitter = "emitter",
    summary = "Summary",
    extensions = "extensions",
    egress_allowed_by = "egress_allowed_by",
    ingress_allowed_by = "ingress_allowed_by",
    egress_denied_by = "egress_denied_by",
    ingress_denied_by = "ingress_denied_by",
    policy_log = "policy_log",
    aggregate = "aggregate",
}
