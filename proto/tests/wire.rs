//! Field numbers and JSON names are the interface: clients that were built elsewhere depend on them.

use prost::Message;
use weir_proto::weir::v1::FlowExtension;
use weir_proto::{flow, observer, types};

/// Encodes a varint field the way protobuf says: `number << 3 | 0`, then the value.
fn varint_field(number: u32, value: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_varint(u64::from(number << 3), &mut bytes);
    bytes.push(value);
    bytes
}

#[test]
fn field_numbers_are_hubbles() {
    let verdict = flow::Flow {
        verdict: flow::Verdict::Dropped.into(),
        ..flow::Flow::default()
    };
    assert_eq!(verdict.encode_to_vec(), varint_field(2, 2));
    let direction = flow::Flow {
        traffic_direction: flow::TrafficDirection::Egress.into(),
        ..flow::Flow::default()
    };
    assert_eq!(direction.encode_to_vec(), varint_field(22, 2));
    let follow = observer::GetFlowsRequest {
        follow: true,
        ..observer::GetFlowsRequest::default()
    };
    assert_eq!(follow.encode_to_vec(), varint_field(3, 1));
    let status = observer::ServerStatusResponse {
        seen_flows: 7,
        ..observer::ServerStatusResponse::default()
    };
    assert_eq!(status.encode_to_vec(), varint_field(3, 7));
    let lost = flow::LostEvent {
        num_events_lost: 5,
        ..flow::LostEvent::default()
    };
    assert_eq!(lost.encode_to_vec(), varint_field(2, 5));
}

#[test]
fn json_is_what_hubble_prints() {
    let flow = flow::Flow {
        time: Some(types::Timestamp {
            seconds: 1_767_225_600,
            nanos: 5_000_000,
        }),
        verdict: flow::Verdict::Dropped.into(),
        ip: Some(flow::Ip {
            source: "10.0.0.1".into(),
            ip_version: flow::IpVersion::IPv4.into(),
            ..flow::Ip::default()
        }),
        r#type: flow::FlowType::L3L4.into(),
        summary: "TCP Flags: SYN".into(),
        is_reply: Some(false.into()),
        ..flow::Flow::default()
    };
    let response = observer::GetFlowsResponse {
        response_types: Some(observer::get_flows_response::ResponseTypes::Flow(flow)),
        node_name: "node-1".into(),
        time: Some(types::Timestamp {
            seconds: 1_767_225_600,
            nanos: 0,
        }),
    };
    let json = weir_proto::to_json(&response).expect("serialisable");
    let expected = serde_json::json!({
        "flow": {
            "time": "2026-01-01T00:00:00.005Z",
            "verdict": "DROPPED",
            "IP": {"source": "10.0.0.1", "ipVersion": "IPv4"},
            "Type": "L3_L4",
            "Summary": "TCP Flags: SYN",
            "is_reply": false,
        },
        "node_name": "node-1",
        "time": "2026-01-01T00:00:00Z",
    });
    assert_eq!(json, expected);
}

#[test]
fn weirs_extension_is_written_out() {
    let extension = FlowExtension {
        reason: "default_deny".into(),
        revision: 7,
        ..FlowExtension::default()
    };
    let any = types::Any {
        type_url: weir_proto::FLOW_EXTENSION_TYPE_URL.into(),
        value: extension.encode_to_vec().into(),
    };
    let flow = flow::Flow {
        extensions: Some(any),
        ..flow::Flow::default()
    };
    let json = weir_proto::to_json(&flow).expect("serialisable");
    assert_eq!(json["extensions"]["reason"], "default_deny");
    assert_eq!(json["extensions"]["revision"], "7");
    assert_eq!(
        json["extensions"]["@type"],
        weir_proto::FLOW_EXTENSION_TYPE_URL
    );
}
