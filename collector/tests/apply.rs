//! Updates in the kernel: in force whole or not at all, and never a third verdict in between.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use common::{options, skipped};
use weir_collector::apply::{Applier, ApplyError, GRACE};
use weir_collector::endpoints::LocalPod;
use weir_collector::kernel::{Kernel, KernelError, MapWrite, MapWriter, Passed, PolicyMaps};
use weir_collector::kernel_test::{
    KernelTest, NodeScript, Probe, Remote, ScriptStep, Watch, run_scripts,
};
use weir_datapath::abi::{self, Direction, Reason};
use weir_policy::model::{Name, Protocol};
use weir_policy::tables::{
    EndpointSets, IdentityId, NodeAddress, Peer, PortRange, PortTable, ProtocolClass, RuleId,
    SetId, Update, Write,
};

const SET: SetId = SetId(16);
const CLIENTS: IdentityId = IdentityId(20);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn target() -> LocalPod {
    LocalPod {
        name: Name::new("shop", "target"),
        uid: "u".to_owned(),
        addresses: vec![ip("10.0.0.2"), ip("fd00::2")],
        more_sources: Vec::new(),
        mode: None,
    }
}

fn peer(identity: IdentityId) -> Peer {
    Peer {
        identity,
        node: NodeAddress::No,
    }
}

fn tcp(low: u16, high: u16, rule: u32) -> PortTable {
    let protocol = ProtocolClass::Named(Protocol::Tcp);
    PortTable::Ranges(Arc::new([PortRange {
        protocol,
        low,
        high,
        rule: RuleId(rule),
    }]))
}

/// The target is isolated for ingress; clients may reach TCP 80 to 89 by rule 70.
fn first() -> Update {
    Update {
        revision: 1,
        addresses: vec![
            Write::Peer(ip("10.0.0.9"), peer(CLIENTS)),
            Write::Peer(ip("fd00::9"), peer(CLIENTS)),
        ],
        sets: vec![Write::Verdict(SET, CLIENTS, tcp(80, 89, 70))],
        switch: vec![Write::Endpoint(
            target().name,
            EndpointSets {
                ingress: SET,
                egress: SetId::OPEN,
            },
        )],
        ..Update::default()
    }
}

fn probe(remote: &str, port: u16) -> Probe {
    Probe {
        pod: target().name,
        direction: Direction::Ingress,
        remote: ip(remote),
        from: Remote::Elsewhere,
        protocol: Protocol::Tcp,
        port,
    }
}

fn loaded() -> KernelTest {
    let mut kernel = KernelTest::new().unwrap();
    kernel.set_pods(&[target()]).unwrap();
    kernel.apply(&first()).unwrap();
    kernel
}

#[test]
fn the_kernel_judges_by_the_tables_and_names_the_rule() {
    if skipped() {
        return;
    }
    let mut kernel = KernelTest::new().unwrap();
    kernel.set_pods(&[target()]).unwrap();
    let pending = kernel.probe(&probe("10.0.0.9", 80)).unwrap();
    assert_eq!(
        (pending.passed, pending.reason),
        (Passed::No, Reason::Pending)
    );
    kernel.apply(&first()).unwrap();
    for client in ["10.0.0.9", "fd00::9"] {
        for port in [80, 89] {
            let allowed = kernel.probe(&probe(client, port)).unwrap();
            assert_eq!(
                (allowed.passed, allowed.reason, allowed.rule),
                (Passed::Yes, Reason::Policy, 70)
            );
        }
        let port = kernel.probe(&probe(client, 90)).unwrap();
        assert_eq!(
            (port.passed, port.reason),
            (Passed::No, Reason::DefaultDeny)
        );
    }
    let stranger = kernel.probe(&probe("10.0.0.8", 80)).unwrap();
    assert_eq!((stranger.passed, stranger.set), (Passed::No, SET.0));
    let udp = Probe {
        protocol: Protocol::Udp,
        ..probe("10.0.0.9", 80)
    };
    assert_eq!(kernel.probe(&udp).unwrap().passed, Passed::No);
    let out = Probe {
        direction: Direction::Egress,
        protocol: Protocol::Sctp,
        ..probe("10.0.0.8", 9)
    };
    let out = kernel.probe(&out).unwrap();
    assert_eq!((out.passed, out.reason), (Passed::Yes, Reason::NotIsolated));
}

