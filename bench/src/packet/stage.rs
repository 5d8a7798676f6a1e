//! A mode's own copy of all programs, with tables as the mode needs them, and one round of a line on it.

use anyhow::{Context, Result, ensure};
use aya::TestRunOptions;
use aya::programs::{ProgramFd, SchedClassifier, TestRun as _};
use weir_datapath::abi::Direction;

use super::floors::{Floors, Order};
use super::frames::{ALLOWED, EPHEMERAL, FORBIDDEN, Family, Kind, Sender, frame};
use super::lines::{Effect, Line, Subject};
use super::weir::{Contents, IFINDEX, Weir};

/// How the packets of a round differ. Ratios are between programs in the same mode.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Not at all.
    Same,
    /// By a source port in random order; every one belongs to an established flow.
    Many,
    /// By a port that counts up; each is new.
    New(Port),
}

/// The port that the wrapper writes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Port {
    Source,
    Destination,
}

impl Mode {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Same => "same packet",
            Self::Many => "65,536 flows in random order",
            Self::New(_) => "rising port",
        }
    }

    /// Whether a line of the other mode is measured on the same stage, with the same floors.
    pub(super) fn is_like(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }
}

/// Some other interface, that packets to the pod are forwarded from.
const UPLINK: u32 = 77;
/// Where rising ports begin.
const FIRST_PORT: u64 = 20_000;

/// The programs of one mode.
pub(super) struct Stage {
    mode: Mode,
    floors: Floors,
    weir: Weir,
    /// What Weir's tables hold beyond what rounds leave.
    standing: Contents,
    /// Packets given to Weir since then.
    passed: u64,
    denied: u64,
}

impl Stage {
    pub(super) fn load(mode: Mode, floors: &[u8], weir: &[u8]) -> Result<Self> {
        let ports = match mode {
            Mode::Same => EPHEMERAL..=EPHEMERAL,
            Mode::Many | Mode::New(_) => 0..=u16::MAX,
        };
        let mut stage = Self {
            mode,
            floors: Floors::load(floors, ports)?,
            weir: Weir::load(weir)?,
            standing: Contents::default(),
            passed: 0,
            denied: 0,
        };
        match mode {
            Mode::Same => stage.establish_each()?,
            Mode::Many => stage.establish_many()?,
            Mode::New(_) => {}
        }
        stage.standing = stage.weir.contents()?;
        Ok(stage)
    }

    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    /// One flow of each kind, and one denial of each family.
    fn establish_each(&mut self) -> Result<()> {
        for family in [Family::V4, Family::V6] {
            for (kind, sender) in [
                (Kind::Syn, Sender::Peer),
                (Kind::SynAck, Sender::Pod),
                (Kind::Data, Sender::Peer),
                (Kind::Udp, Sender::Peer),
                (Kind::Udp, Sender::Pod),
            ] {
                let bytes = frame(family, sender, kind, ports(sender), 0)?;
                self.send(direction(sender), &bytes)?;
            }
            let refused = (EPHEMERAL, FORBIDDEN);
            let bytes = frame(family, Sender::Peer, Kind::Syn, refused, 0)?;
            self.send(Direction::Ingress, &bytes)?;
        }
        Ok(())
    }

    /// A flow from every source port, opened, answered, and with the flags of the packets that follow seen.
    fn establish_many(&mut self) -> Result<()> {
        for (kind, sender) in [
            (Kind::Syn, Sender::Peer),
            (Kind::SynAck, Sender::Pod),
            (Kind::Data, Sender::Peer),
        ] {
            let bytes = frame(Family::V4, sender, kind, ports(sender), 0)?;
            let at = Family::V4.source_port() + if sender == Sender::Pod { 2 } else { 0 };
            let judged = self.weir.fd(direction(sender))?.try_clone()?;
            self.floors.plan(&judged, at, Order::Rising, 0)?;
            let every_port = u32::from(u16::MAX) + 1;
            let (action, _) = run(
                self.floors.wrapper()?,
                direction(sender),
                &bytes,
                every_port,
            )?;
            ensure!(action == -1, "preparing flows: a program returned {action}");
        }
        Ok(())
    }

    fn send(&self, direction: Direction, frame: &[u8]) -> Result<()> {
        run(self.weir.program(direction)?, direction, frame, 1).map(drop)
    }

