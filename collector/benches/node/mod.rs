//! A large made-up cluster as the pipeline meets it: names, doorbells, table entries, remembered nearest misses.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use hashbrown::HashMap;
use weir_collector::assemble::{
    Assembler, EntryKey, Intervals, NearestMiss, Run, Timeouts, WallClock,
};
use weir_collector::names::{LocalEndpoint, Names};
use weir_datapath::abi::{self, Event, EventKind, Flow, FlowKey4, flow_state};
use weir_flow::{
    Direction, Endpoint, EndpointKind, Mode, PolicyRef, Rule, ServiceRef, Timestamp, Workload,
};

const PODS: u32 = 10_000;
const LABEL_SETS: u32 = 500;
const SERVICES: u32 = 500;
const RULES: u32 = 2_000;
const SETS: u32 = 1_000;
/// Questions that the nearest misses' cache holds in production.
const QUESTIONS: usize = 4096;

/// A kernel second after the calibration's start; all first packets are before it.
pub(crate) const CLOCK: WallClock = WallClock {
    wall_ns: 1_767_366_245_000_000_000,
    monotonic_ns: 1_000_000_000_000,
    jiffies: 250_000,
    ns_per_jiffy: 4_000_000,
};

/// The cluster's names.
pub(crate) fn names() -> Arc<Names> {
    let names = Names::default();
    let since = Timestamp(0);
    let label_sets: Vec<Arc<[Arc<str>]>> = (0..LABEL_SETS).map(labels).collect();
    for pod in 0..PODS {
        let endpoint = Arc::new(endpoint(pod, &label_sets));
        names.put_address(IpAddr::V4(pod_ip(pod)), endpoint.clone(), since);
        let mode = Mode::Enforce;
        names.put_local(pod, LocalEndpoint { endpoint, mode });
    }
    for service in 0..SERVICES {
        let name = Arc::new(ServiceRef {
            namespace: namespace(service),
            name: format!("service-{service}").into(),
        });
        names.put_service(service_ip(service).into(), 6, 80, name);
    }
    for rule in 0..RULES {
        let meaning = Rule::Policy {
            policy: policy(rule),
            direction: Direction::Ingress,
            index: rule % 4,
        };
        names.put_rule(first_rule() + rule, Arc::new(meaning));
    }
    for set in 0..SETS {
        let policies: Arc<[PolicyRef]> = (0..1 + set % 3).map(|n| policy(set + n)).collect();
        names.put_set(set, policies);
    }
    names.put_revision(1, 41);
    Arc::new(names)
}

/// An assembler as the collector's, with room for the default flow table.
pub(crate) fn assembler(names: Arc<Names>, misses: Remembered) -> Assembler {
    let run = Run {
        boot: 7,
        run: 1,
        node: "node-1".into(),
    };
    Assembler::new(
        run,
        Intervals::default(),
        Timeouts::default(),
        names,
        Box::new(misses),
        0,
        131_072,
    )
}

/// A flow's first packet: a random endpoint and a random peer, one in ten a Service, one in ten outside the cluster.
pub(crate) fn started(random: &mut fastrand::Rng, serial: u64) -> Event {
    let peer = match random.u32(..10) {
        0 => service_ip(random.u32(..SERVICES)),
        1 => Ipv4Addr::from(0x0808_0000 + random.u32(..65_536)),
        _ => pod_ip(random.u32(..PODS)),
    };
    let is_service = peer.octets()[0] == SERVICE_NET;
    let way = random.bool() && !is_service;
    let direction = if way {
        abi::Direction::Ingress
    } else {
        abi::Direction::Egress
    };
    let endpoint = random.u32(..PODS);
    Event {
        kind: EventKind::Started as u8,
        direction: direction as u8,
        family: 4,
        protocol: abi::IPPROTO_TCP,
        reason: abi::Reason::Policy as u8,
        verdict: abi::Verdict::Allow as u8,
        tcp_flags: 2,
        endpoint,
        set: endpoint % SETS,
        rule: first_rule() + random.u32(..RULES),
        epoch: 1,
        state: if is_service { flow_state::SERVICE } else { 0 },
        local_port: random.u16(1024..),
        remote_port: if is_service { 80 } else { random.u16(1024..) },
        local: octets(pod_ip(endpoint)),
        remote: octets(peer),
        serial,
        time_ns: CLOCK.monotonic_ns - random.u64(..20_000_000),
        egress: abi::Tally {
            packets: 1,
            bytes: 74,
        },
        ..Event::default()
    }
}

