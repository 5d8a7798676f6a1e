//! When an entry has ended.

use std::time::Duration;

use weir_datapath::abi::{Flow, IPPROTO_SCTP, IPPROTO_TCP, IPPROTO_UDP, flow_state};
use weir_flow::EndReason;

/// Whether tables are close to full, so that flows seen in one direction only must go sooner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pressure {
    /// Room enough.
    Normal,
    /// More than four fifths full.
    High,
}

/// Idle times after which an entry is read for the last time and deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP after both FINs or a RST: late packets of the connection are still counted in it.
    pub tcp_closed: Duration,
    /// TCP with packets in one direction only.
    pub tcp_nascent: Duration,
    /// TCP after one FIN.
    pub tcp_half_closed: Duration,
    /// Established TCP and SCTP: no sooner than a day, or idle connections would be cut by their own record.
    pub established: Duration,
    /// UDP seen in both directions.
    pub udp: Duration,
    /// UDP and others seen in one direction only.
    pub nascent: Duration,
    /// ICMP and other protocols.
    pub other: Duration,
    /// Denials, and flows that a policy change cut.
    pub denied: Duration,
    /// Flows seen in one direction only, under [`Pressure::High`].
    pub nascent_pressed: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tcp_closed: Duration::from_secs(3),
            tcp_nascent: Duration::from_secs(60),
            tcp_half_closed: Duration::from_secs(3600),
            established: Duration::from_secs(24 * 3600),
            udp: Duration::from_secs(120),
            nascent: Duration::from_secs(30),
            other: Duration::from_secs(60),
            denied: Duration::from_secs(60),
            nascent_pressed: Duration::from_secs(5),
        }
    }
}

impl Timeouts {
    /// Why a flow that has been idle for `idle_ns` is over, if it is.
    pub fn ended(
        &self,
        flow: &Flow,
        protocol: u8,
        idle_ns: u64,
        pressure: Pressure,
    ) -> Option<EndReason> {
        let (limit, reason) = self.limit(flow.state, protocol, pressure);
        (u128::from(idle_ns) >= limit.as_nanos()).then_some(reason)
    }

    fn limit(&self, state: u32, protocol: u8, pressure: Pressure) -> (Duration, EndReason) {
        const BOTH_FINS: u32 = flow_state::FIN_EGRESS | flow_state::FIN_INGRESS;
        if state & flow_state::DENIED != 0 {
            return (self.denied, EndReason::Policy);
        }
        if protocol == IPPROTO_TCP {
            if state & flow_state::RST != 0 {
                return (self.tcp_closed, EndReason::Reset);
            }
            if state & BOTH_FINS == BOTH_FINS {
                return (self.tcp_closed, EndReason::Fin);
            }
        }
        let idle = match (protocol, state & flow_state::ESTABLISHED != 0, pressure) {
            (_, false, Pressure::High) => self.nascent_pressed,
            (IPPROTO_TCP, false, Pressure::Normal) => self.tcp_nascent,
            (_, false, Pressure::Normal) => self.nascent,
            (IPPROTO_TCP, true, _) if state & BOTH_FINS != 0 => self.tcp_half_closed,
            (IPPROTO_TCP | IPPROTO_SCTP, true, _) => self.established,
            (IPPROTO_UDP, true, _) => self.udp,
            (_, true, _) => self.other,
        };
        (idle, EndReason::Idle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_NS: u64 = 3_600_000_000_000;

    fn flow(state: u32) -> Flow {
        Flow {
            state,
            ..Flow::default()
        }
    }

    #[test]
    fn an_idle_established_connection_lives_for_a_day() {
        let timeouts = Timeouts::default();
        let flow = flow(flow_state::ESTABLISHED);
        assert_eq!(
            timeouts.ended(&flow, IPPROTO_TCP, 23 * HOUR_NS, Pressure::High),
            None
        );
        assert_eq!(
            timeouts.ended(&flow, IPPROTO_TCP, 24 * HOUR_NS, Pressure::Normal),
            Some(EndReason::Idle)
        );
    }

    #[test]
    fn half_open_connections_go_first_under_pressure() {
        let timeouts = Timeouts::default();
        assert_eq!(
            timeouts.ended(&flow(0), IPPROTO_TCP, 6_000_000_000, Pressure::Normal),
            None
        );
        assert_eq!(
            timeouts.ended(&flow(0), IPPROTO_TCP, 6_000_000_000, Pressure::High),
            Some(EndReason::Idle)
        );
    }

    #[test]
    fn a_reset_or_closed_connection_lingers_for_late_packets() {
        let timeouts = Timeouts::default();
        let closed =
            flow(flow_state::ESTABLISHED | flow_state::FIN_EGRESS | flow_state::FIN_INGRESS);
        assert_eq!(
            timeouts.ended(&closed, IPPROTO_TCP, 1_000_000_000, Pressure::Normal),
            None
        );
        assert_eq!(
            timeouts.ended(&closed, IPPROTO_TCP, 3_000_000_000, Pressure::Normal),
            Some(EndReason::Fin)
        );
        let reset = flow(flow_state::ESTABLISHED | flow_state::RST);
        assert_eq!(
            timeouts.ended(&reset, IPPROTO_TCP, 3_000_000_000, Pressure::Normal),
            Some(EndReason::Reset)
        );
    }
}
