//! Programs on interfaces: attached, adopted, looked after, removed.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use aya::programs::{SchedClassifier, TcAttachType};
use common::{TestRoot, enter_node, ifindex, options, run, skipped};
use weir_collector::kernel::{
    AttachMethod, Attached, Kernel, MapOrigin, Options, Presence, detach_all,
};

fn programs_on(interface: &str) -> usize {
    let count = |hook| SchedClassifier::query_tcx(interface, hook).unwrap().1.len();
    count(TcAttachType::Ingress) + count(TcAttachType::Egress)
}

#[test]
fn links_outlive_the_process_and_are_adopted() {
    if skipped() {
        return;
    }
    enter_node();
    run("ip link add v0 type veth peer name v1");
    let root = TestRoot::new();
    let mut kernel = Kernel::open(&root.0, &options()).unwrap();
    assert_eq!(
        kernel.attacher.attach(ifindex("v0")).unwrap(),
        Attached::Fresh
    );
    assert_eq!(
        kernel.attacher.check(ifindex("v0")).unwrap(),
        Presence::First
    );
    drop(kernel);
    assert_eq!(programs_on("v0"), 2, "without a process");

    let mut kernel = Kernel::open(&root.0, &options()).unwrap();
    assert_eq!(kernel.attacher.pinned_devices().unwrap(), [ifindex("v0")]);
    assert_eq!(
        kernel.attacher.check(ifindex("v0")).unwrap(),
        Presence::Missing,
        "those are the old programs"
    );
    assert_eq!(
        kernel.attacher.attach(ifindex("v0")).unwrap(),
        Attached::Adopted
    );
    assert_eq!(
        kernel.attacher.check(ifindex("v0")).unwrap(),
        Presence::First
    );
    assert_eq!(programs_on("v0"), 2, "replaced, not doubled");
}

#[test]
fn a_link_whose_interface_has_gone_is_removed_and_a_new_interface_gets_its_own() {
    if skipped() {
        return;
    }
    enter_node();
    run("ip link add v0 index 300 type veth peer name v1");
    let root = TestRoot::new();
    let mut kernel = Kernel::open(&root.0, &options()).unwrap();
    kernel.attacher.attach(300).unwrap();
    run("ip link del v0");
    let error = kernel.attacher.attach(300).unwrap_err();
    assert!(error.is_device_gone(), "{error}");
    run("ip link add v0 index 300 type veth peer name v1");
    assert_eq!(
        kernel.attacher.attach(300).unwrap(),
        Attached::Fresh,
        "a dead link of the same number does not count"
    );
    run("ip link del v0");
    assert!(kernel.attacher.pinned_devices().unwrap().is_empty());
}

#[test]
fn a_program_in_front_of_ours_is_seen_and_a_removed_one_is_missed() {
    if skipped() {
        return;
    }
    enter_node();
    run("ip link add v0 type veth peer name v1");
    let root = TestRoot::new();
    let mut ours = Kernel::open(&root.0, &options()).unwrap();
    ours.attacher.attach(ifindex("v0")).unwrap();
    let mut other = Kernel::private(&options()).unwrap();
    other.attacher.attach(ifindex("v0")).unwrap();
    assert_eq!(
        ours.attacher.check(ifindex("v0")).unwrap(),
        Presence::Behind(1)
    );
    drop(other);
    assert!(common::eventually(|| ours
        .attacher
        .check(ifindex("v0"))
        .unwrap()
        == Presence::First));
    ours.attacher.detach(ifindex("v0")).unwrap();
    assert!(common::eventually(|| {
        ours.attacher.check(ifindex("v0")).unwrap() == Presence::Missing
    }));
}

#[test]
fn detach_all_removes_every_trace() {
    if skipped() {
        return;
    }
    enter_node();
    run("ip link add v0 type veth peer name v1");
    let root = TestRoot::new();
    let mut kernel = Kernel::open(&root.0, &options()).unwrap();
    kernel.attacher.attach(ifindex("v0")).unwrap();
    drop(kernel);
    assert_eq!(programs_on("v0"), 2);
    detach_all(&root.0).unwrap();
    // The kernel lets go of a removed link a moment later.
    assert!(common::eventually(|| programs_on("v0") == 0));
    assert!(std::fs::metadata(root.0.path()).is_err());
}

#[test]
fn links_of_another_schema_are_taken_over_and_its_maps_removed() {
    if skipped() {
        return;
    }
    enter_node();
    run("ip link add v0 type veth peer name v1");
    let root = TestRoot::new();
    let mut kernel = Kernel::open(&root.0, &options()).unwrap();
    kernel.attacher.attach(ifindex("v0")).unwrap();
    drop(kernel);
    let other = root.0.path().join("v0");
    std::fs::rename(
        root.0
            .path()
            .join(format!("v{}", weir_datapath::abi::SCHEMA)),
        &other,
    )
    .unwrap();

    let mut kernel = Kernel::open(&root.0, &options()).unwrap();
    assert_eq!(kernel.origin, MapOrigin::Fresh, "maps beside the old ones");
    assert!(kernel.attacher.runs_other_schema(ifindex("v0")).unwrap());
    assert_eq!(
        kernel.attacher.attach(ifindex("v0")).unwrap(),
        Attached::Adopted
    );
    assert!(!kernel.attacher.runs_other_schema(ifindex("v0")).unwrap());
    kernel.attacher.remove_other_schemas().unwrap();
    assert!(std::fs::metadata(other).is_err());
    assert_eq!(programs_on("v0"), 2);
    assert_eq!(
        kernel.attacher.check(ifindex("v0")).unwrap(),
        Presence::First
    );
}

#[test]
fn clsact_filters_are_found_again_by_their_handle() {
    if skipped() {
        return;
    }
    enter_node();
    run("ip link add v0 type veth peer name v1");
    let root = TestRoot::new();
    let clsact = Options {
        method: AttachMethod::Clsact,
        ..options()
    };
    let mut kernel = Kernel::open(&root.0, &clsact).unwrap();
    assert_eq!(
        kernel.attacher.attach(ifindex("v0")).unwrap(),
        Attached::Fresh
    );
    assert_eq!(
        kernel.attacher.check(ifindex("v0")).unwrap(),
        Presence::First
    );
    assert_eq!(programs_on("v0"), 0, "no tcx");
    drop(kernel);
    let mut kernel = Kernel::open(&root.0, &clsact).unwrap();
    assert_eq!(
        kernel.attacher.attach(ifindex("v0")).unwrap(),
        Attached::Adopted
    );
    kernel.attacher.detach(ifindex("v0")).unwrap();
    assert_eq!(
        kernel.attacher.attach(ifindex("v0")).unwrap(),
        Attached::Fresh
    );
    drop(kernel);
    detach_all(&root.0).unwrap();
    let filters = std::process::Command::new("tc")
        .args(["filter", "show", "dev", "v0", "ingress"])
        .output()
        .unwrap();
    assert!(filters.stdout.is_empty(), "{filters:?}");
}
