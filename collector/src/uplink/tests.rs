//! The spool's promise: what was appended is there until it is acknowledged, or counted as lost.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use weir_flow::columns::{Codec, Rows};
use weir_flow::{Counts, EndReason, Item, Record, RecordKind, Tally, samples};

use super::Position;
use super::spool::{Spool, SpoolError};

const LARGE: u64 = 64 << 20;

fn open(directory: &Path, max_bytes: u64) -> Spool {
    Spool::open(directory, Arc::from("node-1"), max_bytes).unwrap()
}

fn allowed(serial: u64) -> Item {
    let mut record: Record = samples::allowed();
    record.id.serial = serial;
    Item::Flow(record)
}

fn denied(serial: u64) -> Item {
    let mut record: Record = samples::denied();
    record.id.serial = serial;
    Item::Flow(record)
}

fn append(spool: &mut Spool, items: &[Item]) -> Position {
    spool.push(items);
    spool.flush();
    spool.position()
}

/// All unacknowledged items, as the sender reads them.
fn items(spool: &Spool) -> Vec<(Position, Vec<Item>)> {
    let codec = Codec::new().unwrap();
    let mut sent = None;
    let mut all = Vec::new();
    while let Some(outgoing) = spool.next(sent).unwrap() {
        let frame = Codec::unpack(&outgoing.packed).unwrap();
        let batch = codec.decode(&frame).unwrap();
        let items = Rows::new(&batch).unwrap().items().unwrap();
        all.push((outgoing.position, items));
        sent = Some(outgoing.position);
    }
    all
}

fn serials(spool: &Spool) -> Vec<u64> {
    let flat = items(spool).into_iter().flat_map(|(_, items)| items);
    flat.filter_map(|item| match item {
        Item::Flow(record) => Some(record.id.serial),
        Item::Loss(_) => None,
    })
    .collect()
}

fn lost(spool: &Spool) -> u64 {
    let flat = items(spool).into_iter().flat_map(|(_, items)| items);
    flat.map(|item| match item {
        Item::Flow(_) => 0,
        Item::Loss(loss) => loss.records,
    })
    .sum()
}

fn files(directory: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "spool")
        })
        .collect();
    paths.sort();
    paths
}

#[test]
fn what_was_appended_is_there_after_a_restart_with_its_numbers() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = open(directory.path(), LARGE);
    let first = append(&mut spool, &[allowed(1), denied(2)]);
    let second = append(&mut spool, &[allowed(3)]);
    let before = items(&spool);
    drop(spool);
    let mut spool = open(directory.path(), LARGE);
    assert_eq!(items(&spool), before);
    let third = append(&mut spool, &[allowed(4)]);
    assert_eq!(serials(&spool), [1, 2, 3, 4]);
    assert_eq!((first.seq, second.seq, third.seq), (1, 2, 1));
    assert!(first.epoch < third.epoch && first.epoch == second.epoch);
}

#[test]
fn what_is_acknowledged_goes_and_so_do_its_files() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = open(directory.path(), LARGE);
    append(&mut spool, &[allowed(1)]);
    drop(spool);
    let mut spool = open(directory.path(), LARGE);
    let old = items(&spool)[0].0;
    append(&mut spool, &[allowed(2)]);
    let new = append(&mut spool, &[allowed(3)]);
    assert_eq!(files(directory.path()).len(), 2);
    spool.acknowledge(old);
    assert_eq!(serials(&spool), [2, 3]);
    assert_eq!(files(directory.path()).len(), 1);
    spool.acknowledge(new);
    assert_eq!((spool.unacked_bytes(), spool.unacked_batches()), (0, 0));
    assert_eq!(spool.acked(), Some(new));
}

#[test]
fn many_segments_are_used_and_removed() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = open(directory.path(), 1 << 20);
    let mut last = spool.position();
    for serial in 0..120 {
        last = append(&mut spool, &[denied(serial)]);
    }
    assert!(files(directory.path()).len() > 2);
    assert_eq!(serials(&spool), (0..120).collect::<Vec<_>>());
    spool.acknowledge(last);
    assert_eq!(files(directory.path()).len(), 1);
}

