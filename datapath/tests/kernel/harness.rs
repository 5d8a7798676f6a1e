//! A private copy of the programs and their maps, at one endpoint on one interface of a throw-away network namespace.
//!
//! Every packet that is sent is remembered; at the end of each test the sum of what flow entries, denial entries and
//! the ledger hold must be exactly that (promise 2 of the design).

use std::collections::HashMap as StdHashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;

use aya::maps::lpm_trie::Key;
use aya::maps::{Array, HashMap, LpmTrie, Map, MapData, PerCpuArray, PerCpuHashMap, RingBuf};
use aya::programs::{SchedClassifier, TestRun as _};
use aya::{Ebpf, EbpfLoader, TestRunOptions};
use nix::sched::{CloneFlags, unshare};
use weir_datapath::abi::*;

use super::packets::Frame;

/// Interface index of the endpoint.
pub(super) const IFINDEX: u32 = 1234;
/// Some other interface that packets are forwarded from.
pub(super) const UPLINK: u32 = 77;
/// Number of the endpoint.
pub(super) const ENDPOINT: u32 = 9;
/// Slot of the endpoint.
pub(super) const SLOT: u32 = IFINDEX % ENDPOINT_SLOTS;
/// The pod's addresses.
pub(super) const POD4: &str = "10.0.0.5";
/// The pod's addresses.
pub(super) const POD6: &str = "fd00::5";
/// The set that isolates the pod against ingress in most tests.
pub(super) const INGRESS: u32 = set::FIRST;
/// The set that isolates the pod against egress in most tests.
pub(super) const EGRESS: u32 = set::FIRST + 1;

/// What a program did with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// On to the next program.
    Next,
    /// Dropped.
    Drop,
}

/// The programs and maps of one test.
pub(super) struct Kernel {
    bpf: Ebpf,
    /// The endpoint as last written.
    pub(super) endpoint: Endpoint,
    epoch: u32,
    ports_used: u32,
    /// Packets and bytes handed to the programs, by direction.
    sent: StdHashMap<Direction, Tally>,
}

/// Runs a test against freshly loaded programs, in a network namespace of its own.
pub(super) fn with_kernel(test: impl FnOnce(&mut Kernel) + Send + 'static) {
    let object = match object() {
        Ok(object) => object,
        Err(reason) => {
            println!("skipped: {reason}");
            return;
        }
    };
    let run = move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let index = IFINDEX.to_string();
        let link = [
            "link", "add", "weir-t0", "index", &index, "type", "veth", "peer", "name", "weir-t1",
        ];
        let status = Command::new("ip").args(link).status().unwrap();
        assert!(status.success(), "ip {}", link.join(" "));
        let mut kernel = Kernel::load(&object);
        test(&mut kernel);
        kernel.assert_every_packet_is_counted_once();
    };
    // A thread of its own, so that the namespace goes away with it.
    if let Err(panic) = std::thread::spawn(run).join() {
        std::panic::resume_unwind(panic);
    }
}

/// Addresses of one family.
pub(super) struct Side {
    /// 4 or 6.
    pub(super) family: u8,
    /// The endpoint's.
    pub(super) pod: &'static str,
    /// Another pod's.
    pub(super) peer: &'static str,
    /// A network that the peer is in, and its length.
    pub(super) network: (&'static str, u32),
    /// The node's own.
    pub(super) node: &'static str,
    /// A Service's.
    pub(super) service: &'static str,
    /// Nobody's.
    pub(super) world: &'static str,
    /// ICMP of this family: protocol, echo request, echo reply.
    pub(super) echo: (u8, u8, u8),
}

impl Side {
    /// A socket address.
    pub(super) fn at(&self, address: &str, port: u16) -> String {
        match self.family {
            4 => format!("{address}:{port}"),
            _ => format!("[{address}]:{port}"),
        }
    }

    /// The pod's.
    pub(super) fn pod(&self, port: u16) -> String {
        self.at(self.pod, port)
    }