/// The first packet of a denial that no policy allows.
pub(crate) fn denied(random: &mut fastrand::Rng, asked: &[Question], serial: u64) -> Event {
    let (endpoint, _, remote, protocol, port) = asked[random.usize(..asked.len())];
    let IpAddr::V4(remote) = remote else {
        unreachable!("the bench asks about IPv4 only")
    };
    Event {
        kind: EventKind::Denied as u8,
        direction: abi::Direction::Ingress as u8,
        family: 4,
        protocol,
        reason: abi::Reason::DefaultDeny as u8,
        verdict: abi::Verdict::Deny as u8,
        tcp_flags: 2,
        endpoint,
        set: endpoint % SETS,
        rule: 0,
        epoch: 1,
        state: flow_state::DENIED,
        local_port: port,
        local: octets(pod_ip(endpoint)),
        remote: octets(remote),
        serial,
        time_ns: CLOCK.monotonic_ns - random.u64(..20_000_000),
        ingress: abi::Tally {
            packets: 1,
            bytes: 74,
        },
        extra: [1, 74],
        ..Event::default()
    }
}

/// The doorbell of a flow's end.
pub(crate) fn ended(started: &Event) -> Event {
    Event {
        kind: EventKind::Ended as u8,
        ..*started
    }
}

/// The table entry of the flow that `event` announced.
pub(crate) fn entry(event: &Event) -> (EntryKey, Flow) {
    let word = |octets: [u8; 16]| u32::from_ne_bytes([octets[0], octets[1], octets[2], octets[3]]);
    let key = FlowKey4 {
        remote: word(event.remote),
        local: word(event.local),
        local_port: event.local_port,
        remote_port: event.remote_port,
        endpoint_protocol: abi::endpoint_protocol(event.endpoint, event.protocol),
    };
    let opened = if event.direction == abi::Direction::Ingress as u8 {
        flow_state::OPENED_BY_REMOTE
    } else {
        0
    };
    let flow = Flow {
        epoch: event.epoch,
        state: event.state | flow_state::ESTABLISHED | opened,
        last_seen: CLOCK.jiffies,
        egress: event.egress,
        ingress: event.ingress,
        rule: event.rule,
        set: event.set,
        serial: event.serial,
        first_seen_ns: event.time_ns,
        reason: u32::from(event.reason),
        ..Flow::default()
    };
    (EntryKey::Flow4(key), flow)
}

/// Endpoint, direction, remote address, protocol, port.
pub(crate) type Question = (u32, Direction, IpAddr, u8, u16);

/// Nearest misses that were computed before: the collector computes at most some hundred a second and remembers them.
pub(crate) struct Remembered(HashMap<Question, Arc<str>, foldhash::fast::RandomState>);

impl Remembered {
    /// Answers to random questions, and the questions.
    pub(crate) fn new(random: &mut fastrand::Rng) -> (Self, Vec<Question>) {
        let mut question = || {
            let (endpoint, peer) = (random.u32(..PODS), pod_ip(random.u32(..PODS)));
            let port = random.u16(1..1024);
            (endpoint, Direction::Ingress, IpAddr::V4(peer), 6, port)
        };
        let asked: Vec<Question> = (0..QUESTIONS).map(|_| question()).collect();
        let answer = |number: usize| {
            format!("allow-{number} rule 0: port matches, label app=frontend is missing").into()
        };
        let answers = asked.iter().enumerate();
        let answers = answers.map(|(number, question)| (*question, answer(number)));
        (Self(answers.collect()), asked)
    }
}

impl NearestMiss for Remembered {
    fn nearest_miss(
        &mut self,
        endpoint: u32,
        direction: Direction,
        remote: IpAddr,
        protocol: u8,
        port: u16,
    ) -> Option<Arc<str>> {
        let question = (endpoint, direction, remote, protocol, port);
        self.0.get(&question).cloned()
    }
}

fn endpoint(pod: u32, label_sets: &[Arc<[Arc<str>]>]) -> Endpoint {
    let set = pod % LABEL_SETS;
    Endpoint {
        kind: EndpointKind::Pod,
        identity: 256 + set,
        namespace: namespace(set),
        name: format!("app-{set}-7d4b9c6f5-{pod:05}").into(),
        labels: label_sets[set as usize].clone(),
        workload: Some(Workload {
            kind: "Deployment".into(),
            name: format!("app-{set}").into(),
        }),
    }
}

fn labels(set: u32) -> Arc<[Arc<str>]> {
    let text = [format!("app=app-{set}"), format!("tier=tier-{}", set % 4)];
    text.into_iter().map(Arc::from).collect()
}

fn namespace(number: u32) -> Arc<str> {
    format!("namespace-{}", number % 20).into()
}

fn policy(number: u32) -> PolicyRef {
    PolicyRef {
        kind: "NetworkPolicy".into(),
        namespace: namespace(number),
        name: format!("policy-{number}").into(),
    }
}

/// The first id that is a policy's rule: the reserved ones are below.
fn first_rule() -> u32 {
    4096
}

const SERVICE_NET: u8 = 11;

fn pod_ip(pod: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0100 + pod)
}

fn service_ip(service: u32) -> Ipv4Addr {
    Ipv4Addr::from((u32::from(SERVICE_NET) << 24) + service)
}

fn octets(address: Ipv4Addr) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&address.octets());
    bytes
}
