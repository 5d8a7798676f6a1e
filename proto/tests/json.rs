//! The JSON is what Hubble's `-o json` prints: one `GetFlowsResponse` a line, names as in the .proto files.

use prost::Message;
use weir_proto::types::{Any, FLOW_EXTENSION_TYPE_URL, Timestamp};
use weir_proto::weir::v1;
use weir_proto::{flow, observer, relay};

fn denial() -> observer::GetFlowsResponse {
    let time = Some(Timestamp {
        seconds: 1_767_225_600,
        nanos: 5_000_000,
    });
    let extension = v1::FlowExtension {
        id: Some(v1::FlowId {
            boot: u64::MAX,
            serial: 1 << 48,
        }),
        reason: "default_deny".into(),
        revision: 7,
        ..v1::FlowExtension::default()
    };
    let flow = flow::Flow {
        time,
        uuid: "d2b2".into(),
        verdict: flow::Verdict::Dropped.into(),
        drop_reason: 133,
        ip: Some(flow::Ip {
            source: "10.0.0.1".into(),
            destination: "10.0.0.2".into(),
            ip_version: flow::IpVersion::IPv4.into(),
            ..flow::Ip::default()
        }),
        l4: Some(flow::Layer4 {
            protocol: Some(flow::layer4::Protocol::Tcp(flow::Tcp {
                source_port: 40000,
                destination_port: 1234,
                flags: Some(flow::TcpFlags {
                    syn: true,
                    ..flow::TcpFlags::default()
                }),
            })),
        }),
        source: Some(flow::Endpoint {
            id: 3,
            identity: 256,
            labels: vec!["k8s:app=web".into()],
            ..flow::Endpoint::default()
        }),
        r#type: flow::FlowType::L3L4.into(),
        event_type: Some(flow::CiliumEventType {
            r#type: 1,
            sub_type: 133,
        }),
        drop_reason_desc: flow::DropReason::PolicyDenied.into(),
        trace_observation_point: flow::TraceObservationPoint::ToEndpoint.into(),
        is_reply: Some(false.into()),
        socket_cookie: 1 << 60,
        summary: "TCP Flags: SYN".into(),
        extensions: Some(Any::from_flow_extension(&extension)),
        ..flow::Flow::default()
    };
    observer::GetFlowsResponse {
        response_types: Some(observer::get_flows_response::ResponseTypes::Flow(flow)),
        node_name: "node-1".into(),
        time,
    }
}

const DENIAL: &str = concat!(
    r#"{"flow":{"time":"2026-01-01T00:00:00.005Z","uuid":"d2b2","verdict":"DROPPED","drop_reason":133,"#,
    r#""IP":{"source":"10.0.0.1","destination":"10.0.0.2","ipVersion":"IPv4"},"#,
    r#""l4":{"TCP":{"source_port":40000,"destination_port":1234,"flags":{"SYN":true}}},"#,
    r#""source":{"ID":3,"identity":256,"labels":["k8s:app=web"]},"Type":"L3_L4","#,
    r#""event_type":{"type":1,"sub_type":133},"trace_observation_point":"TO_ENDPOINT","#,
    r#""drop_reason_desc":"POLICY_DENIED","is_reply":false,"socket_cookie":"1152921504606846976","#,
    r#""Summary":"TCP Flags: SYN","#,
    r#""extensions":{"@type":"type.googleapis.com/weir.v1.FlowExtension","#,
    r#""id":{"boot":"18446744073709551615","serial":"281474976710656"},"reason":"default_deny","revision":"7"}},"#,
    r#""node_name":"node-1","time":"2026-01-01T00:00:00.005Z"}"#,
);

#[test]
fn a_flow_is_written_as_hubble_writes_it() {
    assert_eq!(serde_json::to_string(&denial()).unwrap(), DENIAL);
}

#[test]
fn what_was_written_can_be_read() {
    let mut line: serde_json::Value = serde_json::from_str(DENIAL).unwrap();
    let read: flow::Flow = serde_json::from_value(line["flow"].take()).unwrap();
    let written = denial().response_types;
    assert_eq!(
        Some(observer::get_flows_response::ResponseTypes::Flow(read)),
        written
    );
}