    /// The peer's.
    pub(super) fn peer(&self, port: u16) -> String {
        self.at(self.peer, port)
    }
}

/// Both families.
pub(super) const SIDES: [Side; 2] = [
    Side {
        family: 4,
        pod: POD4,
        peer: "10.1.0.1",
        network: ("10.1.0.0", 16),
        node: "192.168.0.1",
        service: "10.96.0.1",
        world: "1.1.1.1",
        echo: (IPPROTO_ICMP, 8, 0),
    },
    Side {
        family: 6,
        pod: POD6,
        peer: "fd01::1",
        network: ("fd01::", 64),
        node: "fdc0::1",
        service: "fd96::1",
        world: "2606:4700::1111",
        echo: (IPPROTO_ICMPV6, 128, 129),
    },
];

/// Runs a test for both families, one after the other, each with empty tables.
pub(super) fn with_each_family(test: impl Fn(&mut Kernel, &Side) + Send + 'static) {
    with_kernel(move |k| {
        for side in SIDES {
            k.reset();
            println!("IPv{}", side.family);
            test(k, &side);
            k.assert_every_packet_is_counted_once();
        }
    });
}

fn object() -> Result<Vec<u8>, String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("kernel tests need root".to_owned());
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/bpf/weir.o");
    std::fs::read(&path)
        .map_err(|error| format!("{}: {error}; run `cargo xtask build-ebpf`", path.display()))
}

/// Sizes that suffice for tests, so that loading is quick.
const SIZES: &[(&str, u32)] = &[
    (maps::FLOWS4, 4096),
    (maps::FLOWS6, 4096),
    (maps::DENIALS4, 512),
    (maps::DENIALS6, 512),
    (maps::PORTS, 1024),
    (maps::FLOW_EVENTS, 1 << 18),
    (maps::DENIAL_EVENTS, 1 << 16),
];

const PROGRAMS: [&str; 4] = [
    programs::FROM_POD,
    programs::TO_POD,
    programs::RETIRE,
    programs::CLOCK,
];

impl Kernel {
    fn load(object: &[u8]) -> Self {
        let mut loader = EbpfLoader::new();
        for (name, entries) in SIZES {
            loader.map_max_entries(name, *entries);
        }
        let mut bpf = loader.load(object).unwrap();
        for name in PROGRAMS {
            let program: &mut SchedClassifier = bpf.program_mut(name).unwrap().try_into().unwrap();
            if let Err(error) = program.load() {
                panic!("{name}: {error:#?}");
            }
        }
        let mut kernel = Self {
            bpf,
            endpoint: Endpoint::default(),
            epoch: 1,
            ports_used: 0,
            sent: StdHashMap::new(),
        };
        kernel.reset();
        kernel
    }

    /// Empty tables, and an endpoint that no policy isolates.
    pub(super) fn reset(&mut self) {
        self.clear::<FlowKey4, Flow>(maps::FLOWS4);
        self.clear::<FlowKey6, Flow>(maps::FLOWS6);
        self.clear::<DenialKey4, Denial>(maps::DENIALS4);
        self.clear::<DenialKey6, Denial>(maps::DENIALS6);
        self.clear::<u32, Peer>(maps::PEERS4);
        self.clear::<[u8; 16], Peer>(maps::PEERS6);
        self.clear::<FrontendKey4, u32>(maps::FRONTENDS4);
        self.clear::<FrontendKey6, u32>(maps::FRONTENDS6);
        self.clear::<VerdictKey, PortTable>(maps::VERDICTS);
        self.clear::<SourceKey, u32>(maps::SOURCES);
        let ledger: PerCpuHashMap<_, LedgerKey, LedgerCount> =
            self.map(maps::LEDGER).try_into().unwrap();
        let keys: Vec<LedgerKey> = ledger.keys().map(Result::unwrap).collect();
        let mut ledger: PerCpuHashMap<_, LedgerKey, LedgerCount> =
            self.map(maps::LEDGER).try_into().unwrap();
        for key in keys {
            ledger.remove(&key).unwrap();
        }
        self.flow_events();
        self.denial_events();
        self.array::<EndpointUse>(maps::ENDPOINT_USE)
            .set(SLOT, EndpointUse::default(), 0)
            .unwrap();
        self.endpoint = Endpoint {
            ifindex: IFINDEX,
            id: ENDPOINT,
            flags: endpoint_flag::CHECK_SOURCE,
            ipv4: ipv4(POD4),
            ipv6: ipv6(POD6),
            nascent_quota: 1000,
            flow_quota: 1000,
            ..Endpoint::default()
        };
        self.change_endpoint(|_| {});
        self.set_sets(set::OPEN, set::OPEN);
        self.sent.clear();
        self.bump_epoch();
    }

