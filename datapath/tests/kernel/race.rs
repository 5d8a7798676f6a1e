//! Two CPUs at once.

use std::sync::Barrier;
use std::thread;

use weir_datapath::abi::*;

use super::harness::*;
use super::packets::*;

const TUPLES: u16 = 500;

/// Sends every frame from two CPUs at the same moment.
fn race(k: &mut Kernel, direction: Direction, frames: &[Frame]) {
    let barrier = Barrier::new(2);
    k.account(direction, frames.iter().chain(frames));
    let k = &*k;
    thread::scope(|scope| {
        for cpu in 0..2 {
            let barrier = &barrier;
            scope.spawn(move || {
                pin(cpu);
                for frame in frames {
                    barrier.wait();
                    k.run_unaccounted(direction, frame);
                }
            });
        }
    });
}

fn pin(cpu: usize) {
    let mut set = nix::sched::CpuSet::new();
    set.set(cpu).unwrap();
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set).unwrap();
}

fn alone() -> bool {
    let alone = thread::available_parallelism().is_ok_and(|n| n.get() < 2);
    if alone {
        println!("skipped: a race needs two CPUs");
    }
    alone
}

#[test]
fn the_first_packets_of_a_tuple_on_two_cpus_are_one_flow() {
    if alone() {
        return;
    }
    with_kernel(|k| {
        let frames: Vec<Frame> = (1..=TUPLES)
            .map(|port| udp("10.0.0.5:9", &format!("10.1.0.1:{port}")))
            .collect();
        race(k, Direction::Egress, &frames);
        let flows = k.flows();
        assert_eq!(flows.len(), usize::from(TUPLES));
        assert!(flows.iter().all(|flow| flow.egress.packets == 2));
        assert_eq!(k.flow_events().len(), usize::from(TUPLES));
        assert_eq!(k.usage(), (u64::from(TUPLES), 0));
    });
}

#[test]
fn the_first_refusals_of_a_kind_on_two_cpus_are_one_denial() {
    if alone() {
        return;
    }
    with_kernel(|k| {
        k.isolate();
        let frames: Vec<Frame> = (1..=300)
            .map(|port| udp("10.1.0.1:9", &format!("10.0.0.5:{port}")))
            .collect();
        race(k, Direction::Ingress, &frames);
        let denials = k.denials4();
        assert_eq!(denials.len(), 300);
        assert!(
            denials
                .iter()
                .all(|(_, denial)| denial.dropped.packets == 2)
        );
        assert_eq!(k.denial_events().len(), 300);
    });
}

#[test]
fn a_tuple_used_again_on_two_cpus_is_one_new_incarnation() {
    if alone() {
        return;
    }
    with_kernel(|k| {
        let at = |port: u16| format!("10.1.0.1:{port}");
        for port in 1..=TUPLES {
            k.sent_to_pod(&tcp(&at(port), "10.0.0.5:80", "S"));
            k.sent_by_pod(&tcp("10.0.0.5:80", &at(port), "R"));
        }
        k.flow_events();
        let syns: Vec<Frame> = (1..=TUPLES)
            .map(|port| tcp(&at(port), "10.0.0.5:80", "S"))
            .collect();
        race(k, Direction::Ingress, &syns);
        let flows = k.flows();
        assert!(
            flows
                .iter()
                .all(|flow| flow.incarnation == 1 && flow.ingress.packets == 3)
        );
        let replaced = |event: &Event| event.kind == EventKind::Replaced as u8;
        let events = k.flow_events();
        let ended = events.iter().filter(|event| replaced(event)).count();
        assert_eq!(ended, usize::from(TUPLES));
        assert_eq!(events.len(), 2 * ended);
        assert_eq!(k.usage(), (u64::from(TUPLES), 0));
    });
}

#[test]
fn two_cpus_that_establish_a_flow_count_it_once() {
    if alone() {
        return;
    }
    with_kernel(|k| {
        for port in 1..=TUPLES {
            k.sent_by_pod(&udp("10.0.0.5:9", &format!("10.1.0.1:{port}")));
        }
        let replies: Vec<Frame> = (1..=TUPLES)
            .map(|port| udp(&format!("10.1.0.1:{port}"), "10.0.0.5:9"))
            .collect();
        race(k, Direction::Ingress, &replies);
        assert_eq!(k.usage(), (0, u64::from(TUPLES)));
    });
}

#[test]
fn a_policy_change_on_two_cpus_is_one_piece_of_news() {
    if alone() {
        return;
    }
    with_kernel(|k| {
        let frames: Vec<Frame> = (1..=300)
            .map(|port| udp("10.0.0.5:9", &format!("10.1.0.1:{port}")))
            .collect();
        for frame in &frames {
            k.sent_by_pod(frame);
        }
        k.isolate();
        k.bump_epoch();
        race(k, Direction::Egress, &frames);
        assert!(
            k.flows()
                .iter()
                .all(|flow| flow.egress_dropped.packets == 2 && flow.egress.packets == 1)
        );
        assert_eq!(k.denial_events().len(), 300);
    });
}
