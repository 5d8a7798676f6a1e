//! Damaged packets: none passes an isolated endpoint, every one is counted once.

use weir_datapath::abi::*;
use weir_datapath::icmp::{self, Class};
use weir_datapath::packet::Parsed;
use weir_datapath::transport::Icmp;
use weir_datapath::{ipv4, ipv6};

use super::harness::*;
use super::packets::*;

const ROUNDS: u64 = 20_000;

/// xorshift64*: the same packets at every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }

    /// Flips bits, overwrites bytes, cuts and stretches.
    fn damage(&mut self, frame: &Frame) -> Frame {
        let mut bytes = frame.bytes().to_vec();
        for _ in 0..=self.below(4) {
            let at = 12 + self.below(bytes.len() - 12);
            match self.below(4) {
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes[at] = self.below(256) as u8,
                2 => bytes.truncate(at.max(14)),
                _ => bytes.extend(std::iter::repeat_n(0, self.below(40))),
            }
        }
        // Shorter ones the kernel does not take in a test run.
        let least = if bytes[12..14] == [0x86, 0xdd] {
            54
        } else {
            34
        };
        bytes.resize(bytes.len().max(least), 0);
        Frame::raw(bytes)
    }
}

fn corpus(side: &Side) -> Vec<Frame> {
    let (peer, pod) = (side.peer(1000), side.pod(80));
    let mut frames = vec![
        tcp(&peer, &pod, "S"),
        tcp(&peer, &pod, "A"),
        tcp(&side.peer(1001), &pod, "S"),
        udp(&peer, &pod),
        echo(side.peer, side.pod, side.echo.1, 7),
        echo(side.peer, side.pod, side.echo.2, 7),
        icmp_error(side.world, side.pod, (3, 4), &tcp(&pod, &peer, "A")),
        icmp_error(side.world, side.pod, (2, 0), &udp(&pod, &peer)),
        other(side.peer, side.pod, 2, &[0x11; 8]),
        other(side.peer, side.pod, 132, &[0; 16]),
        arp("10.0.0.1"),
        ethernet(0x8100),
    ];
    frames.extend(fragments(&udp(&peer, &pod), 9, &[8]));
    if side.family == 4 {
        frames.push(with_options(&tcp(&peer, &pod, "A"), &[1; 12]));
    } else {
        frames.push(with_extensions(
            &tcp(&peer, &pod, "A"),
            &[(0, vec![0; 8]), (60, vec![0; 8])],
        ));
        frames.push(neighbour("fd01::1", "fd00::5", 135, 255, "fd00::5"));
    }
    frames
}

/// What may pass an endpoint that allows nothing but one TCP connection: by the host's reading of the packet.
fn may_pass(frame: &Frame) -> bool {
    let bytes = frame.bytes();
    match u16::from_be_bytes([bytes[12], bytes[13]]) {
        0x0806 => true,
        0x0800 => {
            let mut parsed = Parsed::default();
            ipv4::parse(bytes, &mut parsed).is_ok()
                && (parsed.protocol == 2 || is_connection(&parsed) || is_error(Icmp::V4, &parsed))
        }
        0x86dd => {
            let mut parsed = Parsed::default();
            ipv6::parse(bytes, &mut parsed).is_ok()
                && (is_connection(&parsed) || is_error(Icmp::V6, &parsed) || is_neighbour(&parsed))
        }
        _ => false,
    }
}

fn is_connection<A>(parsed: &Parsed<A>) -> bool {
    parsed.protocol == IPPROTO_TCP && (parsed.source_port, parsed.destination_port) == (1000, 80)
}

/// Errors about the connection pass; which those are is what the tests of `icmp` say.
fn is_error<A>(family: Icmp, parsed: &Parsed<A>) -> bool {
    let protocol = if family == Icmp::V4 {
        IPPROTO_ICMP
    } else {
        IPPROTO_ICMPV6
    };
    let (kind, code) = (
        (parsed.destination_port >> 8) as u8,
        parsed.destination_port as u8,
    );
    parsed.protocol == protocol
        && matches!(
            icmp::classify(family, kind, code, parsed.hop_limit),
            Class::Error | Class::Redirect
        )
}

fn is_neighbour<A>(parsed: &Parsed<A>) -> bool {
    let (kind, code) = (
        (parsed.destination_port >> 8) as u8,
        parsed.destination_port as u8,
    );
    parsed.protocol == IPPROTO_ICMPV6
        && !matches!(
            icmp::classify(Icmp::V6, kind, code, parsed.hop_limit),
            Class::Other | Class::Query(_)
        )
}

#[test]
fn no_damaged_packet_passes_an_isolated_endpoint_unless_it_still_is_its_connection() {
    with_each_family(|k, side| {
        k.isolate();
        k.peer(side.peer, 100, 0);
        k.allow(INGRESS, 100, &[(IPPROTO_TCP, 80, 80, 70)]);
        k.sent_to_pod(&tcp(&side.peer(1000), &side.pod(80), "S"));
        k.forbid(INGRESS, 100); // without a new epoch: the connection stays, nothing new may begin
        let corpus = corpus(side);
        let mut random = Random(0x5eed + u64::from(side.family));
        let mut passed = 0;
        for _ in 0..ROUNDS {
            let pick = random.below(corpus.len());
            let frame = random.damage(&corpus[pick]);
            if k.sent_to_pod(&frame) == Action::Next {
                passed += 1;
                assert!(may_pass(&frame), "passed: {frame:02x?}");
            }
        }
        println!("{passed} of {ROUNDS} passed");
        assert!(passed > 0 && passed < ROUNDS / 2);
    });
}

#[test]
fn damaged_packets_from_the_pod_are_counted_too() {
    with_each_family(|k, side| {
        let corpus: Vec<Frame> = vec![
            tcp(&side.pod(1), &side.peer(2), "S"),
            echo(side.pod, side.peer, side.echo.1, 7),
            icmp_error(
                side.pod,
                side.world,
                (3, 4),
                &udp(&side.peer(1), &side.pod(2)),
            ),
            arp("10.0.0.5"),
        ];
        let mut random = Random(0xfeed);
        for _ in 0..ROUNDS / 4 {
            let pick = random.below(corpus.len());
            let frame = random.damage(&corpus[pick]);
            k.sent_by_pod(&frame);
        }
    });
}
