//! Frames made by hand are taken by a real kernel.

mod common;

use std::time::Duration;

use weir_testkit::{
    Addresses, Capture, CapturedFrame, ClusterSpec, Direction, Extension, FrameSender, Packet, Pod,
    Tcp, TcpFlags, Topology, Transport, UdpServer,
};

const PATIENCE: Duration = Duration::from_secs(5);
const PORT: u16 = 53;

fn v4(from: Addresses, to: &Pod, source: &Pod, transport: Transport) -> Packet {
    Packet::v4(from.v4, to.addresses.v4, transport).ethernet(source.mac, source.gateway_mac)
}

fn v6(from: Addresses, to: &Pod, source: &Pod, transport: Transport) -> Packet {
    Packet::v6(from.v6, to.addresses.v6, transport).ethernet(source.mac, source.gateway_mac)
}

#[test]
fn datagrams_in_whatever_wrapping_reach_the_socket_across_nodes() {
    for topology in [Topology::Ptp, Topology::Bridge] {
        let Some(cluster) = common::cluster(&ClusterSpec::uniform(topology, 2, 1)) else {
            return;
        };
        let a = cluster.pod("default", "pod-1-1").unwrap();
        let b = cluster.pod("default", "pod-2-1").unwrap();
        let server = UdpServer::start(&b.netns, PORT).unwrap();
        let sender = FrameSender::open(&a.netns, "eth0").unwrap();
        let datagram = || Transport::udp(4000, PORT, &[b'x'; 100]);
        let four = || v4(a.addresses, b, a, datagram());
        let six = || v6(a.addresses, b, a, datagram());
        let wrapped = six()
            .extension(Extension::HopByHop { units: 1 })
            .extension(Extension::DestinationOptions { units: 4 })
            .extension(Extension::Routing { units: 2 });
        let mut sent = 0;
        let packets = [
            vec![four().frame()],
            vec![four().ipv4_options(&[1, 1, 1, 1]).frame()],
            four().identification(7).fragments(40),
            vec![six().frame()],
            vec![wrapped.frame()],
            six().identification(8).fragments(40),
            wrapped.identification(9).fragments(40),
        ];
        for frames in packets {
            let mut capture = Capture::start(&b.netns, "eth0").unwrap();
            for frame in &frames {
                sender.send(frame).unwrap();
            }
            sent += 1;
            let echo = |frame: &CapturedFrame| {
                frame.direction == Direction::Out && frame.bytes.ends_with(b"xxxx")
            };
            assert!(
                capture.wait_for(PATIENCE, echo).unwrap(),
                "{topology:?}: no echo of packet {sent}"
            );
            assert_eq!(server.datagrams_seen(), sent);
        }
    }
}

#[test]
fn a_handmade_syn_is_answered_with_a_syn_ack() {
    let Some(cluster) = common::cluster(&ClusterSpec::uniform(Topology::Ptp, 1, 2)) else {
        return;
    };
    let a = cluster.pod("default", "pod-1-1").unwrap();
    let b = cluster.pod("default", "pod-1-2").unwrap();
    let _server = weir_testkit::TcpServer::start(&b.netns, 80).unwrap();
    let sender = FrameSender::open(&a.netns, "eth0").unwrap();
    let syn = || {
        Transport::Tcp(Tcp {
            source_port: 4000,
            destination_port: 80,
            sequence: 0x0102_0304,
            flags: TcpFlags::SYN,
            ..Tcp::default()
        })
    };
    for (frame, tcp_at) in [
        (v4(a.addresses, b, a, syn()).frame(), 34),
        (v6(a.addresses, b, a, syn()).frame(), 54),
    ] {
        let mut capture = Capture::start(&a.netns, "eth0").unwrap();
        sender.send(&frame).unwrap();
        let syn_ack = |frame: &CapturedFrame| {
            frame.direction == Direction::In
                // It acknowledges the number behind the SYN's, and its flags are SYN and ACK.
                && frame.bytes.get(tcp_at + 8..tcp_at + 12) == Some(&[1, 2, 3, 5][..])
                && frame.bytes.get(tcp_at + 13) == Some(&0x12)
        };
        assert!(capture.wait_for(PATIENCE, syn_ack).unwrap());
    }
}

