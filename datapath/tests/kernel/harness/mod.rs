//! A private copy of the programs and their maps, at one endpoint on one interface of a throw-away network namespace.
//!
//! Every packet that is sent is remembered; at the end of each test the sum of what flow entries, denial entries and
//! the ledger hold must be exactly that (promise 2 of the design).

use std::collections::HashMap as StdHashMap;
use std::path::PathBuf;
use std::process::Command;

use aya::maps::{Array, HashMap, Map, MapData, PerCpuHashMap};
use aya::programs::{SchedClassifier, TestRun as _};
use aya::{Ebpf, EbpfLoader, TestRunOptions};
use nix::sched::{CloneFlags, unshare};
use weir_datapath::abi::*;

use super::packets::Frame;

mod keys;
mod read;
mod sides;
mod write;

pub(super) use keys::*;
pub(super) use sides::*;

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

    /// A packet that leaves the pod.
    pub(super) fn sent_by_pod(&mut self, frame: &Frame) -> Action {
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
    pub(super) fn sent_to_pod(&mut self, frame: &Frame) -> Action {
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
    pub(super) fn sent_by_node(&mut self, frame: &Frame) -> Action {
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
            Direction::Egress => self.sent_by_pod(frame),
            Direction::Ingress => self.sent_to_pod(frame),
        }
    }

    /// Moves the endpoint's entry to another slot.
    pub(super) fn move_endpoint(&mut self, slot: u32) {
        let endpoint = self.endpoint;
        let mut endpoints = self.array::<Endpoint>(maps::ENDPOINTS);
        endpoints.set(SLOT, Endpoint::default(), 0).unwrap();
        endpoints.set(slot, endpoint, 0).unwrap();
    }

    /// Runs one of the two packet programs `repeat` times.
    pub(super) fn run(
        &mut self,
        direction: Direction,
        frame: &Frame,
        context: Context,
        repeat: u32,
    ) -> Action {
        self.account(direction, std::iter::repeat_n(frame, repeat as usize));
        action(
            self.test_run(program(direction), frame.bytes(), &context, repeat)
                .0,
        )
    }

    /// Remembers frames as sent.
    pub(super) fn account<'a>(
        &mut self,
        direction: Direction,
        frames: impl Iterator<Item = &'a Frame>,
    ) {
        let sent = self.sent.entry(direction).or_default();
        for frame in frames {
            sent.packets += 1;
            sent.bytes += frame.bytes().len() as u64;
        }
    }

    /// Runs a forwarded packet that is remembered elsewhere, or that no endpoint is expected to count.
    pub(super) fn run_unaccounted(&self, direction: Direction, frame: &Frame) -> Action {
        let from = match direction {
            Direction::Egress => IFINDEX,
            Direction::Ingress => UPLINK,
        };
        let context = Context {
            ifindex: IFINDEX,
            from,
            ..Context::default()
        };
        action(
            self.test_run(program(direction), frame.bytes(), &context, 1)
                .0,
        )
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
        &self,
        name: &str,
        packet: &[u8],
        context: &Context,
        repeat: u32,
    ) -> (u32, u64) {
        let program: &SchedClassifier = self.bpf.program(name).unwrap().try_into().unwrap();
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

fn program(direction: Direction) -> &'static str {
    match direction {
        Direction::Egress => programs::FROM_POD,
        Direction::Ingress => programs::TO_POD,
    }
}

fn action(value: u32) -> Action {
    match value as i32 {
        -1 => Action::Next,
        2 => Action::Drop,
        other => panic!("a program returned {other}"),
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
