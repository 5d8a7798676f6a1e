//! Floods of new flows, larger than the tables: an established connection works on, and every packet is accounted for.

mod common;

use common::exact::Exact;
use common::traffic::OPEN;
use common::{PATIENCE, is_root};
use weir_testkit::{Dial, FrameSender, Outcome, Packet, TcpFlags, TcpServer, Transport};

/// New flows of each flood; the table has room for a sixth.
const MANY: u16 = 6000;

/// A flood's name, and its packet from a port.
type Flood = (&'static str, fn(u16) -> Transport);

#[test]
fn kernel_an_established_connection_outlives_floods_larger_than_the_table() {
    if !is_root() {
        return;
    }
    let exact = Exact::start(&["--flow-table-size=1024"]);
    let [target, allowed] = ["target", "allowed"].map(|name| exact.pod(name));
    let _server = TcpServer::start(&target.netns, OPEN).expect("server");
    let mut session = Dial::to((target.addresses.v4, OPEN))
        .session(&allowed.netns)
        .expect("connected");
    assert_eq!(session.ping(PATIENCE).expect("pinged"), Outcome::Connected);
    let sender = FrameSender::open(&allowed.netns, "eth0").expect("sender");
    let floods: [Flood; 3] = [
        ("half-open", |port| {
            Transport::tcp(port, OPEN, TcpFlags::SYN)
        }),
        ("one-way UDP", |port| Transport::udp(port, OPEN, b"weir")),
        ("bare ACKs", |port| {
            Transport::tcp(port, OPEN, TcpFlags::ACK)
        }),
    ];
    for (flood, transport) in floods {
        for port in 10_000..10_000 + MANY {
            let packet = Packet::v4(allowed.addresses.v4, target.addresses.v4, transport(port));
            let frame = packet.ethernet(allowed.mac, allowed.gateway_mac).frame();
            sender.send(&frame).expect("sent");
            if port % 1500 == 0 {
                let answer = session.ping(PATIENCE).expect("pinged");
                assert_eq!(answer, Outcome::Connected, "in the middle of {flood}");
            }
        }
        let answer = session.ping(PATIENCE).expect("pinged");
        assert_eq!(answer, Outcome::Connected, "after {flood}");
    }
    let lake = exact.wait_until_sums_agree();
    assert!(lake.lost_at("flow_table").packets > 0, "the table was full");
    let full = lake.last().filter(|row| row.reason == "table_full");
    assert!(
        full.count() > 0,
        "and refused new flows of the isolated pod"
    );
}
