//! Fields about things that Weir's records do not have.

use weir_proto::flow::FlowFilter;

use super::FilterError;

const NO_LAYER_7: &str = "Weir does not look into layer 7";
const NO_TRACE_IDS: &str = "Weir records no trace ids";

pub(super) fn check(filter: &FlowFilter) -> Result<(), FilterError> {
    let cel = filter
        .experimental
        .as_ref()
        .is_some_and(|experimental| !experimental.cel_expression.is_empty());
    let fields = [
        (
            !filter.http_status_code.is_empty(),
            "http_status_code",
            NO_LAYER_7,
        ),
        (!filter.http_method.is_empty(), "http_method", NO_LAYER_7),
        (!filter.http_path.is_empty(), "http_path", NO_LAYER_7),
        (!filter.http_url.is_empty(), "http_url", NO_LAYER_7),
        (!filter.http_header.is_empty(), "http_header", NO_LAYER_7),
        (!filter.dns_query.is_empty(), "dns_query", NO_LAYER_7),
        (!filter.trace_id.is_empty(), "trace_id", NO_TRACE_IDS),
        (!filter.ip_trace_id.is_empty(), "ip_trace_id", NO_TRACE_IDS),
        (
            !filter.source_ip_xlated.is_empty(),
            "source_ip_xlated",
            "Weir sees packets before their addresses are translated",
        ),
        (
            !filter.interface.is_empty(),
            "interface",
            "Weir's records name the pod, not its interface",
        ),
        (
            !filter.node_labels.is_empty(),
            "node_labels",
            "Weir's records do not carry node labels",
        ),
        (cel, "experimental.cel_expression", "Weir evaluates no CEL"),
    ];
    match fields.into_iter().find(|(set, ..)| *set) {
        Some((_, field, reason)) => Err(FilterError::Unsupported { field, reason }),
        None => Ok(()),
    }
}