#[test]
fn overflow_drops_allowed_flows_first_and_every_record_is_kept_or_counted() {
    let directory = tempfile::tempdir().unwrap();
    let bound = 200_000;
    let mut spool = open(directory.path(), bound);
    let mut pushed = 0;
    while spool.refused_records() == 0 {
        append(&mut spool, &[allowed(pushed), denied(pushed + 1)]);
        pushed += 2;
    }
    let refused_at = spool.unacked_bytes();
    assert!(refused_at < bound, "denials have room left");
    while spool.unacked_bytes() < bound {
        append(&mut spool, &[allowed(pushed), denied(pushed + 1)]);
        pushed += 2;
    }
    for _ in 0..10 {
        append(&mut spool, &[denied(pushed)]);
        pushed += 1;
    }
    let denials = serials(&spool).into_iter().filter(|s| s % 2 == 1).count();
    assert!(denials as u64 > serials(&spool).len() as u64 / 2);
    assert_eq!(lost(&spool), 0, "told once there is room");
    let kept = serials(&spool).len() as u64;
    assert_eq!(kept + spool.refused_records(), pushed);
    // The count survives a crash, and is told once when there is room.
    drop(spool);
    let mut spool = open(directory.path(), bound);
    let newest = items(&spool).last().unwrap().0;
    spool.acknowledge(newest);
    assert_eq!(kept + lost(&spool), pushed);
    drop(spool);
    let mut spool = open(directory.path(), bound);
    append(&mut spool, &[allowed(0)]);
    assert_eq!(kept + lost(&spool), pushed, "told once");
}

#[test]
fn a_refused_loss_record_keeps_its_count() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = open(directory.path(), 1000);
    append(&mut spool, &[denied(1)]);
    append(&mut spool, &[Item::Loss(samples::loss()), denied(2)]);
    assert_eq!(spool.refused_records(), 18);
    spool.acknowledge(spool.position());
    assert_eq!(lost(&spool), 18);
}

/// The last word about a flow, which so many packets were counted in and dropped.
fn last(serial: u64, packets: u64) -> Item {
    let mut record: Record = samples::denied();
    record.id.serial = serial;
    record.kind = RecordKind::Ended;
    record.end = Some(EndReason::Idle);
    record.counts = dropped(packets);
    Item::Flow(record)
}

fn dropped(packets: u64) -> Counts {
    Counts {
        ingress_dropped: Tally {
            packets,
            bytes: packets * 100,
            segments: packets,
        },
        ..Counts::default()
    }
}

#[test]
fn the_packets_that_only_a_refused_last_record_had_are_counted() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = open(directory.path(), 1000);
    let mut first: Record = samples::denied();
    first.id.serial = 1;
    first.counts = dropped(3);
    append(&mut spool, &[Item::Flow(first)]);
    assert!(spool.unacked_bytes() >= 1000);
    append(&mut spool, &[denied(2), last(1, 10), last(3, 5)]);
    spool.acknowledge(spool.position());
    let told = items(&spool);
    let [Item::Loss(loss)] = &told[0].1[..] else {
        panic!("{told:?}");
    };
    let expected = (3, 7 + 5, 1200);
    assert_eq!((loss.records, loss.packets, loss.bytes), expected);
}

#[test]
fn losses_are_told_in_the_batch_that_was_named_before() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = open(directory.path(), LARGE);
    spool.push(&[denied(1)]);
    let mut named = None;
    spool.append_apart(&[Item::Loss(samples::loss())], |position| {
        named = Some(position);
    });
    let named = named.unwrap();
    let told = items(&spool);
    assert_eq!(told.len(), 2);
    assert_eq!(
        (told[1].0, &told[1].1[..]),
        (named, &[Item::Loss(samples::loss())][..])
    );
    drop(spool);
    let mut spool = open(directory.path(), LARGE);
    assert!(spool.has(named));
    spool.acknowledge(named);
    assert!(spool.has(named), "the sender may be faster than who asks");
    let next = Position {
        seq: named.seq + 1,
        ..named
    };
    assert!(!spool.has(next));
}