#[test]
fn a_lost_event_is_written_as_hubble_writes_it() {
    let lost = observer::GetFlowsResponse {
        response_types: Some(observer::get_flows_response::ResponseTypes::LostEvents(
            flow::LostEvent {
                source: flow::LostEventSource::HubbleRingBuffer.into(),
                num_events_lost: 12,
                cpu: Some(0.into()),
                ..flow::LostEvent::default()
            },
        )),
        ..observer::GetFlowsResponse::default()
    };
    assert_eq!(
        serde_json::to_string(&lost).unwrap(),
        r#"{"lost_events":{"source":"HUBBLE_RING_BUFFER","num_events_lost":"12","cpu":0}}"#
    );
}

#[test]
fn an_exported_line_is_written_as_hubble_writes_it() {
    let event = observer::ExportEvent {
        response_types: Some(observer::export_event::ResponseTypes::NodeStatus(
            relay::NodeStatusEvent {
                state_change: relay::NodeState::NodeConnected.into(),
                node_names: vec!["node-1".into()],
                ..relay::NodeStatusEvent::default()
            },
        )),
        node_name: "node-1".into(),
        ..observer::ExportEvent::default()
    };
    assert_eq!(
        serde_json::to_string(&event).unwrap(),
        r#"{"node_status":{"state_change":"NODE_CONNECTED","node_names":["node-1"]},"node_name":"node-1"}"#
    );
}

#[test]
fn a_timestamp_has_no_three_six_or_nine_digits_and_ends_in_z() {
    for (seconds, nanos, text) in [
        (0, 0, "1970-01-01T00:00:00Z"),
        (0, 120_000_000, "1970-01-01T00:00:00.120Z"),
        (0, 1_000, "1970-01-01T00:00:00.000001Z"),
        (0, 1, "1970-01-01T00:00:00.000000001Z"),
        (-1, 999_999_999, "1969-12-31T23:59:59.999999999Z"),
        (-62_135_596_800, 0, "0001-01-01T00:00:00Z"),
        (253_402_207_200, 0, "9999-12-30T22:00:00Z"),
    ] {
        let time = Timestamp { seconds, nanos };
        let json = serde_json::to_string(&time).unwrap();
        assert_eq!(json, format!("\"{text}\""));
        assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), time);
    }
}

#[test]
fn an_impossible_timestamp_is_refused() {
    for (seconds, nanos) in [(0, -1), (0, 1_000_000_000), (i64::MAX, 0)] {
        assert!(serde_json::to_string(&Timestamp { seconds, nanos }).is_err());
    }
    assert!(serde_json::from_str::<Timestamp>("\"yesterday\"").is_err());
}

#[test]
fn an_unknown_extension_stays_bytes() {
    let any = Any {
        type_url: "type.googleapis.com/somebody.Elses".into(),
        value: vec![1, 2, 3].into(),
    };
    let json = serde_json::to_string(&any).unwrap();
    assert_eq!(
        json,
        r#"{"@type":"type.googleapis.com/somebody.Elses","value":"AQID"}"#
    );
    assert_eq!(serde_json::from_str::<Any>(&json).unwrap(), any);
}

#[test]
fn an_extension_that_cannot_be_decoded_stays_bytes() {
    let any = Any {
        type_url: FLOW_EXTENSION_TYPE_URL.into(),
        value: vec![0xff].into(),
    };
    assert_eq!(any.to_flow_extension(), None);
    let json = serde_json::to_string(&any).unwrap();
    assert_eq!(serde_json::from_str::<Any>(&json).unwrap(), any);
}

#[test]
fn an_enum_number_without_a_name_is_an_error() {
    let flow = flow::Flow {
        drop_reason_desc: 9999,
        ..flow::Flow::default()
    };
    let read = flow::Flow::decode(flow.encode_to_vec().as_slice()).unwrap();
    assert!(serde_json::to_string(&read).is_err());
}
