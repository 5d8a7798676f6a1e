//! Hubble's compact line: `{time}[ [{node}]]: {src} {srcid} {arrow} {dst} {dstid} {type} {verdict} ({summary})`.

use super::words::{Paint, arrow, clean, kind, side, time, verdict};
use super::{NodeName, Style};
use crate::hubble::summary;
use crate::{Item, LossRecord, Record, Timestamp};

/// The line of an item, without a line feed.
pub fn compact(item: &Item, style: Style) -> String {
    match item {
        Item::Flow(record) => flow_line(record, style),
        Item::Loss(loss) => loss_line(loss, style),
    }
}

fn prefix(at: Timestamp, node: &str, style: Style) -> String {
    match style.node {
        NodeName::Hidden => time(at),
        NodeName::Shown => format!("{} [{}]", time(at), clean(node)),
    }
}

fn flow_line(record: &Record, style: Style) -> String {
    let (word, paint) = verdict(record);
    format!(
        "{}: {} {} {} {} {} ({})",
        prefix(record.time, &record.node, style),
        side(&record.source(), style.color),
        arrow(record),
        side(&record.destination(), style.color),
        kind(record),
        style.color.paint(paint, word),
        clean(&summary(record)),
    )
}

fn loss_line(loss: &LossRecord, style: Style) -> String {
    let prefix = prefix(loss.time, &loss.node, style);
    let endpoint = loss.endpoint.as_deref().map(|name| format!(" of {name}"));
    let what = if loss.records > 0 {
        format!("{} records", loss.records)
    } else {
        format!("{} packets {} bytes", loss.packets, loss.bytes)
    };
    let lost = format!(
        "EVENTS LOST: {} {what}{} (first: {}, last: {})",
        loss.place,
        endpoint.unwrap_or_default(),
        time(loss.from),
        time(loss.to),
    );
    format!("{prefix}: {}", style.color.paint(Paint::Bad, &clean(&lost)))
}

/// Hubble's line for events lost between a server and this client.
pub fn lost_line(
    source: &str,
    count: u64,
    span: Option<(Timestamp, Timestamp)>,
    style: Style,
) -> String {
    let span = span.map(|(from, to)| format!(" (first: {}, last: {})", time(from), time(to)));
    let text = format!("EVENTS LOST: {source} {count}{}", span.unwrap_or_default());
    style.color.paint(Paint::Bad, &clean(&text))
}
