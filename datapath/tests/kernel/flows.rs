//! Flow entries: made once, counted exactly.

use weir_datapath::abi::*;

use super::harness::*;
use super::packets::*;

const SERVER4: &str = "10.0.0.5:80";
const CLIENT4: &str = "10.1.0.1:40000";

#[test]
fn a_connection_on_an_open_endpoint_is_one_flow_with_exact_counts() {
    with_kernel(|k| {
        let bytes = tcp(CLIENT4, SERVER4, "S").bytes().len() as u64;
        assert_eq!(k.to_pod(&tcp(CLIENT4, SERVER4, "S")), Action::Next);
        assert_eq!(k.from_pod(&tcp(SERVER4, CLIENT4, "SA")), Action::Next);
        for _ in 0..3 {
            assert_eq!(k.to_pod(&tcp(CLIENT4, SERVER4, "A")), Action::Next);
        }
        let flow = k.flow(SERVER4, CLIENT4, IPPROTO_TCP).unwrap();
        assert_eq!(
            flow.ingress,
            Tally {
                packets: 4,
                bytes: 4 * bytes
            }
        );
        assert_eq!(flow.egress, Tally { packets: 1, bytes });
        assert_eq!(flow.rule, rule::NOT_ISOLATED);
        assert_eq!(
            flow.state,
            flow_state::OPENED_BY_REMOTE | flow_state::ESTABLISHED
        );
        assert_eq!(k.usage(), (0, 1));
        let events = k.flow_events();
        assert_eq!(events.len(), 1);
        assert_eq!(
            (events[0].kind, events[0].serial),
            (EventKind::Started as u8, flow.serial)
        );
    });
}