    fn clear<K: aya::Pod, V: aya::Pod>(&mut self, name: &str) {
        let mut map = self.hash::<K, V>(name);
        let keys: Vec<K> = map.keys().map(Result::unwrap).collect();
        for key in keys {
            map.remove(&key).unwrap();
        }
    }

    // --- what user space writes ---

    /// Changes the endpoint's entry.
    pub(super) fn change_endpoint(&mut self, change: impl FnOnce(&mut Endpoint)) {
        change(&mut self.endpoint);
        let endpoint = self.endpoint;
        self.array::<Endpoint>(maps::ENDPOINTS)
            .set(SLOT, endpoint, 0)
            .unwrap();
    }

    /// Switches the policy sets in force.
    pub(super) fn set_sets(&mut self, ingress: u32, egress: u32) {
        let sets = EndpointSets { ingress, egress };
        self.array::<EndpointSets>(maps::ENDPOINT_SETS)
            .set(SLOT, sets, 0)
            .unwrap();
    }

    /// Isolates the pod in both directions, with sets that allow nothing yet.
    pub(super) fn isolate(&mut self) {
        self.set_sets(INGRESS, EGRESS);
    }

    fn set_epoch(&mut self, epoch: u32) {
        self.epoch = epoch;
        self.array::<Control>(maps::CONTROL)
            .set(0, Control { epoch, reserved: 0 }, 0)
            .unwrap();
    }

    /// Bumps the policy epoch, as after every change.
    pub(super) fn bump_epoch(&mut self) {
        self.set_epoch(self.epoch + 1);
    }

    /// The epoch in force.
    pub(super) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Enters an exact address.
    pub(super) fn peer(&mut self, address: &str, identity: u32, flags: u32) {
        let peer = Peer { identity, flags };
        match address.parse().unwrap() {
            IpAddr::V4(_) => self
                .hash::<u32, Peer>(maps::PEERS4)
                .insert(ipv4(address), peer, 0)
                .unwrap(),
            IpAddr::V6(_) => self
                .hash::<[u8; 16], Peer>(maps::PEERS6)
                .insert(ipv6(address), peer, 0)
                .unwrap(),
        }
    }

    /// Enters a CIDR.
    pub(super) fn network(&mut self, address: &str, length: u32, identity: u32) {
        let peer = Peer { identity, flags: 0 };
        match address.parse().unwrap() {
            IpAddr::V4(a) => {
                let mut map: LpmTrie<_, [u8; 4], Peer> =
                    self.map(maps::NETWORKS4).try_into().unwrap();
                map.insert(&Key::new(length, a.octets()), peer, 0).unwrap();
            }
            IpAddr::V6(a) => {
                let mut map: LpmTrie<_, [u8; 16], Peer> =
                    self.map(maps::NETWORKS6).try_into().unwrap();
                map.insert(&Key::new(length, a.octets()), peer, 0).unwrap();
            }
        }
    }

    /// Enters a further address that the pod may use.
    pub(super) fn further_source(&mut self, address: &str) {
        let mut key = SourceKey {
            endpoint: ENDPOINT,
            ..SourceKey::default()
        };
        match address.parse().unwrap() {
            IpAddr::V4(a) => {
                key.family = 4;
                key.address[..4].copy_from_slice(&a.octets());
            }
            IpAddr::V6(a) => (key.family, key.address) = (6, a.octets()),
        }
        self.hash(maps::SOURCES).insert(key, 1_u32, 0).unwrap();
    }

