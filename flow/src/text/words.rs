//! The parts of a line.

use std::borrow::Cow;

use jiff::tz::TimeZone;

use super::Color;
use crate::hubble::{self, Event};
use crate::sides::Side;
use crate::{Direction, EndpointKind, Record, Timestamp, Verdict};

/// `Jan _2 15:04:05.000` in UTC, as Go's `StampMilli`; `N/A` if it is no time.
pub(super) fn time(time: Timestamp) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(time.0))
        .map(|time| time.to_zoned(TimeZone::UTC))
        .map_or_else(
            |_| "N/A".to_owned(),
            |time| time.strftime("%b %e %H:%M:%S%.3f").to_string(),
        )
}

/// The host part of a side: pod, Service, node, or address.
fn host(side: &Side<'_>) -> (String, HostForm) {
    let endpoint = side.endpoint;
    if endpoint.kind == EndpointKind::Pod && !endpoint.name.is_empty() {
        let name = format!("{}/{}", endpoint.namespace, endpoint.name);
        return (name, HostForm::Name);
    }
    if let Some(service) = side.service {
        let name = format!("{}/{}", service.namespace, service.name);
        return (name, HostForm::Name);
    }
    if let Some(name) = hubble::node_name(endpoint) {
        return (name.to_string(), HostForm::Name);
    }
    (side.ip.to_string(), HostForm::Address)
}

enum HostForm {
    Name,
    Address,
}

/// `host:port (identity)`; no port if it is 0, brackets around an IPv6 address with one.
pub(super) fn side(side: &Side<'_>, color: Color) -> String {
    let (host, form) = host(side);
    let host = clean(&host);
    let host = match form {
        HostForm::Address if side.port != 0 && side.ip.is_ipv6() => format!("[{host}]"),
        _ => host.into_owned(),
    };
    let mut out = color.paint(Paint::Host, &host);
    if side.port != 0 {
        out.push(':');
        out.push_str(&color.paint(Paint::Port, &side.port.to_string()));
    }
    let identity = match hubble::reserved_identity(side.endpoint.identity) {
        Some(name) => format!("({name})"),
        None => format!("(ID:{})", side.endpoint.identity),
    };
    out.push(' ');
    out.push_str(&color.paint(Paint::Identity, &identity));
    out
}

/// The type: `policy-verdict:L3-L4 INGRESS`, `to-endpoint`, `Policy denied`.
pub(super) fn kind(record: &Record) -> String {
    match Event::of(record) {
        Event::PolicyVerdict => {
            let direction = match record.direction {
                Direction::Ingress => "INGRESS",
                Direction::Egress => "EGRESS",
            };
            format!(
                "policy-verdict:{} {direction}",
                hubble::match_type(record).name
            )
        }
        Event::Drop => hubble::drop_reason(record.reason).text.to_owned(),
        Event::Trace => hubble::TracePoint::of(record.direction).name.to_owned(),
    }
}

/// The verdict's word and colour: a policy verdict is allowed or denied, a packet forwarded or dropped.
pub(super) fn verdict(record: &Record) -> (&'static str, Paint) {
    match (Event::of(record), record.verdict) {
        (Event::PolicyVerdict, Verdict::Forwarded) => ("ALLOWED", Paint::Good),
        (Event::PolicyVerdict, Verdict::Dropped) => ("DENIED", Paint::Bad),
        (Event::PolicyVerdict, Verdict::Audit) => ("AUDITED", Paint::Doubtful),
        (_, Verdict::Forwarded) => ("FORWARDED", Paint::Good),
        (_, Verdict::Dropped) => ("DROPPED", Paint::Bad),
        (_, Verdict::Audit) => ("AUDIT", Paint::Doubtful),
    }
}

/// `<>` where nobody can say whether it is a reply: denials.
pub(super) fn arrow(record: &Record) -> &'static str {
    match record.verdict {
        Verdict::Dropped => "<>",
        Verdict::Forwarded | Verdict::Audit => "->",
    }
}

/// Text from outside, without characters that could steer a terminal.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    if text.chars().any(char::is_control) {
        let clean = text.chars().filter(|c| !c.is_control());
        Cow::Owned(clean.collect())
    } else {
        Cow::Borrowed(text)
    }
}

/// What a piece of text is, for its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paint {
    Host,
    Port,
    Identity,
    Good,
    Bad,
    Doubtful,
}

impl Color {
    pub(super) fn paint(self, paint: Paint, text: &str) -> String {
        let code = match paint {
            Paint::Host => "36",
            Paint::Port | Paint::Doubtful => "33",
            Paint::Identity => "2",
            Paint::Good => "32",
            Paint::Bad => "31",
        };
        match self {
            Self::Plain => text.to_owned(),
            Self::Ansi => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}
