//! `weir status`: how a collector or the aggregator fares.

use std::fmt::Write as _;

use tonic::Code;
use tonic::transport::Channel;
use weir_proto::types::Timestamp;
use weir_proto::weir::v1::aggregator_client::AggregatorClient;
use weir_proto::weir::v1::collector_client::CollectorClient;
use weir_proto::weir::v1::{
    AggregatorStatusRequest, AggregatorStatusResponse, EndpointStatus, NodeStatus, PolicyRef,
    StatusRequest, StatusResponse,
};

use crate::args::{ReportFormat, StatusArgs};
use crate::{client, output};

/// What a server said.
enum Report {
    Collector(Box<StatusResponse>),
    Aggregator(AggregatorStatusResponse),
}

/// Asks a server how it fares.
///
/// # Errors
/// The server cannot be reached or refuses, or stdout cannot be written.
pub(crate) async fn run(args: &StatusArgs) -> anyhow::Result<()> {
    let server = &args.server.server;
    let channel = client::connect(server, &args.server.tls).await?;
    let report = ask(channel, args)
        .await
        .map_err(|status| client::refusal(server, &status))?;
    match (args.output, report) {
        (ReportFormat::Json, Report::Collector(status)) => output::json(&status)?,
        (ReportFormat::Json, Report::Aggregator(status)) => output::json(&status)?,
        (ReportFormat::Text, Report::Collector(status)) => {
            output::text(&collector(&status))?;
            if args.pods {
                output::text(&pods(&status.endpoints))?;
            }
        }
        (ReportFormat::Text, Report::Aggregator(status)) => output::text(&aggregator(&status))?,
    }
    Ok(())
}

async fn ask(channel: Channel, args: &StatusArgs) -> Result<Report, tonic::Status> {
    let request = StatusRequest {
        endpoints: args.pods,
    };
    match CollectorClient::new(channel.clone()).status(request).await {
        Ok(status) => Ok(Report::Collector(Box::new(status.into_inner()))),
        Err(status) if status.code() == Code::Unimplemented => {
            let mut aggregator = AggregatorClient::new(channel);
            let status = aggregator.status(AggregatorStatusRequest {}).await?;
            Ok(Report::Aggregator(status.into_inner()))
        }
        Err(status) => Err(status),
    }
}

/// Lines of `name: value`, the values in one column.
struct Lines(String);

impl Lines {
    fn line(&mut self, name: &str, value: impl std::fmt::Display) {
        let name = format!("{name}:");
        // Writing to a String cannot fail.
        let _infallible = writeln!(self.0, "{name:<14}{value}");
    }
}

fn collector(status: &StatusResponse) -> String {
    let mut lines = Lines(String::new());
    let version = &status.version;
    lines.line("collector", format!("{} (weir {version})", status.node));
    lines.line("since", time(status.started.as_ref()));
    let (revision, count) = (status.policy_revision, status.policies);
    let applied = time(status.policy_applied.as_ref());
    let mode = &status.mode;
    if revision == 0 {
        lines.line(
            "policy",
            "none in force yet: what an earlier run left stays",
        );
    } else {
        let text = format!("revision {revision}, {count} policies, applied {applied}, mode {mode}");
        lines.line("policy", text);
    }
    for (name, error) in [
        ("refused", &status.manifest_error),
        ("not applied", &status.policy_error),
    ] {
        if !error.is_empty() {
            lines.line(name, error);
        }
    }
    lines.line("records", status.records);
    let (flows, denials) = (status.flow_ring_full, status.denial_ring_full);
    lines.line(
        "delayed",
        format!("{flows} flows, {denials} denials (ring full; they came with the sweep)"),
    );
    for map in status.maps.iter().filter(|map| map.used > 0) {
        let percent = map.used * 100 / map.capacity.max(1);
        lines.line(
            &map.name,
            format!("{}/{} ({percent} %)", map.used, map.capacity),
        );
    }
    if status.losses.is_empty() {
        lines.line("lost", "nothing");
    }
    for loss in &status.losses {
        let (from, to) = (time(loss.first.as_ref()), time(loss.last.as_ref()));
        let (place, records, packets) = (&loss.place, loss.records, loss.packets);
        let text = format!("{place}: {records} records, {packets} packets, {from} to {to}");
        lines.line("lost", text);
    }
    match &status.uplink {
        None => lines.line("aggregator", "none"),
        Some(uplink) => {
            let state = if uplink.connected {
                "connected"
            } else {
                "not connected"
            };
            let (held, most) = (uplink.unacked_bytes, uplink.max_bytes);
            let target = &uplink.target;
            let text = format!("{target}, {state}, {held} of {most} bytes unacknowledged");
            lines.line("aggregator", text);
        }
    }
    lines.0
}

