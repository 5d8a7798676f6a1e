//! Field numbers are the interface: clients that were built elsewhere depend on them.

use std::collections::BTreeMap;

use prost::Message;
use prost_types::{DescriptorProto, FileDescriptorSet};
use weir_proto::types::{Any, BoolValue, Timestamp};
use weir_proto::{flow, observer, peer, relay};

/// Each line from the reference: message, then `number name` of every field.
const MESSAGES: &str = include_str!("hubble-fields.txt");

#[test]
fn every_hubble_message_has_hubbles_fields_and_no_others() {
    let ours = fields_of_all_messages();
    let mut seen = 0;
    for line in MESSAGES.lines().filter(|line| !line.starts_with('#')) {
        let (message, fields) = line.split_once(':').expect("message: fields");
        let expected: BTreeMap<i32, String> = fields
            .split_whitespace()
            .map(|field| field.split_once('=').expect("number=name"))
            .map(|(number, name)| (number.parse().expect("a number"), name.to_owned()))
            .collect();
        assert_eq!(ours.get(message), Some(&expected), "{message}");
        seen += 1;
    }
    assert_eq!(
        seen,
        ours.len(),
        "messages without a line in hubble-fields.txt"
    );
}

fn fields_of_all_messages() -> BTreeMap<String, BTreeMap<i32, String>> {
    let set = FileDescriptorSet::decode(weir_proto::FILE_DESCRIPTOR_SET).expect("a descriptor set");
    let mut messages = BTreeMap::new();
    for file in &set.file {
        if ["flow", "observer", "peer", "relay"].contains(&file.package()) {
            for message in &file.message_type {
                add(file.package(), message, &mut messages);
            }
        }
    }
    messages
}

fn add(
    scope: &str,
    message: &DescriptorProto,
    messages: &mut BTreeMap<String, BTreeMap<i32, String>>,
) {
    let name = format!("{scope}.{}", message.name());
    for nested in &message.nested_type {
        add(&name, nested, messages);
    }
    let fields = message.field.iter();
    messages.insert(
        name,
        fields
            .map(|field| (field.number(), field.name().to_owned()))
            .collect(),
    );
}

#[test]
fn a_flow_is_encoded_as_hubble_encodes_it() {
    let flow = flow::Flow {
        verdict: flow::Verdict::Dropped.into(),
        ip: Some(flow::Ip {
            source: "::1".into(),
            ip_version: flow::IpVersion::IPv6.into(),
            ..flow::Ip::default()
        }),
        r#type: flow::FlowType::L3L4.into(),
        traffic_direction: flow::TrafficDirection::Egress.into(),
        drop_reason_desc: flow::DropReason::PolicyDenied.into(),
        is_reply: Some(BoolValue { value: true }),
        summary: "SYN".into(),
        egress_denied_by: vec![flow::Policy {
            name: "p".into(),
            kind: "K".into(),
            ..flow::Policy::default()
        }],
        extensions: Some(Any {
            type_url: "u".into(),
            value: vec![9].into(),
        }),
        ..flow::Flow::default()
    };
    #[rustfmt::skip]
    let expected = [
        0x10, 2, // 2 verdict
        0x2a, 7, 0x0a, 3, b':', b':', b'1', 0x18, 2, // 5 IP {1 source, 3 ipVersion}
        0x50, 1, // 10 Type
        0xb0, 0x01, 2, // 22 traffic_direction
        0xc8, 0x01, 0x85, 0x01, // 25 drop_reason_desc = 133
        0xd2, 0x01, 2, 0x08, 1, // 26 is_reply {1 value}
        0xe2, 0xa0, 0x0a, 6, 0x0a, 1, b'p', 0x2a, 1, b'K', // 21004 egress_denied_by {1 name, 5 kind}
        0x82, 0xea, 0x30, 3, b'S', b'Y', b'N', // 100000 Summary
        0x82, 0x9f, 0x49, 6, 0x0a, 1, b'u', 0x12, 1, 9, // 150000 extensions {1 type_url, 2 value}
    ];
    assert_eq!(flow.encode_to_vec(), expected);
}

#[test]
fn requests_and_responses_are_encoded_as_hubble_encodes_them() {
    let flows = observer::GetFlowsRequest {
        number: 20,
        follow: true,
        whitelist: vec![flow::FlowFilter {
            verdict: vec![flow::Verdict::Dropped.into()],
            tcp_flags: vec![flow::TcpFlags {
                syn: true,
                ..flow::TcpFlags::default()
            }],
            ..flow::FlowFilter::default()
        }],
        ..observer::GetFlowsRequest::default()
    };
    #[rustfmt::skip]
    let expected = [
        0x08, 20, 0x18, 1, // 1 number, 3 follow
        0x32, 8, 0x2a, 1, 2, 0xba, 0x01, 2, 0x10, 1, // 6 whitelist {5 verdict, 23 tcp_flags {2 SYN}}
    ];
    assert_eq!(flows.encode_to_vec(), expected);

    let events = observer::GetAgentEventsRequest {
        follow: true,
        ..observer::GetAgentEventsRequest::default()
    };
    assert_eq!(events.encode_to_vec(), [0x10, 1]);

    let lost = observer::GetFlowsResponse {
        response_types: Some(observer::get_flows_response::ResponseTypes::LostEvents(
            flow::LostEvent {
                source: flow::LostEventSource::HubbleRingBuffer.into(),
                num_events_lost: 5,
                ..flow::LostEvent::default()
            },
        )),
        node_name: "n".into(),
        time: Some(Timestamp {
            seconds: 1,
            nanos: 2,
        }),
    };
    #[rustfmt::skip]
    let expected = [
        0x1a, 4, 0x08, 3, 0x10, 5, // 3 lost_events {1 source, 2 num_events_lost}
        0xc2, 0x3e, 1, b'n', // 1000 node_name
        0xca, 0x3e, 4, 0x08, 1, 0x10, 2, // 1001 time
    ];
    assert_eq!(lost.encode_to_vec(), expected);

    let node = observer::Node {
        state: relay::NodeState::NodeGone.into(),
        ..observer::Node::default()
    };
    assert_eq!(node.encode_to_vec(), [0x20, 3]);

    let peer = peer::ChangeNotification {
        r#type: peer::ChangeNotificationType::PeerUpdated.into(),
        tls: Some(peer::Tls {
            server_name: "s".into(),
        }),
        ..peer::ChangeNotification::default()
    };
    assert_eq!(peer.encode_to_vec(), [0x18, 3, 0x22, 3, 0x0a, 1, b's']);
}
