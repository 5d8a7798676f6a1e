//! Maps and programs against the real kernel: load, pin, adopt, refuse.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::time::Duration;

use common::{TestRoot, options, skipped};
use weir_collector::kernel::{
    FlowTables, Kernel, KernelError, MapOrigin, MapWrite, MapWriter as _, Overflow, Present,
    detach_all,
};
use weir_datapath::abi::{self, DenialKey4};

fn expect_error(result: Result<Kernel, KernelError>) -> KernelError {
    match result {
        Ok(_) => panic!("opened"),
        Err(error) => error,
    }
}

#[test]
fn pinned_maps_are_adopted_with_everything_in_them() {
    if skipped() {
        return;
    }
    let root = TestRoot::new();
    let peer = abi::Peer {
        identity: 77,
        flags: 1,
    };
    let mut kernel = Kernel::open(&root.0, &options()).unwrap();
    assert_eq!(kernel.origin, MapOrigin::Fresh);
    let address = "10.1.2.3".parse().unwrap();
    kernel
        .policy
        .write(&MapWrite::Peer(address, Some(peer)))
        .unwrap();
    kernel
        .policy
        .write(&MapWrite::Peer("fd00::1".parse().unwrap(), Some(peer)))
        .unwrap();
    let network = "10.0.0.0/8".parse().unwrap();
    kernel
        .policy
        .write(&MapWrite::Network(network, Some(peer)))
        .unwrap();
    kernel.policy.write(&MapWrite::Epoch(9)).unwrap();
    let sets = abi::EndpointSets {
        ingress: 16,
        egress: 17,
    };
    kernel.policy.write(&MapWrite::Sets(5, sets)).unwrap();
    let endpoint = abi::Endpoint {
        ifindex: 5,
        id: 3,
        ..abi::Endpoint::default()
    };
    kernel
        .policy
        .write(&MapWrite::Endpoint(5, endpoint))
        .unwrap();
    drop(kernel);

    let kernel = Kernel::open(&root.0, &options()).unwrap();
    assert_eq!(kernel.origin, MapOrigin::Adopted);
    let dump = kernel.policy.dump().unwrap();
    assert_eq!(dump.epoch, 9);
    assert_eq!(dump.peers.len(), 2);
    assert!(dump.peers.contains(&(address, peer)));
    assert_eq!(dump.networks, [(network, peer)]);
    assert_eq!(dump.endpoints, [(5, endpoint, sets)]);
}

#[test]
fn two_collectors_do_not_share_a_pin_root() {
    if skipped() {
        return;
    }
    let root = TestRoot::new();
    let _first = Kernel::open(&root.0, &options()).unwrap();
    let error = expect_error(Kernel::open(&root.0, &options())).to_string();
    assert!(error.contains("is in use by process"), "{error}");
    let error = detach_all(&root.0).unwrap_err().to_string();
    assert!(error.contains("is in use"), "{error}");
}

#[test]
fn a_pinned_map_of_another_layout_is_refused_by_name() {
    if skipped() {
        return;
    }
    let root = TestRoot::new();
    drop(Kernel::open(&root.0, &options()).unwrap());
    let path = root
        .0
        .path()
        .join(format!("v{}/maps/VERDICTS", abi::SCHEMA));
    std::fs::remove_file(&path).unwrap();
    let other: aya::maps::HashMap<_, u64, [u8; 24]> = aya::maps::HashMap::create(16, 1).unwrap();
    aya::maps::IterableMap::map(&other).pin(&path).unwrap();
    let error = expect_error(Kernel::open(&root.0, &options())).to_string();
    assert!(
        error.contains("VERDICTS: value size is 24, this version wants 8"),
        "{error}"
    );
}

#[test]
fn a_pinned_map_keeps_its_size_when_another_is_asked_for() {
    if skipped() {
        return;
    }
    let root = TestRoot::new();
    drop(Kernel::open(&root.0, &options()).unwrap());
    let mut larger = options();
    larger.limits.peers = 2 * options().limits.peers;
    let kernel = Kernel::open(&root.0, &larger).unwrap();
    assert_eq!(
        kernel.policy.capacity(abi::maps::PEERS4),
        options().limits.peers
    );
}

#[test]
fn a_pin_root_outside_bpffs_is_refused() {
    if skipped() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let root = weir_collector::kernel::PinRoot::new(directory.path());
    let error = expect_error(Kernel::open(&root, &options())).to_string();
    assert!(error.contains("not on a bpf file system"), "{error}");
}

