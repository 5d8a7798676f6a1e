//! What is measured: one line of the report each.

use anyhow::Result;
use weir_datapath::abi::Direction;

use super::frames::{ALLOWED, EPHEMERAL, FORBIDDEN, Family, Kind, Sender, frame};
use super::stage::{Mode, Port};
use crate::stats::Samples;

/// Runs in one round: enough to settle, and no more new entries than a ring has room for.
const SAME: u32 = 20_000;
const MANY: u32 = 65_536;
const FLOWS: u32 = 5_000;
const DENIALS: u32 = 2_500;

/// One line.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) mode: Mode,
    pub(super) subject: Subject,
    pub(super) frame: Vec<u8>,
    pub(super) repeat: u32,
    pub(super) effect: Effect,
    pub(super) limit: Limit,
    /// ns a packet, one figure a round.
    pub(super) samples: Samples,
}

/// The program that is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    Empty,
    Floor,
    Weir(Direction),
}

/// What every round must do, checked after it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Every packet passes and is counted in a flow that was there before.
    Counted,
    /// Every packet makes a flow and an event.
    Flows,
    /// Every packet makes a denial and an event.
    Denials,
    /// Every packet is counted in one denial that was there before.
    Repeated,
}

impl Effect {
    /// What the program returns: `TCX_NEXT` or `TC_ACT_SHOT`.
    pub(super) fn returns(self) -> i32 {
        match self {
            Self::Counted | Self::Flows => -1,
            Self::Denials | Self::Repeated => 2,
        }
    }
}

/// The most that a line may be, as a multiple of the two floors of its mode.
#[derive(Clone, Copy, Default)]
pub(super) struct Limit {
    pub(super) empty: Option<f64>,
    pub(super) floor: Option<f64>,
}

const fn times_empty(times: f64) -> Limit {
    Limit {
        empty: Some(times),
        floor: None,
    }
}

const ESTABLISHED: Limit = Limit {
    empty: Some(2.7),
    floor: Some(1.4),
};
const ESTABLISHED6: Limit = times_empty(3.0);
const RANDOM: Limit = Limit {
    empty: None,
    floor: Some(1.5),
};
const NEW: Limit = times_empty(12.0);
const REPEATED: Limit = times_empty(3.5);

const TO_POD: Subject = Subject::Weir(Direction::Ingress);
const FROM_POD: Subject = Subject::Weir(Direction::Egress);

/// All lines: the floors of every mode, then Weir's programs.
pub(super) fn all() -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for (mode, repeat) in [
        (Mode::Same, SAME),
        (Mode::Many, MANY),
        (Mode::New(Port::Source), FLOWS),
    ] {
        for (what, subject) in [
            ("empty program", Subject::Empty),
            ("the floor", Subject::Floor),
        ] {
            let data = Packet(Family::V4, Sender::Peer, Kind::Data, ALLOWED);
            let name = format!("{what}, {}", mode.name());
            lines.push(line(
                &name,
                (mode, subject, repeat),
                data,
                Effect::Counted,
                Limit::default(),
            )?);
        }
    }
    lines.extend(established()?);
    lines.extend(new_flows()?);
    lines.extend(denials()?);
    Ok(lines)
}

fn established() -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for (name, family, kind, payload, limit) in [
        ("TCP v4, 64 B", Family::V4, Kind::Data, 64, ESTABLISHED),
        ("TCP v4, 1400 B", Family::V4, Kind::Data, 1400, ESTABLISHED),
        ("UDP v4, 64 B", Family::V4, Kind::Udp, 64, ESTABLISHED),
        ("TCP v6, 64 B", Family::V6, Kind::Data, 64, ESTABLISHED6),
        ("TCP v6, 1400 B", Family::V6, Kind::Data, 1400, ESTABLISHED6),
    ] {
        let ports = (EPHEMERAL, ALLOWED);
        lines.push(Line {
            name: format!("established, {name}"),
            mode: Mode::Same,
            subject: TO_POD,
            frame: frame(family, Sender::Peer, kind, ports, payload)?,
            repeat: SAME,
            effect: Effect::Counted,
            limit,
            samples: Samples::default(),
        });
    }
    let data = Packet(Family::V4, Sender::Peer, Kind::Data, ALLOWED);
    lines.push(line(
        "established, TCP v4, 65,536 flows in random order",
        (Mode::Many, TO_POD, MANY),
        data,
        Effect::Counted,
        RANDOM,
    )?);
    Ok(lines)
}