#[test]
fn traffic_of_the_own_node_and_of_the_pod_itself_always_passes() {
    if skipped() {
        return;
    }
    let mut kernel = loaded();
    let node = Peer {
        identity: IdentityId(21),
        node: NodeAddress::Own,
    };
    let update = Update {
        addresses: vec![Write::Peer(ip("10.0.0.1"), node)],
        ..Update::default()
    };
    kernel.apply(&update).unwrap();
    let local = Probe {
        from: Remote::OwnNode,
        ..probe("10.0.0.1", 22)
    };
    assert_eq!(kernel.probe(&local).unwrap().reason, Reason::OwnNode);
    let forged = kernel.probe(&probe("10.0.0.1", 22)).unwrap();
    assert_eq!(
        (forged.passed, forged.reason),
        (Passed::No, Reason::DefaultDeny),
        "forwarded with the node's address"
    );
    assert_eq!(
        kernel.probe(&probe("10.0.0.2", 22)).unwrap().reason,
        Reason::SelfTraffic
    );
}

#[test]
fn stopped_after_any_single_write_every_verdict_is_the_old_or_the_new_one() {
    if skipped() {
        return;
    }
    let mut kernel = loaded();
    // The clients are split in two: only 10.0.0.9 may still reach port 80, and nobody the rest.
    let split = IdentityId(22);
    let next = SetId(17);
    let update = Update {
        revision: 2,
        prepare: vec![Write::Verdict(SET, split, tcp(80, 89, 70))],
        addresses: vec![Write::Peer(ip("10.0.0.9"), peer(split))],
        sets: vec![Write::Verdict(next, split, tcp(80, 80, 71))],
        switch: vec![Write::Endpoint(
            target().name,
            EndpointSets {
                ingress: next,
                egress: SetId::OPEN,
            },
        )],
        cleanup: vec![
            Write::RemoveVerdict(SET, CLIENTS),
            Write::RemoveVerdict(SET, split),
            Write::RemovePeer(ip("fd00::9")),
        ],
    };
    let rows = [
        probe("10.0.0.9", 80),
        probe("10.0.0.9", 89),
        probe("fd00::9", 80),
        probe("10.0.0.8", 80),
    ];
    let old: Vec<_> = rows
        .iter()
        .map(|row| kernel.probe(row).unwrap())
        .map(|seen| (seen.passed, seen.rule))
        .collect();
    let seen = Rc::new(RefCell::new(Vec::new()));
    let (log, watched) = (Rc::clone(&seen), rows.clone());
    kernel
        .apply_watched(&update, move |write, probe| {
            let verdicts: Vec<_> = watched
                .iter()
                .map(|row| probe(row).unwrap())
                .map(|seen| (seen.passed, seen.rule))
                .collect();
            log.borrow_mut().push((*write, verdicts));
        })
        .unwrap();
    let new: Vec<_> = rows
        .iter()
        .map(|row| kernel.probe(row).unwrap())
        .map(|seen| (seen.passed, seen.rule))
        .collect();
    assert_eq!(
        new,
        [
            (Passed::Yes, 71),
            (Passed::No, 2),
            (Passed::No, 2),
            (Passed::No, 2)
        ]
    );
    assert_eq!(old[..3], [(Passed::Yes, 70); 3]);
    let seen = seen.borrow();
    assert!(seen.len() > 6, "{seen:?}");
    for (write, verdicts) in seen.iter() {
        for (i, verdict) in verdicts.iter().enumerate() {
            assert!(
                *verdict == old[i] || *verdict == new[i],
                "after {write:?}: {:?} is {verdict:?}",
                rows[i]
            );
        }
    }
}

/// The clients are split in two: 10.0.0.9 may still reach port 80, now by another rule.
fn split() -> Update {
    let (one, next) = (IdentityId(22), SetId(17));
    Update {
        revision: 2,
        prepare: vec![Write::Verdict(SET, one, tcp(80, 89, 70))],
        addresses: vec![Write::Peer(ip("10.0.0.9"), peer(one))],
        sets: vec![Write::Verdict(next, one, tcp(80, 80, 71))],
        switch: vec![Write::Endpoint(
            target().name,
            EndpointSets {
                ingress: next,
                egress: SetId::OPEN,
            },
        )],
        cleanup: vec![
            Write::RemoveVerdict(SET, CLIENTS),
            Write::RemoveVerdict(SET, one),
        ],
    }
}

fn scripts(update: Update) -> [NodeScript; 2] {
    let probes = vec![
        probe("10.0.0.9", 80),
        probe("10.0.0.9", 89),
        probe("fd00::9", 80),
        probe("10.0.0.8", 80),
    ];
    let step = |update| ScriptStep {
        pods: vec![target()],
        update,
        probes: probes.clone(),
    };
    ["n1", "n2"].map(|node| NodeScript {
        node: node.into(),
        steps: vec![step(first()), step(update.clone())],
    })
}

