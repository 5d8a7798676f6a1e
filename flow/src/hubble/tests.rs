//! Records as Hubble's flows, and back.

use proptest::prelude::*;
use weir_proto::flow::{DropReason, Flow, LostEventSource, Verdict};
use weir_proto::types::FieldMask;

use super::*;
use crate::strategies::any_record;
use crate::{Endpoint, Record, samples};

/// What Hubble's message cannot hold is left out of random records: names of what has none there, ports of protocols
/// without ports, an ICMP type on other protocols, addresses of what is no IP packet.
fn representable(mut record: Record) -> Record {
    let normal = |endpoint: &Endpoint| {
        let mut endpoint = endpoint.clone();
        if matches!(endpoint.kind, EndpointKind::World | EndpointKind::Service) {
            endpoint.name = "".into();
        }
        Arc::new(endpoint)
    };
    record.local = normal(&record.local);
    record.remote = normal(&record.remote);
    if record.remote.kind == EndpointKind::Service {
        let mut endpoint = Endpoint::clone(&record.remote);
        endpoint.name = record
            .service
            .as_ref()
            .map_or("".into(), |s| s.name.clone());
        record.remote = Arc::new(endpoint);
    }
    if !matches!(record.protocol, 6 | 17 | 132) {
        (record.local_port, record.remote_port) = (0, 0);
    }
    record.icmp = match record.protocol {
        1 | 58 => Some(record.icmp.unwrap_or(crate::Icmp { kind: 0, code: 0 })),
        _ => None,
    };
    record.ethertype = None;
    record.nearest_miss = record.nearest_miss.filter(|miss| !miss.is_empty());
    record
}

proptest! {
    #[test]
    fn a_record_survives_hubbles_form(record in any_record()) {
        let record = representable(record);
        let flow = to_flow(&record, Extension::Attached);
        prop_assert_eq!(from_flow(&flow).unwrap(), record);
    }

    #[test]
    fn uuids_differ_between_records_and_have_the_form_of_one(a in any_record(), b in any_record()) {
        prop_assert_ne!(uuid(&a), uuid(&b));
        let text = uuid(&a);
        prop_assert_eq!(text.len(), 36);
        prop_assert_eq!(&text[14..15], "8");
        prop_assert!("89ab".contains(&text[19..20]));
    }
}

/// The flow as `hubble observe -o jsonpb` prints it.
fn json(flow: &Flow) -> serde_json::Value {
    serde_json::to_value(flow).unwrap()
}

#[test]
fn an_allowed_flow_is_what_hubbles_users_expect() {
    let flow = json(&to_flow(&samples::allowed(), Extension::Omitted));
    let golden = include_str!("../../tests/golden/allowed.json");
    assert_eq!(
        flow,
        serde_json::from_str::<serde_json::Value>(golden).unwrap()
    );
}

#[test]
fn a_denied_flow_is_what_hubbles_users_expect() {
    let flow = json(&to_flow(&samples::denied(), Extension::Omitted));
    let golden = include_str!("../../tests/golden/denied.json");
    assert_eq!(
        flow,
        serde_json::from_str::<serde_json::Value>(golden).unwrap()
    );
}

#[test]
fn the_end_of_a_flow_is_a_trace() {
    let flow = to_flow(&samples::service(), Extension::Omitted);
    let event = flow.event_type.unwrap();
    assert_eq!((event.r#type, event.sub_type), (4, 3));
    assert_eq!(flow.verdict(), Verdict::Forwarded);
    assert_eq!(flow.destination_service.unwrap().name, "dns");
    assert!(flow.egress_allowed_by.is_empty() && flow.egress_denied_by.is_empty());
}

#[test]
fn a_spoofed_packet_is_a_drop_with_its_reason() {
    let record = Record {
        reason: crate::Reason::SpoofedSource,
        isolated_by: [].into(),
        nearest_miss: None,
        ..samples::denied()
    };
    let flow = to_flow(&record, Extension::Omitted);
    assert_eq!(flow.event_type.unwrap().r#type, 1);
    assert_eq!(flow.event_type.unwrap().sub_type, 132);
    assert_eq!(flow.drop_reason_desc(), DropReason::InvalidSourceIp);
}

#[test]
fn every_reason_has_a_drop_reason_that_hubble_knows() {
    for reason in crate::Reason::ALL {
        let number = drop_reason(*reason).number;
        assert!(DropReason::try_from(number).is_ok(), "{reason}: {number}");
    }
}

#[test]
fn a_flow_without_extension_is_refused_by_name() {
    let flow = to_flow(&samples::allowed(), Extension::Omitted);
    let error = from_flow(&flow).unwrap_err();
    assert!(matches!(error, ReadError::NoExtension), "{error}");
}

#[test]
fn losses_become_lost_events_with_their_counts() {
    let event = to_lost_event(&samples::loss());
    assert_eq!(event.num_events_lost, 17);
    assert_eq!(event.source(), LostEventSource::ObserverEventsQueue);
    let packets = crate::LossRecord {
        records: 0,
        packets: 5,
        place: crate::LossPlace::FlowTable,
        ..samples::loss()
    };
    let event = to_lost_event(&packets);
    assert_eq!(event.num_events_lost, 5);
    assert_eq!(event.source(), LostEventSource::PerfEventRingBuffer);
}

#[test]
fn a_mask_keeps_what_it_names_and_the_two_fields_the_cli_forgets() {
    let paths = ["verdict", "source.pod_name", "l4.TCP.destination_port"];
    let mask = FieldMask {
        paths: paths.map(str::to_owned).to_vec(),
    };
    let mask = Mask::compile(Some(&mask)).unwrap();
    let flow = mask.apply(to_flow(&samples::denied(), Extension::Attached));
    assert_eq!(flow.verdict(), Verdict::Dropped);
    let source = flow.source.clone().unwrap();
    assert_eq!(source.pod_name, "job-7");
    assert_eq!((source.identity, source.labels.len()), (0, 0));
    assert!(flow.l4.is_some() && flow.time.is_none() && flow.destination.is_none());
    assert!(flow.extensions.is_none());
    assert_eq!(flow.traffic_direction, 1);
    let unknown = FieldMask {
        paths: vec!["source.colour".to_owned()],
    };
    let error = Mask::compile(Some(&unknown)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "field_mask: flow.Flow has no field \"source.colour\""
    );
}

#[test]
fn times_before_the_epoch_have_positive_nanoseconds() {
    let time = weir_proto::types::Timestamp::from(Timestamp(-1));
    assert_eq!((time.seconds, time.nanos), (-1, 999_999_999));
    assert_eq!(Timestamp::from(&time), Timestamp(-1));
}