    /// Enters a Service front end.
    pub(super) fn frontend(&mut self, address: &str, protocol: u8, port: u16, identity: u32) {
        match address.parse().unwrap() {
            IpAddr::V4(_) => {
                let key = FrontendKey4 {
                    address: ipv4(address),
                    port,
                    protocol,
                    reserved: 0,
                };
                self.hash(maps::FRONTENDS4)
                    .insert(key, identity, 0)
                    .unwrap();
            }
            IpAddr::V6(_) => {
                let key = FrontendKey6 {
                    address: ipv6(address),
                    port,
                    protocol,
                    reserved: 0,
                };
                self.hash(maps::FRONTENDS6)
                    .insert(key, identity, 0)
                    .unwrap();
            }
        }
    }

    /// Allows every protocol and port between a set and an identity.
    pub(super) fn allow_all(&mut self, set: u32, identity: u32, rule: u32) {
        let table = PortTable {
            first: rule,
            count: 0,
        };
        self.hash(maps::VERDICTS)
            .insert(VerdictKey { set, identity }, table, 0)
            .unwrap();
    }

    /// Enters a port table: `(protocol, from, to, rule)`, sorted.
    pub(super) fn allow(&mut self, set: u32, identity: u32, ranges: &[(u8, u16, u16, u32)]) {
        let first = self.ports_used;
        for (at, (protocol, low, high, rule)) in (first..).zip(ranges) {
            let range = PortRange {
                low: protocol_port(*protocol, *low),
                high: protocol_port(*protocol, *high),
                rule: *rule,
                reserved: 0,
            };
            self.array::<PortRange>(maps::PORTS)
                .set(at, range, 0)
                .unwrap();
        }
        let table = PortTable {
            first,
            count: ranges.len() as u32,
        };
        self.ports_used += table.count;
        self.hash(maps::VERDICTS)
            .insert(VerdictKey { set, identity }, table, 0)
            .unwrap();
    }

    /// Takes a verdict out.
    pub(super) fn forbid(&mut self, set: u32, identity: u32) {
        self.hash::<VerdictKey, PortTable>(maps::VERDICTS)
            .remove(&VerdictKey { set, identity })
            .unwrap();
    }

    // --- packets ---

    /// A packet that leaves the pod.
    pub(super) fn from_pod(&mut self, frame: &Frame) -> Action {
        self.run(
            Direction::Egress,
            frame,
            Context {
                ifindex: IFINDEX,
                from: IFINDEX,
                ..Context::default()
            },
            1,
        )
    }

    /// A packet that was forwarded to the pod.
    pub(super) fn to_pod(&mut self, frame: &Frame) -> Action {
        self.run(
            Direction::Ingress,
            frame,
            Context {
                ifindex: IFINDEX,
                from: UPLINK,
                ..Context::default()
            },
            1,
        )
    }

    /// A packet to the pod from the node's own namespace.
    pub(super) fn to_pod_from_node(&mut self, frame: &Frame) -> Action {
        self.run(
            Direction::Ingress,
            frame,
            Context {
                ifindex: IFINDEX,
                from: 0,
                ..Context::default()
            },
            1,
        )
    }

    /// A packet in a direction, forwarded.
    pub(super) fn send(&mut self, direction: Direction, frame: &Frame) -> Action {
        match direction {
            Direction::Egress => self.from_pod(frame),
            Direction::Ingress => self.to_pod(frame),
        }
    }

    /// Moves the endpoint's entry to another slot.
    pub(super) fn move_endpoint(&mut self, slot: u32) {
        let endpoint = self.endpoint;
        let mut endpoints = self.array::<Endpoint>(maps::ENDPOINTS);
        endpoints.set(SLOT, Endpoint::default(), 0).unwrap();
        endpoints.set(slot, endpoint, 0).unwrap();
    }

    /// Runs a packet that no endpoint is expected to count.
    pub(super) fn run_uncounted(
        &mut self,
        direction: Direction,
        frame: &Frame,
        context: Context,
    ) -> Action {
        let sent = self.sent.clone();
        let action = self.run(direction, frame, context, 1);
        self.sent = sent;
        action
    }

