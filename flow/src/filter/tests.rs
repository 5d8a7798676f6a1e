//! Hubble's filters, each with what it passes and what it does not.

use weir_proto::flow::{EventTypeFilter, FlowFilter, HttpHeader, TcpFlags, Workload, flow_filter};

use super::*;
use crate::{Endpoint, EndpointKind, RecordKind, Verdict, samples};

fn strings(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

fn matches(filter: FlowFilter, record: &Record) -> bool {
    Filters::compile(&[filter], &[]).unwrap().matches(record)
}

/// Each row: whether the filter matches the allowed, the denied, the Service's and the audited sample.
#[track_caller]
fn check(filter: FlowFilter, expected: [bool; 4]) {
    let records = [
        samples::allowed(),
        samples::denied(),
        samples::service(),
        samples::audited(),
    ];
    let found = records.map(|record| matches(filter.clone(), &record));
    assert_eq!(found, expected, "{filter:?}");
}

macro_rules! filter {
    ($($field:ident: $value:expr),* $(,)?) => {
        FlowFilter { $($field: $value,)* ..FlowFilter::default() }
    };
}

const YES: bool = true;
const NO: bool = false;

#[test]
fn addresses_match_exactly_or_by_cidr() {
    check(
        filter!(source_ip: strings(&["10.0.2.9"])),
        [YES, NO, NO, NO],
    );
    check(
        filter!(source_ip: strings(&["10.0.2.0/24"])),
        [YES, YES, NO, NO],
    );
    check(
        filter!(destination_ip: strings(&["fd00:1::/64", "192.0.2.1"])),
        [NO, NO, YES, YES],
    );
    check(filter!(ip_version: vec![2]), [NO, NO, YES, NO]);
}

#[test]
fn pods_match_by_prefix_with_the_namespace_default_if_none_is_given() {
    check(
        filter!(destination_pod: strings(&["shop/db"])),
        [YES, YES, NO, NO],
    );
    check(filter!(source_pod: strings(&["shop/"])), [YES; 4]);
    check(filter!(source_pod: strings(&["/web"])), [YES, NO, YES, NO]);
    check(filter!(source_pod: strings(&["web"])), [NO; 4]);
    check(
        filter!(destination_pod: strings(&["kube-system/"])),
        [NO, NO, YES, NO],
    );
    check(
        filter!(destination_pod: strings(&["/"])),
        [YES, YES, YES, NO],
    );
}

#[test]
fn services_workloads_and_identities_match() {
    check(
        filter!(destination_service: strings(&["kube-system/d"])),
        [NO, NO, YES, NO],
    );
    check(
        filter!(source_service: strings(&["kube-system/d"])),
        [NO; 4],
    );
    let job = Workload {
        name: "job".to_owned(),
        kind: String::new(),
    };
    check(filter!(source_workload: vec![job]), [NO, YES, NO, NO]);
    let deployment = Workload {
        name: String::new(),
        kind: "Deployment".to_owned(),
    };
    check(
        filter!(destination_workload: vec![deployment]),
        [YES, YES, NO, NO],
    );
    check(
        filter!(destination_identity: vec![2, 40123]),
        [YES, YES, NO, YES],
    );
    check(
        filter!(source_cluster_name: strings(&["default"])),
        [YES; 4],
    );
    check(filter!(source_cluster_name: strings(&["other"])), [NO; 4]);
}

#[test]
fn selectors_follow_kubernetes() {
    for (selector, expected) in [
        ("app=web", [YES, NO, YES, NO]),
        ("k8s:app=web", [YES, NO, YES, NO]),
        ("any:app == web", [YES, NO, YES, NO]),
        ("reserved:app=web", [NO; 4]),
        ("app!=web", [NO, YES, NO, YES]),
        ("app in (web, job)", [YES, YES, YES, NO]),
        ("app notin (web,job)", [NO, NO, NO, YES]),
        ("app", [YES; 4]),
        ("!app", [NO; 4]),
        ("!tier", [YES; 4]),
        (
            "app=web,io.kubernetes.pod.namespace=shop",
            [YES, NO, YES, NO],
        ),
    ] {
        check(filter!(source_label: strings(&[selector])), expected);
    }
    check(
        filter!(destination_label: strings(&["reserved:world"])),
        [NO, NO, NO, YES],
    );
}

#[test]
fn ports_protocols_and_flags_match() {
    check(
        filter!(destination_port: strings(&["5432", "53"])),
        [YES, YES, YES, NO],
    );
    check(filter!(source_port: strings(&["0"])), [NO; 4]);
    check(filter!(protocol: strings(&["TCP"])), [YES, YES, NO, NO]);
    check(
        filter!(protocol: strings(&["icmp", "udp"])),
        [NO, NO, YES, YES],
    );
    check(filter!(protocol: strings(&["icmpv6"])), [NO; 4]);
    let syn = TcpFlags {
        syn: true,
        ..TcpFlags::default()
    };
    let syn_ack = TcpFlags {
        syn: true,
        ack: true,
        ..TcpFlags::default()
    };
    check(filter!(tcp_flags: vec![syn_ack, syn]), [YES, YES, NO, NO]);
    check(filter!(tcp_flags: vec![syn_ack]), [NO; 4]);
}

#[test]
fn verdicts_reasons_directions_and_replies_match() {
    check(filter!(verdict: vec![2]), [NO, YES, NO, NO]);
    check(filter!(verdict: vec![1, 4]), [YES, NO, YES, YES]);
    check(filter!(drop_reason_desc: vec![133]), [NO, YES, NO, NO]);
    check(filter!(traffic_direction: vec![2]), [NO, NO, YES, YES]);
    check(filter!(reply: vec![false]), [YES; 4]);
    check(filter!(reply: vec![true]), [NO; 4]);
    check(filter!(encrypted: vec![true]), [NO; 4]);
}

#[test]
fn a_denial_is_found_as_verdict_and_as_drop() {
    let event = |number, sub: Option<i32>| {
        let filter = EventTypeFilter {
            r#type: number,
            match_sub_type: sub.is_some(),
            sub_type: sub.unwrap_or_default(),
        };
        filter!(event_type: vec![filter])
    };
    check(event(5, None), [YES, YES, NO, YES]);
    check(event(1, None), [NO, YES, NO, NO]);
    check(event(1, Some(133)), [NO, YES, NO, NO]);
    check(event(1, Some(132)), [NO; 4]);
    check(event(4, None), [NO, NO, YES, NO]);
    check(event(4, Some(0)), [NO; 4]);
    check(event(129, None), [NO; 4]);
}

#[test]
fn nodes_match_by_glob_and_records_by_uuid() {
    check(filter!(node_name: strings(&["node-*"])), [YES; 4]);
    check(filter!(node_name: strings(&["default/node-1"])), [YES; 4]);
    check(filter!(node_name: strings(&["other/"])), [NO; 4]);
    check(filter!(node_name: strings(&["node-2"])), [NO; 4]);
    let uuid = crate::hubble::uuid(&samples::denied());
    check(filter!(uuid: vec![uuid]), [NO, YES, NO, NO]);
    check(filter!(destination_fqdn: strings(&["*"])), [NO; 4]);
    let node = Endpoint {
        name: "node-9".into(),
        ..Endpoint::clone(&samples::nameless(EndpointKind::RemoteNode, 6))
    };
    let record = Record {
        remote: node.into(),
        ..samples::denied()
    };
    assert!(matches(filter!(source_fqdn: strings(&["node-*"])), &record));
}

#[test]
fn fields_are_anded_values_and_filters_ored_and_the_deny_list_wins() {
    let denied = filter!(verdict: vec![2], source_pod: strings(&["shop/job"]));
    check(denied.clone(), [NO, YES, NO, NO]);
    check(
        filter!(verdict: vec![1], source_pod: strings(&["shop/job"])),
        [NO; 4],
    );
    let tcp = filter!(protocol: strings(&["tcp"]));
    let filters = Filters::compile(&[denied.clone(), tcp.clone()], &[]).unwrap();
    assert!(filters.matches(&samples::allowed()) && filters.matches(&samples::denied()));
    let filters = Filters::compile(&[tcp], &[denied]).unwrap();
    assert!(filters.matches(&samples::allowed()) && !filters.matches(&samples::denied()));
    assert!(filters.pass(&Item::Loss(samples::loss())));
    assert!(Filters::default().matches(&samples::service()));
}

#[test]
fn a_cut_flows_counts_are_a_drop() {
    let record = Record {
        kind: RecordKind::Updated,
        verdict: Verdict::Dropped,
        ..samples::allowed()
    };
    let drop = EventTypeFilter {
        r#type: 1,
        ..EventTypeFilter::default()
    };
    assert!(matches(filter!(event_type: vec![drop]), &record));
}

#[test]
fn what_cannot_be_understood_is_refused_by_name() {
    for (filter, error) in [
        (
            filter!(source_ip: strings(&["10.0.0"])),
            "whitelist[0].source_ip: \"10.0.0\" is not an IP address or CIDR",
        ),
        (
            filter!(destination_port: strings(&["70000"])),
            "whitelist[0].destination_port: \"70000\" is not a port number from 0 to 65535",
        ),
        (
            filter!(protocol: strings(&["tpc"])),
            "whitelist[0].protocol: \"tpc\" is not one of tcp, udp, sctp, icmp, icmpv4, icmpv6, vrrp, igmp",
        ),
        (
            filter!(protocol: strings(&["http"])),
            "whitelist[0].protocol: not supported, because Weir does not look into layer 7",
        ),
        (
            filter!(source_label: strings(&["app in (web"])),
            "whitelist[0].source_label: \"app in (web\" is not a label selector like app=web, app!=web, app in (a, b), app, !app",
        ),
    ] {
        let found = Filters::compile(&[filter], &[]).unwrap_err();
        assert_eq!(found.to_string(), error);
    }
}

#[test]
fn fields_without_data_are_refused_in_both_lists() {
    let cel = flow_filter::Experimental {
        cel_expression: strings(&["true"]),
    };
    for (filter, field) in [
        (
            filter!(http_status_code: strings(&["404"])),
            "http_status_code",
        ),
        (filter!(http_method: strings(&["GET"])), "http_method"),
        (filter!(http_path: strings(&["/"])), "http_path"),
        (filter!(http_url: strings(&["/"])), "http_url"),
        (
            filter!(http_header: vec![HttpHeader::default()]),
            "http_header",
        ),
        (filter!(dns_query: strings(&["a"])), "dns_query"),
        (filter!(trace_id: strings(&["a"])), "trace_id"),
        (filter!(ip_trace_id: vec![1]), "ip_trace_id"),
        (
            filter!(source_ip_xlated: strings(&["1.1.1.1"])),
            "source_ip_xlated",
        ),
        (filter!(node_labels: strings(&["a"])), "node_labels"),
        (
            filter!(experimental: Some(cel)),
            "experimental.cel_expression",
        ),
    ] {
        for (list, name) in [
            (List::Whitelist, "whitelist"),
            (List::Blacklist, "blacklist"),
        ] {
            let filters = [FlowFilter::default(), filter.clone()];
            let error = match list {
                List::Whitelist => Filters::compile(&filters, &[]),
                List::Blacklist => Filters::compile(&[], &filters),
            };
            let text = error.unwrap_err().to_string();
            assert!(
                text.starts_with(&format!("{name}[1].{field}: not supported")),
                "{text}"
            );
        }
    }
}
