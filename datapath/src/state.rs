//! Flow states: what a packet does to [`flow_state`](crate::abi::flow_state) bits.

use crate::abi::flow_state::{ESTABLISHED, FIN_EGRESS, FIN_INGRESS, OPENED_BY_REMOTE, RST};
use crate::abi::{Direction, IPPROTO_TCP};

/// TCP flag bits (RFC 9293 §3.1).
pub mod tcp {
    /// No more data.
    pub const FIN: u8 = 1 << 0;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 1 << 1;
    /// Reset.
    pub const RST: u8 = 1 << 2;
    /// Acknowledgment.
    pub const ACK: u8 = 1 << 4;
}

/// What a packet is to the opening of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It may open one: TCP SYN without ACK, or anything that is not TCP.
    Opener,
    /// TCP SYN with ACK: an answer, never an opener.
    Answer,
    /// TCP without SYN: belongs to a connection, or comes from before its time.
    Midstream,
}

/// The role of a packet.
#[inline(always)]
pub fn role(protocol: u8, flags: u8) -> Role {
    match (protocol, flags & (tcp::SYN | tcp::ACK)) {
        (IPPROTO_TCP, 0 | tcp::ACK) => Role::Midstream,
        (IPPROTO_TCP, tcp::SYN) => Role::Opener,
        (IPPROTO_TCP, _) => Role::Answer,
        _ => Role::Opener,
    }
}

/// The other direction.
#[inline(always)]
pub fn opposite(direction: Direction) -> Direction {
    match direction {
        Direction::Ingress => Direction::Egress,
        Direction::Egress => Direction::Ingress,
    }
}

/// The direction in which the opener sends.
#[inline(always)]
pub fn opener(state: u32) -> Direction {
    match state & OPENED_BY_REMOTE {
        0 => Direction::Egress,
        _ => Direction::Ingress,
    }
}

/// The state bit that says who opens when a packet in this direction does.
#[inline(always)]
pub fn opened_by(direction: Direction) -> u32 {
    match direction {
        Direction::Egress => 0,
        Direction::Ingress => OPENED_BY_REMOTE,
    }
}

/// Where a packet's TCP flags stand in [`Flow::tcp_flags`](crate::abi::Flow::tcp_flags).
#[inline(always)]
pub fn flag_word(direction: Direction, flags: u8) -> u32 {
    match direction {
        Direction::Egress => u32::from(flags),
        Direction::Ingress => u32::from(flags) << 16,
    }
}

/// The state bits that a packet adds by its flags.
#[inline(always)]
pub fn ending(direction: Direction, flags: u8) -> u32 {
    let reset = if flags & tcp::RST != 0 { RST } else { 0 };
    let fin = match (flags & tcp::FIN, direction) {
        (0, _) => 0,
        (_, Direction::Egress) => FIN_EGRESS,
        (_, Direction::Ingress) => FIN_INGRESS,
    };
    reset | fin
}

/// Whether a packet in this direction makes a nascent flow an established one: TCP once both sides have acknowledged
/// something, for an answered SYN is anybody's who can guess a port (RFC 9293 §3.5); others once they are answered.
/// `flags`: those of all packets up to this one, as in [`Flow::tcp_flags`](crate::abi::Flow::tcp_flags).
#[inline(always)]
pub fn establishes(state: u32, protocol: u8, direction: Direction, flags: u32) -> bool {
    const BOTH_ACKS: u32 = tcp::ACK as u32 | (tcp::ACK as u32) << 16;
    state & ESTABLISHED == 0
        && match protocol {
            IPPROTO_TCP => flags & BOTH_ACKS == BOTH_ACKS,
            _ => opener(state) != direction,
        }
}

/// Whether the connection has ended: reset, or closed by both sides.
#[inline(always)]
pub fn ended(state: u32) -> bool {
    state & RST != 0 || state & (FIN_EGRESS | FIN_INGRESS) == FIN_EGRESS | FIN_INGRESS
}
