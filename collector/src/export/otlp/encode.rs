//! Record → OTLP `LogRecord`. Attribute names follow OpenTelemetry's semantic conventions where one exists
//! (`source.address`, `destination.port`, `network.transport`, `k8s.*`); Weir's own begin with `weir.`.

use std::sync::Arc;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};
use opentelemetry_proto::tonic::resource::v1::Resource;
use weir_flow::{
    Direction, Endpoint, Item, LossRecord, Record, RecordKind, Rule, Timestamp, Verdict,
};

/// One export request with all items of a batch.
pub(super) fn request(node: &str, items: &[Arc<Item>]) -> ExportLogsServiceRequest {
    let resource = Resource {
        attributes: vec![
            text("service.name", "weir-collector"),
            text("k8s.node.name", node),
        ],
        ..Resource::default()
    };
    let scope = InstrumentationScope {
        name: "weir".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        ..InstrumentationScope::default()
    };
    let log_records = items.iter().map(|item| log_record(item)).collect();
    let scope_logs = vec![ScopeLogs {
        scope: Some(scope),
        log_records,
        schema_url: String::new(),
    }];
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(resource),
            scope_logs,
            schema_url: String::new(),
        }],
    }
}

fn log_record(item: &Item) -> LogRecord {
    match item {
        Item::Flow(record) => flow(record),
        Item::Loss(loss) => self::loss(loss),
    }
}

fn flow(record: &Record) -> LogRecord {
    let severity = if record.verdict == Verdict::Forwarded {
        SeverityNumber::Info
    } else {
        SeverityNumber::Warn
    };
    LogRecord {
        time_unix_nano: nanos(record.last_seen),
        observed_time_unix_nano: nanos(record.time),
        severity_number: severity.into(),
        severity_text: severity_text(severity).into(),
        body: Some(any(Value::StringValue(body(record)))),
        attributes: attributes(record),
        event_name: "weir.flow".into(),
        ..LogRecord::default()
    }
}

fn body(record: &Record) -> String {
    let (source, destination) = sides(record);
    format!(
        "{} {} -> {} ({})",
        verdict(record.verdict),
        source.0.name,
        destination.0.name,
        record.reason
    )
}

type Side<'a> = (&'a Endpoint, std::net::IpAddr, u16);

/// Source and destination of the connection: the opener is the source.
fn sides(record: &Record) -> (Side<'_>, Side<'_>) {
    let local: Side<'_> = (&record.local, record.local_ip, record.local_port);
    let remote: Side<'_> = (&record.remote, record.remote_ip, record.remote_port);
    match record.direction {
        Direction::Egress => (local, remote),
        Direction::Ingress => (remote, local),
    }
}

fn attributes(record: &Record) -> Vec<KeyValue> {
    let (source, destination) = sides(record);
    let mut list = Vec::with_capacity(48);
    side(&mut list, "source", source);
    side(&mut list, "destination", destination);
    list.push(text("network.transport", &transport(record.protocol)));
    list.push(text(
        "network.type",
        if record.local_ip.is_ipv4() {
            "ipv4"
        } else {
            "ipv6"
        },
    ));
    list.push(text("weir.kind", kind(record.kind)));
    list.push(text("weir.verdict", verdict(record.verdict)));
    list.push(text("weir.reason", record.reason.as_str()));
    list.push(text(
        "weir.direction",
        if record.direction == Direction::Ingress {
            "ingress"
        } else {
            "egress"
        },
    ));
    list.push(text("weir.mode", record.mode.as_str()));
    list.push(int("weir.policy.revision", record.revision));
    list.push(text(
        "weir.flow.id",
        &format!("{:016x}-{:016x}", record.id.boot, record.id.serial),
    ));
    list.push(int("weir.flow.record", u64::from(record.number)));
    if let Rule::Policy { policy, index, .. } = &*record.rule {
        list.push(text("weir.policy.namespace", &policy.namespace));
        list.push(text("weir.policy.name", &policy.name));
        list.push(int("weir.policy.rule", u64::from(*index)));
    }
    if !record.isolated_by.is_empty() {
        let names: Vec<String> = record
            .isolated_by
            .iter()
            .map(|policy| format!("{}/{}", policy.namespace, policy.name))
            .collect();
        list.push(text("weir.policy.isolated_by", &names.join(",")));
    }
    list.extend(
        record
            .nearest_miss
            .as_deref()
            .map(|miss| text("weir.nearest_miss", miss)),
    );
    list.extend(record.service.as_ref().map(|service| {
        text(
            "weir.service",
            &format!("{}/{}", service.namespace, service.name),
        )
    }));
    list.extend(record.end.map(|end| text("weir.end", end.as_str())));
    for (name, tally) in [
        ("weir.egress", record.counts.egress),
        ("weir.ingress", record.counts.ingress),
        ("weir.egress_dropped", record.counts.egress_dropped),
        ("weir.ingress_dropped", record.counts.ingress_dropped),
    ] {
        if tally.packets > 0 {
            list.push(int(&format!("{name}.packets"), tally.packets));
            list.push(int(&format!("{name}.bytes"), tally.bytes));
        }
    }
    list
}