    /// One round of a line: ns a packet.
    pub(super) fn round(&mut self, line: &Line, number: u64) -> Result<f64> {
        let fresh = matches!((self.mode, line.subject), (Mode::New(_), Subject::Weir(_)));
        if fresh {
            self.prepare(line)?;
        }
        let direction = match line.subject {
            Subject::Weir(direction) => direction,
            Subject::Empty | Subject::Floor => Direction::Ingress,
        };
        let (action, ns) = match self.order(line.mode) {
            None => run(
                self.program(line.subject)?,
                direction,
                &line.frame,
                line.repeat,
            )?,
            Some((order, start)) => {
                let judged = self.fd(line.subject)?;
                let start = start.wrapping_add(number.wrapping_mul(order as u64) << 32);
                self.floors.plan(&judged, offset(line), order, start)?;
                run(self.floors.wrapper()?, direction, &line.frame, line.repeat)?
            }
        };
        ensure!(
            action == line.effect.returns(),
            "{}: the program returned {action}",
            line.name
        );
        if fresh {
            self.check(line)?;
        } else if matches!(line.subject, Subject::Weir(_)) {
            match line.effect {
                Effect::Repeated => self.denied += u64::from(line.repeat),
                _ => self.passed += u64::from(line.repeat),
            }
        }
        Ok(ns)
    }

    fn order(&self, mode: Mode) -> Option<(Order, u64)> {
        match mode {
            Mode::Same => None,
            Mode::Many => Some((Order::Random, 0)),
            Mode::New(_) => Some((Order::Rising, FIRST_PORT)),
        }
    }

    /// Empty tables, and the denial that is to be repeated.
    fn prepare(&mut self, line: &Line) -> Result<()> {
        self.weir.clear()?;
        match (line.effect, line.subject) {
            (Effect::Repeated, Subject::Weir(direction)) => self.send(direction, &line.frame),
            _ => Ok(()),
        }
    }

    /// After a round with fresh tables: exactly the entries and events that the line is about.
    fn check(&mut self, line: &Line) -> Result<()> {
        let packets = u64::from(line.repeat);
        let expected = match line.effect {
            Effect::Counted => self.standing,
            Effect::Flows => Contents {
                flows: packets,
                flow_packets: packets,
                flow_events: packets,
                ..Contents::default()
            },
            Effect::Denials => Contents {
                denials: packets,
                denied_packets: packets,
                denial_events: packets,
                ..Contents::default()
            },
            Effect::Repeated => Contents {
                denials: 1,
                denied_packets: packets + 1,
                denial_events: 1,
                ..Contents::default()
            },
        };
        self.weir.contents()?.must_be(expected, &line.name)
    }

    /// After all rounds: every packet counted, in the entries that were there before, without an event.
    pub(super) fn check_standing(&mut self) -> Result<()> {
        if matches!(self.mode, Mode::New(_)) {
            return Ok(()); // checked after every round
        }
        let expected = Contents {
            flow_packets: self.standing.flow_packets + self.passed,
            denied_packets: self.standing.denied_packets + self.denied,
            flow_events: 0,
            denial_events: 0,
            ..self.standing
        };
        self.weir.contents()?.must_be(expected, self.mode.name())
    }

    fn program(&self, subject: Subject) -> Result<&SchedClassifier> {
        match subject {
            Subject::Empty => self.floors.empty(),
            Subject::Floor => self.floors.floor(),
            Subject::Weir(direction) => self.weir.program(direction),
        }
    }

    fn fd(&self, subject: Subject) -> Result<ProgramFd> {
        Ok(self.program(subject)?.fd()?.try_clone()?)
    }
}

/// Where the wrapper writes.
fn offset(line: &Line) -> usize {
    let family = match line.frame[12] {
        0x08 => Family::V4,
        _ => Family::V6,
    };
    match line.mode {
        Mode::New(Port::Destination) => family.source_port() + 2,
        _ => family.source_port(),
    }
}

fn ports(sender: Sender) -> (u16, u16) {
    match sender {
        Sender::Peer => (EPHEMERAL, ALLOWED),
        Sender::Pod => (ALLOWED, EPHEMERAL),
    }
}

fn direction(sender: Sender) -> Direction {
    match sender {
        Sender::Peer => Direction::Ingress,
        Sender::Pod => Direction::Egress,
    }
}

/// Runs a program; what it returned last, and ns a run by the kernel's own account.
fn run(
    program: &SchedClassifier,
    direction: Direction,
    frame: &[u8],
    repeat: u32,
) -> Result<(i32, f64)> {
    let from = match direction {
        Direction::Ingress => UPLINK,
        Direction::Egress => IFINDEX,
    };
    let mut skb = [0; 192]; // struct __sk_buff
    skb[36..40].copy_from_slice(&from.to_ne_bytes()); // ingress_ifindex
    skb[40..44].copy_from_slice(&IFINDEX.to_ne_bytes()); // ifindex
    let options = TestRunOptions {
        data_in: Some(frame),
        ctx_in: Some(&skb),
        repeat,
        ..TestRunOptions::default()
    };
    let result = program.test_run(options).context("BPF_PROG_TEST_RUN")?;
    Ok((
        result.return_value as i32,
        result.duration.as_nanos() as f64,
    ))
}