    /// Runs one of the two packet programs `repeat` times.
    pub(super) fn run(
        &mut self,
        direction: Direction,
        frame: &Frame,
        context: Context,
        repeat: u32,
    ) -> Action {
        let name = match direction {
            Direction::Egress => programs::FROM_POD,
            Direction::Ingress => programs::TO_POD,
        };
        let value = self.test_run(name, frame.bytes(), &context, repeat).0;
        let sent = self.sent.entry(direction).or_default();
        sent.packets += u64::from(repeat);
        sent.bytes += u64::from(repeat) * frame.bytes().len() as u64;
        match value as i32 {
            -1 => Action::Next,
            2 => Action::Drop,
            other => panic!("{name} returned {other}"),
        }
    }

    /// Instructions that the verifier processed for a program, and how long it took to load.
    pub(super) fn verifier_cost(&mut self, name: &str) -> (u32, std::time::Duration) {
        let program: &mut SchedClassifier = self.bpf.program_mut(name).unwrap().try_into().unwrap();
        let started = std::time::Instant::now();
        program.unload().unwrap();
        program.load().unwrap();
        (
            program
                .info()
                .unwrap()
                .verified_instruction_count()
                .unwrap(),
            started.elapsed(),
        )
    }

    /// Runs a program; its return value and mean duration in ns.
    pub(super) fn test_run(
        &mut self,
        name: &str,
        packet: &[u8],
        context: &Context,
        repeat: u32,
    ) -> (u32, u64) {
        let program: &mut SchedClassifier = self.bpf.program_mut(name).unwrap().try_into().unwrap();
        let skb = context.to_sk_buff();
        let options = TestRunOptions {
            data_in: Some(packet),
            ctx_in: Some(&skb),
            repeat,
            ..TestRunOptions::default()
        };
        let result = program.test_run(options).unwrap();
        (result.return_value, result.duration.as_nanos() as u64)
    }

    // --- what user space reads ---

    /// The IPv4 flow between these sockets.
    pub(super) fn flow(&mut self, local: &str, remote: &str, protocol: u8) -> Option<Flow> {
        match FlowKey::new(local, remote, protocol) {
            FlowKey::V4(key) => self.hash::<FlowKey4, Flow>(maps::FLOWS4).get(&key, 0).ok(),
            FlowKey::V6(key) => self.hash::<FlowKey6, Flow>(maps::FLOWS6).get(&key, 0).ok(),
        }
    }