#[test]
fn an_sctp_init_crosses_a_node_that_tracks_connections() {
    // conntrack drops nothing here, but a wrong CRC would make the packet invalid; the Service makes the node track.
    let spec = ClusterSpec::uniform(Topology::Ptp, 1, 2)
        .service(weir_testkit::ServiceSpec::new("default", "any").select("app", "pod-1-2"));
    let Some(cluster) = common::cluster(&spec) else {
        return;
    };
    let a = cluster.pod("default", "pod-1-1").unwrap();
    let b = cluster.pod("default", "pod-1-2").unwrap();
    let mut capture = Capture::start(&b.netns, "eth0").unwrap();
    let frame = v4(a.addresses, b, a, Transport::sctp_init(5000, 5001)).frame();
    FrameSender::open(&a.netns, "eth0")
        .unwrap()
        .send(&frame)
        .unwrap();
    let arrived =
        |seen: &CapturedFrame| seen.direction == Direction::In && seen.bytes[34..] == frame[34..];
    assert!(capture.wait_for(PATIENCE, arrived).unwrap());
}

#[test]
fn interface_counters_count_each_frame_once() {
    let Some(cluster) = common::cluster(&ClusterSpec::uniform(Topology::Ptp, 1, 2)) else {
        return;
    };
    let a = cluster.pod("default", "pod-1-1").unwrap();
    let b = cluster.pod("default", "pod-1-2").unwrap();
    let node = cluster.node("node-1").unwrap();
    let sender = FrameSender::open(&a.netns, "eth0").unwrap();
    // A protocol number that nobody answers: nothing but these frames and the odd neighbour solicitation flows.
    let transport = Transport::Other {
        protocol: 253,
        bytes: vec![0; 986],
    };
    let frame = v4(a.addresses, b, a, transport).frame();
    assert_eq!(frame.len(), 1020);
    let before = node.netns.counters(&a.host_interface).unwrap();
    for _ in 0..100 {
        sender.send(&frame).unwrap();
    }
    let after = node.netns.counters(&a.host_interface).unwrap();
    let bytes = after.rx_bytes - before.rx_bytes;
    assert!((102_000..110_000).contains(&bytes), "{bytes}");
    assert!((100..130).contains(&(after.rx_packets - before.rx_packets)));
    assert!(node.netns.counters("none").is_err());
}

#[test]
fn a_capture_that_overflows_says_how_many_frames_it_missed() {
    let Some(cluster) = common::cluster(&ClusterSpec::uniform(Topology::Ptp, 1, 2)) else {
        return;
    };
    let a = cluster.pod("default", "pod-1-1").unwrap();
    let node = cluster.node("node-1").unwrap();
    let mut capture = Capture::start(&node.netns, &a.host_interface).unwrap();
    let sender = FrameSender::open(&a.netns, "eth0").unwrap();
    let transport = Transport::Other {
        protocol: 253,
        bytes: vec![0; 1000],
    };
    // To the pod itself: the node has nowhere to forward it but back, where nobody listens.
    let frame = v4(a.addresses, a, a, transport).frame();
    let mut sent = 0;
    let mut send = |count: u64| {
        for _ in 0..count {
            sender.send(&frame).unwrap();
        }
        sent += count;
        sent
    };
    send(60_000);
    let ours = |frames: &[CapturedFrame]| {
        let arrived =
            |seen: &&CapturedFrame| seen.direction == Direction::In && seen.bytes == frame;
        frames.iter().filter(arrived).count() as u64
    };
    capture.frames().unwrap();
    // One more frame, now that there is room again, tells how many the kernel dropped before it.
    let sent = send(1);
    let kept = ours(capture.frames().unwrap());
    let all = capture.frames().unwrap().len() as u64;
    let missed = capture.missed();
    assert!(missed > 0 && kept < sent);
    assert!(
        kept + missed >= sent,
        "{kept} kept, {missed} missed, {sent} sent, {all} seen"
    );
}