fn pods(endpoints: &[EndpointStatus]) -> String {
    let header = [
        "POD",
        "INTERFACE",
        "ADDRESSES",
        "STATE",
        "ATTACHED",
        "PROGRAMMED",
        "REVISION",
        "MODE",
        "INGRESS",
        "EGRESS",
    ];
    let mut rows = vec![header.map(str::to_owned)];
    rows.extend(endpoints.iter().map(pod));
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let mut text = String::from("\n");
    for row in &rows {
        let cells = row.iter().zip(&widths);
        let line: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn pod(endpoint: &EndpointStatus) -> [String; 10] {
    let name = if endpoint.pod.is_empty() {
        "-".to_owned()
    } else {
        format!("{}/{}", endpoint.namespace, endpoint.pod)
    };
    [
        name,
        endpoint.interface.clone(),
        endpoint.addresses.join(","),
        endpoint.state.clone(),
        time(endpoint.attached_at.as_ref()),
        time(endpoint.programmed_at.as_ref()),
        match endpoint.revision {
            0 => "-".to_owned(),
            revision => revision.to_string(),
        },
        endpoint.mode.clone(),
        isolation(&endpoint.ingress_isolated_by),
        isolation(&endpoint.egress_isolated_by),
    ]
}

fn isolation(policies: &[PolicyRef]) -> String {
    if policies.is_empty() {
        return "open".to_owned();
    }
    let names: Vec<&str> = policies.iter().map(|policy| policy.name.as_str()).collect();
    names.join(",")
}

fn aggregator(status: &AggregatorStatusResponse) -> String {
    let mut lines = Lines(String::new());
    lines.line("aggregator", format!("weir {}", status.version));
    lines.line("since", time(status.started.as_ref()));
    let (rows, duplicates) = (status.rows, status.duplicates);
    lines.line(
        "rows",
        format!("{rows}, and {duplicates} batches that came twice"),
    );
    let (files, bytes) = (status.parquet_files, status.parquet_bytes);
    lines.line("files", format!("{files} Parquet files, {bytes} bytes"));
    lines.line(
        "log",
        format!("{} bytes not in a file yet", status.wal_bytes),
    );
    let (recent, most) = (status.recent_bytes, status.recent_max_bytes);
    lines.line("memory", format!("{recent} of {most} bytes"));
    if status.nodes.is_empty() {
        lines.line("nodes", "none yet");
    }
    for node in &status.nodes {
        lines.line("node", node_line(node));
    }
    lines.0
}

fn node_line(node: &NodeStatus) -> String {
    let state = if node.connected { "connected" } else { "gone" };
    let last = time(node.last_batch.as_ref());
    let (records, packets) = (node.lost_records, node.lost_packets);
    let (name, rows) = (&node.name, node.rows);
    format!(
        "{name} {state}, {rows} rows, last {last}, lost {records} records and {packets} packets"
    )
}

fn time(time: Option<&Timestamp>) -> String {
    let time = time.and_then(|time| {
        jiff::Timestamp::new(time.seconds, time.nanos)
            .ok()
            .map(|time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
    });
    time.unwrap_or_else(|| "-".to_owned())
}