    /// Overwrites a flow entry: tests of rare states.
    pub(super) fn change_flow(
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
    pub(super) fn flows(&mut self) -> Vec<Flow> {
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
    pub(super) fn denials4(&mut self) -> Vec<(DenialKey4, Denial)> {
        self.hash(maps::DENIALS4)
            .iter()
            .map(Result::unwrap)
            .collect()
    }

    /// All IPv6 denials.
    pub(super) fn denials6(&mut self) -> Vec<(DenialKey6, Denial)> {
        self.hash(maps::DENIALS6)
            .iter()
            .map(Result::unwrap)
            .collect()
    }

    /// The denials of both families as (reason, direction, port, packets), sorted.
    pub(super) fn refusals(&mut self) -> Vec<(Reason, Direction, u16, u64)> {
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
    pub(super) fn insert_denial4(&mut self, key: DenialKey4, denial: Denial) {
        self.hash(maps::DENIALS4).insert(key, denial, 0).unwrap();
    }

    /// The ledger as (direction, verdict, reason) → packets, over all CPUs.
    pub(super) fn ledger(&mut self) -> StdHashMap<(Direction, Verdict, Reason), LedgerCount> {
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
    pub(super) fn ledger_packets(
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
    pub(super) fn counter(&mut self, counter: Counter) -> u64 {
        let map: PerCpuArray<_, u64> = self.map(maps::COUNTERS).try_into().unwrap();
        map.get(&(counter as u32), 0).unwrap().iter().sum()
    }

    /// How many flows the endpoint holds.
    pub(super) fn usage(&mut self) -> (u64, u64) {
        let usage = self
            .array::<EndpointUse>(maps::ENDPOINT_USE)
            .get(&SLOT, 0)
            .unwrap();
        (usage.nascent, usage.flows)
    }

    /// Takes what rang on the flow ring.
    pub(super) fn flow_events(&mut self) -> Vec<Event> {
        self.ring(maps::FLOW_EVENTS)
    }

    /// Takes what rang on the denial ring.
    pub(super) fn denial_events(&mut self) -> Vec<Event> {
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
    pub(super) fn retire(&mut self, table: u8, count: u8, slot: u16, keys: &[u8]) -> u32 {
        let mut input = vec![0; 12];
        input.extend(retire::ETHERTYPE.to_be_bytes());
        input.extend([table, count]);
        input.extend(slot.to_ne_bytes());
        input.extend_from_slice(keys);
        self.test_run(programs::RETIRE, &input, &Context::default(), 1)
            .0
    }

    /// The kernel's clock pair.
    pub(super) fn clock(&mut self) -> ClockPair {
        self.test_run(programs::CLOCK, &[0; 64], &Context::default(), 1);
        self.array::<ClockPair>(maps::CLOCK).get(&0, 0).unwrap()
    }

    fn map(&mut self, name: &str) -> &mut Map {
        self.bpf
            .map_mut(name)
            .unwrap_or_else(|| panic!("no map {name}"))
    }

    fn array<V: aya::Pod>(&mut self, name: &str) -> Array<&mut MapData, V> {
        self.map(name).try_into().unwrap()
    }

    fn hash<K: aya::Pod, V: aya::Pod>(&mut self, name: &str) -> HashMap<&mut MapData, K, V> {
        self.map(name).try_into().unwrap()
    }

    fn assert_every_packet_is_counted_once(&mut self) {
        let mut counted: StdHashMap<Direction, Tally> = StdHashMap::new();
        let mut count = |direction, tally| {
            let sum = counted.entry(direction).or_default();
            *sum = add(*sum, tally);
        };
        for flow in self.flows() {
            count(Direction::Egress, add(flow.egress, flow.egress_dropped));
            count(Direction::Ingress, add(flow.ingress, flow.ingress_dropped));
        }
        let direction = |d: u8| {
            if d == 0 {
                Direction::Ingress
            } else {
                Direction::Egress
            }
        };
        for (key, denial) in self.denials4() {
            count(direction(key.direction), denial.dropped);
        }
        for (key, denial) in self.denials6() {
            count(direction(key.direction), denial.dropped);
        }
        for ((direction, ..), row) in self.ledger() {
            count(direction, row.tally);
        }
        for direction in [Direction::Egress, Direction::Ingress] {
            let sent = self.sent.get(&direction).copied().unwrap_or_default();
            let counted = counted.get(&direction).copied().unwrap_or_default();
            assert_eq!(
                counted, sent,
                "{direction:?}: what the maps count against what was sent"
            );
        }
    }
}

/// The fields of `__sk_buff` that a test run takes.
#[derive(Clone, Copy, Default)]
pub(super) struct Context {
    /// Interface; 0 lets the kernel choose.
    pub(super) ifindex: u32,
    /// Interface it came in by.
    pub(super) from: u32,
    /// GSO segments, and the payload of each.
    pub(super) gso: (u32, u32),
}

impl Context {
    fn to_sk_buff(self) -> [u8; 192] {
        let mut skb = [0; 192];
        let mut put = |at: usize, value: u32| skb[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        put(36, self.from);
        put(40, self.ifindex);
        put(164, self.gso.0);
        put(176, self.gso.1);
        skb
    }
}

fn add(a: Tally, b: Tally) -> Tally {
    Tally {
        packets: a.packets + b.packets,
        bytes: a.bytes + b.bytes,
    }
}

/// A flow key of either family.
pub(super) enum FlowKey {
    /// IPv4.
    V4(FlowKey4),
    /// IPv6.
    V6(FlowKey6),
}

impl FlowKey {
    /// From two socket addresses, e.g. `10.0.0.5:80` or `[fd00::5]:80`.
    pub(super) fn new(local: &str, remote: &str, protocol: u8) -> Self {
        let (local, remote) = (
            super::packets::socket(local),
            super::packets::socket(remote),
        );
        let endpoint_protocol = endpoint_protocol(ENDPOINT, protocol);
        let (local_port, remote_port) = (local.port(), remote.port());
        match (local.ip(), remote.ip()) {
            (IpAddr::V4(l), IpAddr::V4(r)) => Self::V4(FlowKey4 {
                remote: u32::from_ne_bytes(r.octets()),
                local: u32::from_ne_bytes(l.octets()),
                local_port,
                remote_port,
                endpoint_protocol,
            }),
            (IpAddr::V6(l), IpAddr::V6(r)) => Self::V6(FlowKey6 {
                remote: r.octets(),
                local: l.octets(),
                local_port,
                remote_port,
                endpoint_protocol,
            }),
            _ => panic!("addresses of two families"),
        }
    }
}

/// A key's memory.
pub(super) fn flow_key4_bytes(key: &FlowKey4) -> Vec<u8> {
    let mut bytes = [key.remote.to_ne_bytes(), key.local.to_ne_bytes()].concat();
    bytes.extend([key.local_port.to_ne_bytes(), key.remote_port.to_ne_bytes()].concat());
    bytes.extend(key.endpoint_protocol.to_ne_bytes());
    bytes
}

/// A key's memory.
pub(super) fn flow_key6_bytes(key: &FlowKey6) -> Vec<u8> {
    let mut bytes = [key.remote, key.local].concat();
    bytes.extend([key.local_port.to_ne_bytes(), key.remote_port.to_ne_bytes()].concat());
    bytes.extend(key.endpoint_protocol.to_ne_bytes());
    bytes
}

/// A key's memory.
pub(super) fn denial_key4_bytes(key: &DenialKey4) -> Vec<u8> {
    let mut bytes = [key.remote.to_ne_bytes(), key.local.to_ne_bytes()].concat();
    bytes.extend(key.port.to_ne_bytes());
    bytes.extend([key.reason, key.direction]);
    bytes.extend(
        [
            key.endpoint_protocol.to_ne_bytes(),
            key.ethertype.to_ne_bytes(),
        ]
        .concat(),
    );
    bytes
}

/// An IPv4 address as keys hold it.
pub(super) fn ipv4(address: &str) -> u32 {
    u32::from_ne_bytes(address.parse::<std::net::Ipv4Addr>().unwrap().octets())
}

/// An IPv6 address as keys hold it.
pub(super) fn ipv6(address: &str) -> [u8; 16] {
    address.parse::<std::net::Ipv6Addr>().unwrap().octets()
}

/// A ring record from its bytes.
fn event(bytes: &[u8]) -> Event {
    let u16_at = |at: usize| u16::from_ne_bytes(bytes[at..at + 2].try_into().unwrap());
    let u32_at = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
    let u64_at = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap());
    let tally = |at: usize| Tally {
        packets: u64_at(at),
        bytes: u64_at(at + 8),
    };
    assert_eq!(bytes.len(), size_of::<Event>());
    Event {
        kind: bytes[0],
        direction: bytes[1],
        family: bytes[2],
        protocol: bytes[3],
        reason: bytes[4],
        verdict: bytes[5],
        tcp_flags: u16_at(6),
        endpoint: u32_at(8),
        set: u32_at(12),
        rule: u32_at(16),
        epoch: u32_at(20),
        identity: u32_at(24),
        state: u32_at(28),
        local_port: u16_at(32),
        remote_port: u16_at(34),
        ethertype: u32_at(36),
        local: bytes[40..56].try_into().unwrap(),
        remote: bytes[56..72].try_into().unwrap(),
        serial: u64_at(72),
        time_ns: u64_at(80),
        other: u64_at(88),
        egress: tally(96),
        ingress: tally(112),
        extra: [u64_at(128), u64_at(136)],
    }
}