#[test]
fn scripts_agree_with_the_tables_in_every_state_and_between() {
    if skipped() {
        return;
    }
    let report = run_scripts(&scripts(split()), Watch::EveryWrite).unwrap();
    assert!(report.mismatches.is_empty(), "{}", report.mismatches[0]);
    assert!(report.packets > 2 * 4 * 8, "{}", report.packets);
}

#[test]
fn an_update_in_the_wrong_order_is_caught() {
    if skipped() {
        return;
    }
    let mut wrong = split();
    std::mem::swap(&mut wrong.prepare, &mut wrong.addresses);
    let report = run_scripts(&scripts(wrong.clone()), Watch::EveryWrite).unwrap();
    let mismatch = report.mismatches[0].to_string();
    assert!(
        mismatch.contains("shop/target Ingress 10.0.0.9 Tcp 80: the kernel says deny"),
        "{mismatch}"
    );
    assert!(
        run_scripts(&scripts(wrong), Watch::States)
            .unwrap()
            .mismatches
            .is_empty()
    );
}

#[test]
fn an_update_that_does_not_fit_changes_nothing() {
    if skipped() {
        return;
    }
    let mut small = options();
    small.limits.verdicts = 2;
    let kernel = Kernel::private(&small).unwrap();
    let mut applier = Applier::new(kernel.policy);
    applier.apply(&first()).unwrap();
    let before = applier.writer().dump().unwrap();
    let more = |count: u32| Update {
        addresses: vec![Write::Peer(ip("10.0.0.7"), peer(IdentityId(30)))],
        sets: (0..count)
            .map(|i| Write::Verdict(SetId(18 + i), CLIENTS, tcp(1, 2, 72)))
            .collect(),
        ..Update::default()
    };
    let error = applier.apply(&more(2)).unwrap_err();
    assert!(
        matches!(
            error,
            ApplyError::Full {
                map: abi::maps::VERDICTS,
                needed: 3,
                capacity: 2
            }
        ),
        "{error}"
    );
    let after = applier.writer().dump().unwrap();
    assert_eq!(
        (before.epoch, before.peers.len()),
        (after.epoch, after.peers.len())
    );
    applier.apply(&more(1)).unwrap();
    assert_eq!(applier.entries(abi::maps::VERDICTS), 2);
}

/// Refuses one write, once.
struct Failing {
    maps: PolicyMaps,
    writes_until: usize,
}

impl MapWriter for Failing {
    fn write(&mut self, write: &MapWrite) -> Result<(), KernelError> {
        self.writes_until = self.writes_until.wrapping_sub(1);
        if self.writes_until == 0 {
            return Err(KernelError::Full { map: write.map() });
        }
        self.maps.write(write)
    }

    fn inverse(&self, write: &MapWrite) -> Result<MapWrite, KernelError> {
        self.maps.inverse(write)
    }

    fn capacity(&self, map: &'static str) -> u32 {
        self.maps.capacity(map)
    }
}

#[test]
fn a_write_that_the_kernel_refuses_is_undone_whichever_it_is() {
    if skipped() {
        return;
    }
    let kernel = Kernel::private(&options()).unwrap();
    let mut applier = Applier::new(Failing {
        maps: kernel.policy,
        writes_until: usize::MAX,
    });
    applier.apply(&first()).unwrap();
    let state = |applier: &Applier<Failing>| {
        let mut dump = applier.writer().maps.dump().unwrap();
        dump.peers.sort_by_key(|(address, _)| *address);
        dump.verdicts
            .sort_by_key(|(key, _)| (key.set, key.identity));
        (dump.epoch, dump.peers, dump.networks, dump.verdicts)
    };
    let before = state(&applier);
    let update = Update {
        addresses: vec![
            Write::Peer(ip("10.0.0.9"), peer(IdentityId(40))),
            Write::Network("10.1.0.0/16".parse().unwrap(), peer(IdentityId(41))),
        ],
        sets: vec![
            Write::Verdict(SET, CLIENTS, tcp(443, 443, 73)),
            Write::Verdict(SET, IdentityId(40), tcp(1, 9, 74)),
        ],
        ..Update::default()
    };
    // Two addresses, two tables with a range each, the epoch.
    for fails_at in 1..=7 {
        applier.writer_mut().writes_until = fails_at;
        applier.apply(&update).unwrap_err();
        assert_eq!(state(&applier), before, "write {fails_at}");
    }
    applier.writer_mut().writes_until = usize::MAX;
    applier.apply(&update).unwrap();
    assert_ne!(state(&applier), before);
}

