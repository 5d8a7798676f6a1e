//! What user space reads: flows, denials, ledger, counters, rings.

use std::collections::HashMap as StdHashMap;

use aya::maps::{PerCpuArray, PerCpuHashMap, RingBuf};
use weir_datapath::abi::*;

use super::keys::{FlowKey, event};
use super::{Context, Kernel, SLOT, add};

impl Kernel {
    /// The IPv4 flow between these sockets.
    pub(in super::super) fn flow(
        &mut self,
        local: &str,
        remote: &str,
        protocol: u8,
    ) -> Option<Flow> {
        match FlowKey::new(local, remote, protocol) {
            FlowKey::V4(key) => self.hash::<FlowKey4, Flow>(maps::FLOWS4).get(&key, 0).ok(),
            FlowKey::V6(key) => self.hash::<FlowKey6, Flow>(maps::FLOWS6).get(&key, 0).ok(),
        }
    }

    /// Overwrites a flow entry: tests of rare states.
    pub(in super::super) fn change_flow(
        &mut self,
        local: &str,
        remote: &str,
        protocol: u8,
        change: impl FnOnce(&mut Flow),
    ) {
        let mut flow = self
            .flow(local, remote, protocol)
            .expect("a flow to change");
        change(&mut flow);
        match FlowKey::new(local, remote, protocol) {
            FlowKey::V4(key) => self.hash(maps::FLOWS4).insert(key, flow, 0).unwrap(),
            FlowKey::V6(key) => self.hash(maps::FLOWS6).insert(key, flow, 0).unwrap(),
        }
    }

    /// All flows of both families.
    pub(in super::super) fn flows(&mut self) -> Vec<Flow> {
        let mut flows: Vec<Flow> = self
            .hash::<FlowKey4, Flow>(maps::FLOWS4)
            .iter()
            .map(|entry| entry.unwrap().1)
            .collect();
        flows.extend(
            self.hash::<FlowKey6, Flow>(maps::FLOWS6)
                .iter()
                .map(|entry| entry.unwrap().1),
        );
        flows
    }

    /// All IPv4 denials.
    pub(in super::super) fn denials4(&mut self) -> Vec<(DenialKey4, Denial)> {
        self.hash(maps::DENIALS4)
            .iter()
            .map(Result::unwrap)
            .collect()
    }

    /// All IPv6 denials.
    pub(in super::super) fn denials6(&mut self) -> Vec<(DenialKey6, Denial)> {
        self.hash(maps::DENIALS6)
            .iter()
            .map(Result::unwrap)
            .collect()
    }

    /// The denials of both families as (reason, direction, port, packets), sorted.
    pub(in super::super) fn refusals(&mut self) -> Vec<(Reason, Direction, u16, u64)> {
        let direction = |d: u8| {
            if d == 0 {
                Direction::Ingress
            } else {
                Direction::Egress
            }
        };
        let reason = |r: u8| Reason::from_u8(r).unwrap();
        let mut all: Vec<_> = self
            .denials4()
            .into_iter()
            .map(|(k, d)| {
                (
                    reason(k.reason),
                    direction(k.direction),
                    k.port,
                    d.dropped.packets,
                )
            })
            .collect();
        all.extend(self.denials6().into_iter().map(|(k, d)| {
            (
                reason(k.reason),
                direction(k.direction),
                k.port,
                d.dropped.packets,
            )
        }));
        all.sort_unstable();
        all
    }

    /// Enters a denial, as user space does for overflow entries.
    pub(in super::super) fn insert_denial4(&mut self, key: DenialKey4, denial: Denial) {
        self.hash(maps::DENIALS4).insert(key, denial, 0).unwrap();
    }

    /// The ledger as (direction, verdict, reason) → packets, over all CPUs.
    pub(in super::super) fn ledger(
        &mut self,
    ) -> StdHashMap<(Direction, Verdict, Reason), LedgerCount> {
        let map: PerCpuHashMap<_, LedgerKey, LedgerCount> =
            self.map(maps::LEDGER).try_into().unwrap();
        map.iter()
            .map(|entry| {
                let (key, counts) = entry.unwrap();
                let direction = if key.direction == 0 {
                    Direction::Ingress
                } else {
                    Direction::Egress
                };
                let verdict =
                    [Verdict::Allow, Verdict::Deny, Verdict::Audit][usize::from(key.verdict)];
                let sum = counts
                    .iter()
                    .fold(LedgerCount::default(), |sum, count| LedgerCount {
                        tally: add(sum.tally, count.tally),
                        extra_segments: sum.extra_segments + count.extra_segments,
                    });
                (
                    (direction, verdict, Reason::from_u8(key.reason).unwrap()),
                    sum,
                )
            })
            .collect()
    }

    /// Packets in one ledger row.
    pub(in super::super) fn ledger_packets(
        &mut self,
        direction: Direction,
        verdict: Verdict,
        reason: Reason,
    ) -> u64 {
        self.ledger()
            .get(&(direction, verdict, reason))
            .map_or(0, |count| count.tally.packets)
    }

    /// A counter over all CPUs.
    pub(in super::super) fn counter(&mut self, counter: Counter) -> u64 {
        let map: PerCpuArray<_, u64> = self.map(maps::COUNTERS).try_into().unwrap();
        map.get(&(counter as u32), 0).unwrap().iter().sum()
    }

    /// How many flows the endpoint holds.
    pub(in super::super) fn usage(&mut self) -> (u64, u64) {
        let usage = self
            .array::<EndpointUse>(maps::ENDPOINT_USE)
            .get(&SLOT, 0)
            .unwrap();
        (usage.nascent, usage.flows)
    }

    /// Takes what rang on the flow ring.
    pub(in super::super) fn flow_events(&mut self) -> Vec<Event> {
        self.ring(maps::FLOW_EVENTS)
    }

    /// Takes what rang on the denial ring.
    pub(in super::super) fn denial_events(&mut self) -> Vec<Event> {
        self.ring(maps::DENIAL_EVENTS)
    }

    fn ring(&mut self, name: &str) -> Vec<Event> {
        let mut ring: RingBuf<_> = self.map(name).try_into().unwrap();
        let mut events = Vec::new();
        while let Some(item) = ring.next() {
            events.push(event(&item));
        }
        events
    }

    /// Runs the retire program on these keys; its return value.
    pub(in super::super) fn retire(&mut self, table: u8, count: u8, slot: u16, keys: &[u8]) -> u32 {
        let mut input = vec![0; 12];
        input.extend(retire::ETHERTYPE.to_be_bytes());
        input.extend([table, count]);
        input.extend(slot.to_ne_bytes());
        input.extend_from_slice(keys);
        self.test_run(programs::RETIRE, &input, &Context::default(), 1)
            .0
    }

    /// The kernel's clock pair.
    pub(in super::super) fn clock(&mut self) -> ClockPair {
        self.test_run(programs::CLOCK, &[0; 64], &Context::default(), 1);
        self.array::<ClockPair>(maps::CLOCK).get(&0, 0).unwrap()
    }
}
