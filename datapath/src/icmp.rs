//! What an ICMP message is to the datapath (RFC 792, RFC 4443, RFC 4861, RFC 3810).

use crate::transport::Icmp;

/// Echo request for IPv4.
pub const ECHO_REQUEST: u8 = 8;
/// Redirect for IPv4.
pub const REDIRECT: u8 = 5;
/// ICMPv6 echo request.
pub const ECHO_REQUEST6: u8 = 128;

/// Class of an ICMP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A query or its answer, keyed by its identifier under the request's type, which this is.
    Query(u8),
    /// An error: it quotes the packet that it is about.
    Error,
    /// An IPv4 redirect: an error too, and not a pod's to send.
    Redirect,
    /// Neighbour solicitation or router solicitation.
    Solicitation,
    /// A neighbour advertisement: it claims an address.
    NeighbourAdvertisement,
    /// A router advertisement or ICMPv6 redirect: not a pod's to send.
    Router,
    /// Multicast listener discovery.
    Listener,
    /// Anything else: a pseudo-connection by type and code.
    Other,
}

/// Classifies a message. Neighbour discovery counts only with hop limit 255 and code 0 (RFC 4861 §6.1, §7.1).
#[inline(always)]
pub fn classify(family: Icmp, kind: u8, code: u8, hop_limit: u8) -> Class {
    if let Some(request) = request_of(family, kind) {
        return Class::Query(request);
    }
    match family {
        Icmp::V4 => match kind {
            3 | 4 | 11 | 12 => Class::Error,
            REDIRECT => Class::Redirect,
            _ => Class::Other,
        },
        Icmp::V6 => match kind {
            0..=127 => Class::Error,
            130..=132 | 143 => Class::Listener,
            133 | 135 if on_link(hop_limit, code) => Class::Solicitation,
            136 if on_link(hop_limit, code) => Class::NeighbourAdvertisement,
            134 | 137 if on_link(hop_limit, code) => Class::Router,
            _ => Class::Other,
        },
    }
}

#[inline(always)]
fn on_link(hop_limit: u8, code: u8) -> bool {
    hop_limit == 255 && code == 0
}

/// The request type under which a query or its answer is keyed.
#[inline(always)]
pub fn request_of(family: Icmp, kind: u8) -> Option<u8> {
    match (family, kind) {
        (Icmp::V4, 0 | ECHO_REQUEST) => Some(ECHO_REQUEST),
        (Icmp::V4, 13 | 14) => Some(13), // timestamp
        (Icmp::V4, 15 | 16) => Some(15), // information
        (Icmp::V4, 17 | 18) => Some(17), // address mask
        (Icmp::V6, ECHO_REQUEST6 | 129) => Some(ECHO_REQUEST6),
        _ => None,
    }
}