#[test]
fn the_place_of_a_replaced_port_table_is_used_again_after_the_grace_time() {
    if skipped() {
        return;
    }
    let mut small = options();
    small.limits.ports = 4;
    let kernel = Kernel::private(&small).unwrap();
    let mut applier = Applier::new(kernel.policy);
    let table = |rule| {
        PortTable::Ranges(
            (0..3)
                .map(|i| PortRange {
                    protocol: ProtocolClass::Named(Protocol::Tcp),
                    low: i * 10,
                    high: i * 10 + 1,
                    rule: RuleId(rule),
                })
                .collect(),
        )
    };
    let set = |rule| Update {
        sets: vec![Write::Verdict(SET, CLIENTS, table(rule))],
        ..Update::default()
    };
    applier.apply(&set(70)).unwrap();
    applier.apply(&set(70)).unwrap();
    let error = applier.apply(&set(71)).unwrap_err();
    assert!(
        matches!(
            error,
            ApplyError::Full {
                map: abi::maps::PORTS,
                ..
            }
        ),
        "{error}"
    );
    let gone = Update {
        cleanup: vec![Write::RemoveVerdict(SET, CLIENTS)],
        ..Update::default()
    };
    applier.apply(&gone).unwrap();
    assert_eq!(
        applier.entries(abi::maps::PORTS),
        3,
        "within the grace time"
    );
    applier.apply(&set(71)).unwrap();
    assert_eq!(applier.writer().dump().unwrap().ports.len(), 3);
}

#[test]
fn cleanup_comes_after_the_grace_time_and_before_the_next_update() {
    if skipped() {
        return;
    }
    let kernel = Kernel::private(&options()).unwrap();
    let mut applier = Applier::new(kernel.policy);
    applier.apply(&first()).unwrap();
    let (removed, again) = (ip("10.0.0.9"), ip("fd00::9"));
    let gone = Update {
        cleanup: vec![Write::RemovePeer(removed), Write::RemovePeer(again)],
        ..Update::default()
    };
    let before = Instant::now();
    applier.apply(&gone).unwrap();
    assert!(applier.next_cleanup().unwrap() >= before + GRACE);
    assert_eq!(applier.clean_up(before).unwrap(), 0);
    assert_eq!(applier.writer().dump().unwrap().peers.len(), 2);
    let update = Update {
        addresses: vec![Write::Peer(again, peer(IdentityId(50)))],
        ..Update::default()
    };
    applier.apply(&update).unwrap();
    let peers = applier.writer().dump().unwrap().peers;
    assert_eq!(
        peers,
        [(
            again,
            abi::Peer {
                identity: 50,
                flags: 0
            }
        )]
    );
    assert_eq!(applier.next_cleanup(), None);
}

#[test]
fn adopted_maps_are_the_state_that_was_applied() {
    if skipped() {
        return;
    }
    let kernel = Kernel::private(&options()).unwrap();
    let mut applier = Applier::new(kernel.policy);
    applier.bind(9, &target().name).unwrap();
    applier.apply(&first()).unwrap();
    let network = "10.0.0.0/8".parse().unwrap();
    let update = Update {
        addresses: vec![Write::Network(network, peer(CLIENTS))],
        ..Update::default()
    };
    applier.apply(&update).unwrap();
    let endpoint = abi::Endpoint {
        ifindex: 9,
        id: 1,
        ..abi::Endpoint::default()
    };
    applier
        .writer_mut()
        .write(&MapWrite::Endpoint(9, endpoint))
        .unwrap();
    let dump = applier.writer().dump().unwrap();
    let pods = std::collections::BTreeMap::from([(9, target().name)]);
    let (adopted, tables) = Applier::adopt(applier.into_writer(), &dump, &pods);
    assert_eq!(adopted.epoch(), 2);
    assert_eq!(tables.peers[&ip("10.0.0.9")], peer(CLIENTS));
    assert_eq!(
        tables.networks.lookup(ip("10.9.9.9")),
        Some((network, &peer(CLIENTS)))
    );
    assert_eq!(tables.table(SET, CLIENTS), Some(&tcp(80, 89, 70)));
    assert_eq!(
        tables.endpoints[&target().name],
        EndpointSets {
            ingress: SET,
            egress: SetId::OPEN
        }
    );
    assert_eq!(adopted.entries(abi::maps::PORTS), 1);
}

#[test]
fn ten_thousand_packets_take_seconds() {
    if skipped() {
        return;
    }
    let mut kernel = loaded();
    let start = Instant::now();
    for i in 0..30_000_u32 {
        let row = probe(
            if i % 2 == 0 { "10.0.0.9" } else { "10.0.0.8" },
            80 + (i % 20) as u16,
        );
        let expected = if i % 2 == 0 && i % 20 < 10 {
            Passed::Yes
        } else {
            Passed::No
        };
        assert_eq!(kernel.probe(&row).unwrap().passed, expected, "{row:?}");
    }
    eprintln!("30,000 packets in {:?}", start.elapsed());
}
