//! The JSON of the two messages that Hubble prints one a line: what it is about comes first, then the node and the time.

use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::observer::{ExportEvent, GetFlowsResponse, export_event, get_flows_response};
use crate::types::Timestamp;

impl Serialize for GetFlowsResponse {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use get_flows_response::ResponseTypes as Kind;
        let mut map = serializer.serialize_map(None)?;
        match &self.response_types {
            Some(Kind::Flow(flow)) => map.serialize_entry("flow", flow)?,
            Some(Kind::NodeStatus(status)) => map.serialize_entry("node_status", status)?,
            Some(Kind::LostEvents(lost)) => map.serialize_entry("lost_events", lost)?,
            None => {}
        }
        origin(&mut map, &self.node_name, self.time)?;
        map.end()
    }
}

impl Serialize for ExportEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use export_event::ResponseTypes as Kind;
        let mut map = serializer.serialize_map(None)?;
        match &self.response_types {
            Some(Kind::Flow(flow)) => map.serialize_entry("flow", flow)?,
            Some(Kind::NodeStatus(status)) => map.serialize_entry("node_status", status)?,
            Some(Kind::LostEvents(lost)) => map.serialize_entry("lost_events", lost)?,
            Some(Kind::AgentEvent(event)) => map.serialize_entry("agent_event", event)?,
            Some(Kind::DebugEvent(event)) => map.serialize_entry("debug_event", event)?,
            None => {}
        }
        origin(&mut map, &self.node_name, self.time)?;
        map.end()
    }
}

fn origin<M: SerializeMap>(
    map: &mut M,
    node: &str,
    time: Option<Timestamp>,
) -> Result<(), M::Error> {
    if !node.is_empty() {
        map.serialize_entry("node_name", node)?;
    }
    if let Some(time) = time {
        map.serialize_entry("time", &time)?;
    }
    Ok(())
}