fn side(list: &mut Vec<KeyValue>, name: &str, (endpoint, address, port): Side<'_>) {
    list.push(text(&format!("{name}.address"), &address.to_string()));
    if port != 0 {
        list.push(int(&format!("{name}.port"), u64::from(port)));
    }
    list.push(text(&format!("weir.{name}.kind"), endpoint.kind.as_str()));
    if !endpoint.namespace.is_empty() {
        list.push(text(
            &format!("{name}.k8s.namespace.name"),
            &endpoint.namespace,
        ));
    }
    if !endpoint.name.is_empty() {
        list.push(text(&format!("{name}.k8s.pod.name"), &endpoint.name));
    }
    if let Some(workload) = &endpoint.workload {
        list.push(text(&format!("{name}.k8s.workload.name"), &workload.name));
        list.push(text(&format!("{name}.k8s.workload.kind"), &workload.kind));
    }
}

fn loss(loss: &LossRecord) -> LogRecord {
    let mut attributes = vec![
        text("weir.kind", "loss"),
        text("weir.loss.place", loss.place.as_str()),
        int("weir.loss.records", loss.records),
        int("weir.loss.packets", loss.packets),
        int("weir.loss.bytes", loss.bytes),
        int("weir.loss.from", nanos(loss.from)),
        int("weir.loss.to", nanos(loss.to)),
    ];
    attributes.extend(
        loss.endpoint
            .as_deref()
            .map(|endpoint| text("weir.loss.endpoint", endpoint)),
    );
    LogRecord {
        time_unix_nano: nanos(loss.to),
        observed_time_unix_nano: nanos(loss.time),
        severity_number: SeverityNumber::Error.into(),
        severity_text: severity_text(SeverityNumber::Error).into(),
        body: Some(any(Value::StringValue(format!(
            "lost {} records, {} packets at {}",
            loss.records, loss.packets, loss.place
        )))),
        attributes,
        event_name: "weir.loss".into(),
        ..LogRecord::default()
    }
}

fn severity_text(severity: SeverityNumber) -> &'static str {
    match severity {
        SeverityNumber::Warn => "WARN",
        SeverityNumber::Error => "ERROR",
        _ => "INFO",
    }
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Forwarded => "FORWARDED",
        Verdict::Dropped => "DROPPED",
        Verdict::Audit => "AUDIT",
    }
}

fn kind(kind: RecordKind) -> &'static str {
    match kind {
        RecordKind::Started => "started",
        RecordKind::Updated => "updated",
        RecordKind::Rejudged => "rejudged",
        RecordKind::Ended => "ended",
        RecordKind::Denial => "denial",
    }
}

fn transport(protocol: u8) -> String {
    match protocol {
        6 => "tcp".into(),
        17 => "udp".into(),
        132 => "sctp".into(),
        1 => "icmp".into(),
        58 => "icmpv6".into(),
        number => number.to_string(),
    }
}

fn nanos(time: Timestamp) -> u64 {
    u64::try_from(time.0).unwrap_or(0)
}

fn any(value: Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

fn text(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(any(Value::StringValue(value.to_owned()))),
        ..KeyValue::default()
    }
}

fn int(key: &str, value: u64) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(any(Value::IntValue(
            i64::try_from(value).unwrap_or(i64::MAX),
        ))),
        ..KeyValue::default()
    }
}