#[test]
fn every_write_has_an_inverse_that_restores_what_was_there() {
    if skipped() {
        return;
    }
    let mut kernel = Kernel::private(&options()).unwrap();
    let maps = &mut kernel.policy;
    let (one, two) = (
        abi::Peer {
            identity: 20,
            flags: 0,
        },
        abi::Peer {
            identity: 21,
            flags: 0,
        },
    );
    let key = abi::VerdictKey {
        set: 16,
        identity: 20,
    };
    let table = abi::PortTable {
        first: 70,
        count: 0,
    };
    let writes = [
        MapWrite::Peer("10.0.0.1".parse().unwrap(), Some(one)),
        MapWrite::Peer("10.0.0.1".parse().unwrap(), Some(two)),
        MapWrite::Network("10.0.0.0/24".parse().unwrap(), Some(one)),
        MapWrite::Network("10.0.0.0/16".parse().unwrap(), Some(two)),
        MapWrite::Verdict(key, Some(table)),
        MapWrite::Verdict(key, None),
        MapWrite::Sets(
            3,
            abi::EndpointSets {
                ingress: 16,
                egress: 0,
            },
        ),
        MapWrite::Epoch(4),
        MapWrite::Overflow(Overflow::all(1).next().unwrap(), Present::Yes),
    ];
    let mut inverses = Vec::new();
    for write in &writes {
        inverses.push(maps.inverse(write).unwrap());
        maps.write(write).unwrap();
        assert_eq!(
            maps.inverse(write).unwrap(),
            *write,
            "reads back what was written"
        );
    }
    for inverse in inverses.iter().rev() {
        maps.write(inverse).unwrap();
    }
    let dump = maps.dump().unwrap();
    assert!(dump.peers.is_empty() && dump.networks.is_empty() && dump.verdicts.is_empty());
    assert_eq!(dump.epoch, 0);
}

#[test]
fn a_full_map_says_so() {
    if skipped() {
        return;
    }
    let mut small = options();
    small.limits.frontends = 2;
    let mut kernel = Kernel::private(&small).unwrap();
    let mut write = |port| {
        let address = "10.96.0.1".parse().unwrap();
        let key = weir_collector::kernel::FrontendKey {
            address,
            port,
            protocol: 6,
        };
        kernel.policy.write(&MapWrite::Frontend(key, Some(20)))
    };
    write(1).unwrap();
    write(2).unwrap();
    let error = write(3).unwrap_err();
    assert!(
        matches!(
            error,
            KernelError::Full {
                map: abi::maps::FRONTENDS4
            }
        ),
        "{error}"
    );
}

#[test]
fn entries_are_swept_retired_read_and_deleted() {
    if skipped() {
        return;
    }
    let mut kernel = Kernel::private(&options()).unwrap();
    for overflow in Overflow::all(7) {
        kernel
            .policy
            .write(&MapWrite::Overflow(overflow, Present::Yes))
            .unwrap();
    }
    let tables: &mut FlowTables = &mut kernel.tables;
    let mut keys: Vec<DenialKey4> = Vec::new();
    let count = tables
        .sweep::<DenialKey4>(|key, _| keys.push(*key))
        .unwrap();
    assert_eq!((count, keys.len()), (34, 34));
    assert_eq!(
        tables.retire(None, &keys).unwrap(),
        34,
        "in two runs of the program"
    );
    assert_eq!(tables.retire(None, &keys).unwrap(), 0, "they are already");
    let read = tables.read(&keys[0]).unwrap().unwrap();
    assert_ne!(read.state & abi::flow_state::RETIRED, 0);
    keys.iter().for_each(|key| tables.delete(key).unwrap());
    tables.delete(&keys[0]).unwrap();
    assert_eq!(tables.sweep::<DenialKey4>(|_, _| {}).unwrap(), 0);
}

#[test]
fn kernel_time_becomes_wall_time() {
    if skipped() {
        return;
    }
    let kernel = Kernel::private(&options()).unwrap();
    let clock = kernel.clock.wall().unwrap();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let off = (clock.wall_ns - now.as_nanos() as i64).abs();
    assert!(off < 1_000_000_000, "{off} ns off");
    let later = kernel.clock.jiffies_in(Duration::from_secs(10)).unwrap();
    let seconds = (later - clock.jiffies) * clock.ns_per_jiffy / 1_000_000_000;
    assert!((9..=11).contains(&seconds), "{seconds}");
}