fn new_flows() -> Result<Vec<Line>> {
    let lines = [
        (
            "new flow to the pod, TCP v4",
            TO_POD,
            Packet(Family::V4, Sender::Peer, Kind::Syn, ALLOWED),
        ),
        (
            "new flow from the pod, TCP v4",
            FROM_POD,
            Packet(Family::V4, Sender::Pod, Kind::Syn, ALLOWED),
        ),
        (
            "new flow to the pod, UDP v4",
            TO_POD,
            Packet(Family::V4, Sender::Peer, Kind::Udp, ALLOWED),
        ),
        (
            "new flow to the pod, TCP v6",
            TO_POD,
            Packet(Family::V6, Sender::Peer, Kind::Syn, ALLOWED),
        ),
    ];
    let new = lines.into_iter().map(|(name, subject, packet)| {
        let how = (Mode::New(Port::Source), subject, FLOWS);
        line(name, how, packet, Effect::Flows, NEW)
    });
    new.collect()
}

/// A denial's key has no source port: first ones are made by another destination port each.
fn denials() -> Result<Vec<Line>> {
    let v4 = Packet(Family::V4, Sender::Peer, Kind::Syn, FORBIDDEN);
    let from_pod = Packet(Family::V4, Sender::Pod, Kind::Syn, FORBIDDEN);
    let v6 = Packet(Family::V6, Sender::Peer, Kind::Syn, FORBIDDEN);
    let other_port = (Mode::New(Port::Source), TO_POD, FLOWS);
    let first = |subject| (Mode::New(Port::Destination), subject, DENIALS);
    let same = (Mode::Same, TO_POD, SAME);
    Ok(vec![
        line(
            "first denial to the pod, TCP v4",
            first(TO_POD),
            v4,
            Effect::Denials,
            NEW,
        )?,
        line(
            "first denial from the pod, TCP v4",
            first(FROM_POD),
            from_pod,
            Effect::Denials,
            NEW,
        )?,
        line(
            "first denial to the pod, TCP v6",
            first(TO_POD),
            v6,
            Effect::Denials,
            NEW,
        )?,
        line(
            "repeated denial, same source port, TCP v4",
            same,
            v4,
            Effect::Repeated,
            REPEATED,
        )?,
        line(
            "repeated denial, other source ports, TCP v4",
            other_port,
            v4,
            Effect::Repeated,
            REPEATED,
        )?,
        line(
            "repeated denial, same source port, TCP v6",
            same,
            v6,
            Effect::Repeated,
            REPEATED,
        )?,
    ])
}

/// Family, sender, kind, and the destination port.
#[derive(Clone, Copy)]
struct Packet(Family, Sender, Kind, u16);

fn line(
    name: &str,
    how: (Mode, Subject, u32),
    packet: Packet,
    effect: Effect,
    limit: Limit,
) -> Result<Line> {
    let Packet(family, sender, kind, port) = packet;
    let payload = match kind {
        Kind::Syn | Kind::SynAck => 0,
        Kind::Data | Kind::Udp => 64,
    };
    let (mode, subject, repeat) = how;
    Ok(Line {
        name: name.to_owned(),
        mode,
        subject,
        frame: frame(family, sender, kind, (EPHEMERAL, port), payload)?,
        repeat,
        effect,
        limit,
        samples: Samples::default(),
    })
}