#[test]
fn a_segment_cut_anywhere_keeps_its_whole_frames() {
    let source = tempfile::tempdir().unwrap();
    let mut spool = open(source.path(), LARGE);
    let mut ends = Vec::new();
    for serial in 1..=3 {
        append(&mut spool, &[allowed(serial)]);
        ends.push(std::fs::metadata(&files(source.path())[0]).unwrap().len());
    }
    drop(spool);
    let path = files(source.path()).remove(0);
    let whole = std::fs::read(&path).unwrap();
    for cut in (0..whole.len()).step_by(61).chain([whole.len()]) {
        let directory = tempfile::tempdir().unwrap();
        let copy = directory.path().join(path.file_name().unwrap());
        std::fs::write(copy, &whole[..cut]).unwrap();
        let mut spool = open(directory.path(), LARGE);
        let kept = ends.iter().filter(|end| **end <= cut as u64).count() as u64;
        let mut expected: Vec<u64> = (1..=kept).collect();
        assert_eq!(serials(&spool), expected, "cut at {cut}");
        append(&mut spool, &[allowed(9)]);
        expected.push(9);
        assert_eq!(serials(&spool), expected, "cut at {cut}");
    }
}

#[test]
fn a_damaged_frame_is_counted_and_the_others_are_sent() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = open(directory.path(), LARGE);
    append(&mut spool, &[allowed(1)]);
    let path = files(directory.path()).remove(0);
    let end = std::fs::metadata(&path).unwrap().len() as usize;
    append(&mut spool, &[allowed(2)]);
    drop(spool);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[end - 1] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let spool = open(directory.path(), LARGE);
    assert_eq!(serials(&spool), [2]);
    assert_eq!(lost(&spool), 1);
}

#[test]
fn a_second_collector_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let _spool = open(directory.path(), LARGE);
    let error = Spool::open(directory.path(), Arc::from("b"), LARGE).unwrap_err();
    assert!(matches!(error, SpoolError::Locked { .. }), "{error}");
}

/// Runs in the child process of the test below.
#[test]
#[ignore = "the child process of killed_at_random_points_everything_appended_is_kept_or_counted"]
fn child() {
    let directory = std::env::var_os("WEIR_TEST_SPOOL").expect("set by the parent");
    let mut spool = open(Path::new(&directory), 400_000);
    let refused = |spool: &Spool| spool.refused_records();
    for serial in 0.. {
        append(&mut spool, &[denied(serial), allowed(serial)]);
        println!("appended {serial} {}", refused(&spool));
    }
}

#[test]
fn killed_at_random_points_everything_appended_is_kept_or_counted() {
    for round in 0..8u64 {
        let directory = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "uplink::tests::child",
                "--ignored",
                "--nocapture",
            ])
            .env("WEIR_TEST_SPOOL", directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (mut serial, mut refused) = (0, 0);
        for line in lines {
            let line = line.unwrap();
            let mut words = line
                .split("appended ")
                .nth(1)
                .into_iter()
                .flat_map(str::split_whitespace);
            if let (Some(a), Some(b)) = (words.next(), words.next()) {
                (serial, refused) = (a.parse().unwrap(), b.parse().unwrap());
                if serial >= 40 + round * 130 {
                    break;
                }
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let mut spool = open(directory.path(), 400_000);
        let found = serials(&spool).len() as u64;
        let appended = 2 * (serial + 1);
        let newest = items(&spool).last().unwrap().0;
        spool.acknowledge(newest);
        let lost = lost(&spool);
        // The child went on after the last line that was read.
        assert!(
            found + lost >= appended,
            "round {round}: {found} + {lost} < {appended}"
        );
        assert!(lost >= refused, "round {round}: {lost} < {refused}");
    }
}
