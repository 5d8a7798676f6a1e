//! Sample records for the tests of this crate and of those above it (feature `samples`).

use std::net::IpAddr;
use std::sync::Arc;

use crate::{
    Counts, Direction, Endpoint, EndpointKind, FlowId, Icmp, Item, LossPlace, LossRecord, Mode,
    PolicyRef, Reason, Record, RecordKind, Rule, ServiceRef, Tally, TcpFlags, Timestamp, Verdict,
    Workload,
};

/// 2026-01-02T15:04:05.123456789Z.
pub const TIME: Timestamp = Timestamp(1_767_366_245_123_456_789);

/// A pod `namespace/name` with the label `app=app` and Deployment `app`.
pub fn pod(namespace: &str, name: &str, app: &str, identity: u32) -> Arc<Endpoint> {
    Arc::new(Endpoint {
        kind: EndpointKind::Pod,
        identity,
        namespace: namespace.into(),
        name: name.into(),
        labels: [Arc::from(format!("app={app}"))].into(),
        workload: Some(Workload {
            kind: "Deployment".into(),
            name: app.into(),
        }),
    })
}

/// An endpoint without names.
pub fn nameless(kind: EndpointKind, identity: u32) -> Arc<Endpoint> {
    Arc::new(Endpoint {
        kind,
        identity,
        namespace: "".into(),
        name: "".into(),
        labels: [].into(),
        workload: None,
    })
}

/// The NetworkPolicy `namespace/name`.
pub fn policy(namespace: &str, name: &str) -> PolicyRef {
    PolicyRef {
        kind: "NetworkPolicy".into(),
        namespace: namespace.into(),
        name: name.into(),
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("the samples' addresses are valid")
}

/// The pod `shop/db-0` takes a connection from `shop/web-1`, allowed by rule 0 of `shop/db`.
pub fn allowed() -> Record {
    Record {
        time: TIME,
        id: FlowId {
            boot: 7,
            serial: 41,
        },
        number: 1,
        kind: RecordKind::Started,
        first_seen: TIME,
        last_seen: TIME,
        node: "node-1".into(),
        local: pod("shop", "db-0", "db", 40123),
        remote: pod("shop", "web-1", "web", 51234),
        service: None,
        local_ip: address("10.0.1.5"),
        remote_ip: address("10.0.2.9"),
        local_port: 5432,
        remote_port: 41234,
        icmp: None,
        protocol: 6,
        direction: Direction::Ingress,
        verdict: Verdict::Forwarded,
        reason: Reason::Policy,
        rule: Arc::new(Rule::Policy {
            policy: policy("shop", "db"),
            direction: Direction::Ingress,
            index: 0,
        }),
        isolated_by: [policy("shop", "db"), policy("shop", "default-deny")].into(),
        nearest_miss: None,
        revision: 12,
        mode: Mode::Enforce,
        counts: Counts {
            ingress: Tally {
                packets: 1,
                bytes: 74,
                segments: 1,
            },
            ..Counts::default()
        },
        tcp_flags: TcpFlags {
            egress: 0,
            ingress: 0x02,
        },
        end: None,
        source_nat_suspected: false,
        ethertype: None,
    }
}

/// The same pod refuses `shop/job-7`: default deny.
pub fn denied() -> Record {
    Record {
        id: FlowId {
            boot: 7,
            serial: 42,
        },
        kind: RecordKind::Denial,
        remote: pod("shop", "job-7", "job", 18233),
        remote_ip: address("10.0.2.10"),
        remote_port: 50312,
        verdict: Verdict::Dropped,
        reason: Reason::DefaultDeny,
        rule: Arc::new(Rule::None),
        nearest_miss: Some("db rule 0: port matches, label app=web is missing".into()),
        counts: Counts {
            ingress_dropped: Tally {
                packets: 1,
                bytes: 74,
                segments: 1,
            },
            ..Counts::default()
        },
        ..allowed()
    }
}

/// The pod `shop/web-1` asks the Service `kube-system/dns` over IPv6 and is done.
pub fn service() -> Record {
    Record {
        id: FlowId {
            boot: 7,
            serial: 43,
        },
        number: 3,
        kind: RecordKind::Ended,
        last_seen: Timestamp(TIME.0 + 250_000_000),
        local: pod("shop", "web-1", "web", 51234),
        remote: Arc::new(Endpoint {
            name: "dns".into(),
            namespace: "kube-system".into(),
            ..Endpoint::clone(&nameless(EndpointKind::Service, 0))
        }),
        service: Some(Arc::new(ServiceRef {
            namespace: "kube-system".into(),
            name: "dns".into(),
        })),
        local_ip: address("fd00::9"),
        remote_ip: address("fd00:1::a"),
        local_port: 40000,
        remote_port: 53,
        protocol: 17,
        direction: Direction::Egress,
        reason: Reason::NotIsolated,
        rule: Arc::new(Rule::None),
        isolated_by: [].into(),
        counts: Counts {
            egress: Tally {
                packets: 2,
                bytes: 160,
                segments: 2,
            },
            ingress: Tally {
                packets: 2,
                bytes: 320,
                segments: 2,
            },
            ..Counts::default()
        },
        tcp_flags: TcpFlags::default(),
        end: Some(crate::EndReason::Idle),
        ..allowed()
    }
}

/// An ICMP echo request to the world, passed in audit mode.
pub fn audited() -> Record {
    Record {
        id: FlowId {
            boot: 7,
            serial: 44,
        },
        remote: nameless(EndpointKind::World, 2),
        remote_ip: address("192.0.2.1"),
        local_port: 0,
        remote_port: 0,
        icmp: Some(Icmp { kind: 8, code: 0 }),
        protocol: 1,
        direction: Direction::Egress,
        verdict: Verdict::Audit,
        reason: Reason::DefaultDeny,
        rule: Arc::new(Rule::None),
        mode: Mode::Audit,
        tcp_flags: TcpFlags::default(),
        source_nat_suspected: true,
        ..allowed()
    }
}

/// 17 records lost at the uplink.
pub fn loss() -> LossRecord {
    LossRecord {
        time: TIME,
        node: "node-1".into(),
        place: LossPlace::Uplink,
        endpoint: Some("shop/db-0".into()),
        records: 17,
        packets: 0,
        bytes: 0,
        from: Timestamp(TIME.0 - 1_000_000_000),
        to: TIME,
    }
}

/// One of each of the above.
pub fn items() -> Vec<Item> {
    vec![
        Item::Flow(allowed()),
        Item::Flow(denied()),
        Item::Flow(service()),
        Item::Flow(audited()),
        Item::Loss(loss()),
    ]
}
