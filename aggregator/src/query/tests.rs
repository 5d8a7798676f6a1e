//! Queries over memory and files.

use std::path::Path;

use proptest::prelude::*;
use weir_flow::filter::Filters;
use weir_flow::{Record, Timestamp, samples};
use weir_proto::flow::FlowFilter;

use super::*;
use crate::store::tests::{config, frame_of, metrics};
use crate::store::{Store, StoreConfig};

const MINUTE: i64 = 60_000_000_000;

/// A flow at this minute; odd ones are denied.
fn item(minute: i64) -> Item {
    let record = if minute % 2 == 0 {
        samples::allowed()
    } else {
        samples::denied()
    };
    Item::Flow(Record {
        time: Timestamp(samples::TIME.0 + minute * MINUTE),
        ..record
    })
}

fn loss(minute: i64) -> Item {
    let mut loss = samples::loss();
    loss.time = Timestamp(samples::TIME.0 + minute * MINUTE);
    Item::Loss(loss)
}

fn minute(item: &Item) -> i64 {
    (item.time().0 - samples::TIME.0) / MINUTE
}

/// A store whose batches are these; the first `sealed` of them lie in files only.
async fn store(data: &Path, batches: &[Vec<Item>], sealed: usize) -> Store {
    let tight = StoreConfig {
        recent_max_bytes: 0,
        ..config(data)
    };
    let store = Store::open(tight, metrics()).unwrap();
    for (seq, items) in batches[..sealed].iter().enumerate() {
        store
            .append(frame_of("a", 1, seq as u64 + 1, items))
            .await
            .unwrap();
    }
    store.close().await;
    let store = Store::open(config(data), metrics()).unwrap();
    for (seq, items) in batches[sealed..].iter().enumerate() {
        store
            .append(frame_of("b", 1, seq as u64 + 1, items))
            .await
            .unwrap();
    }
    store
}

fn found(store: &Store, query: &FlowsRequest) -> (Vec<i64>, Vec<String>) {
    let (mut items, mut problems) = (Vec::new(), Vec::new());
    let _ = run(query, store.snapshot(), &mut |found| {
        match found {
            Found::Item(item) => items.push(minute(&item)),
            Found::Problem(error) => problems.push(error.to_string()),
        }
        ControlFlow::Continue(())
    });
    (items, problems)
}

fn take(take: Take) -> FlowsRequest {
    FlowsRequest {
        take,
        ..FlowsRequest::default()
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_lies_where_the_answer_is_that_of_one_sorted_list(
        batches in prop::collection::vec(prop::collection::vec(-200i64..200, 1..20), 1..6),
        sealed in any::<prop::sample::Index>(),
        number in 1u64..30,
        (since, until) in (-220i64..220, -220i64..220),
    ) {
        let data = tempfile::tempdir().unwrap();
        let items: Vec<Vec<Item>> = batches
            .iter()
            .map(|minutes| minutes.iter().map(|minute| item(*minute)).collect())
            .collect();
        let runtime = runtime();
        let store = runtime.block_on(store(data.path(), &items, sealed.index(items.len() + 1)));
        let mut all: Vec<i64> = batches.iter().flatten().copied().collect();
        all.sort_unstable();
        prop_assert_eq!(&found(&store, &take(Take::All)).0, &all);
        let count = all.len().min(number as usize);
        prop_assert_eq!(&found(&store, &take(Take::First(number))).0, &all[..count]);
        prop_assert_eq!(&found(&store, &take(Take::Last(number))).0, &all[all.len() - count..]);
        let at = |minute: i64| Timestamp(samples::TIME.0 + minute * MINUTE);
        let denied = FlowFilter { verdict: vec![2], ..FlowFilter::default() };
        let query = FlowsRequest {
            since: Some(at(since)),
            until: Some(at(until)),
            filters: Filters::compile(&[denied], &[]).unwrap(),
            take: Take::Last(number),
            ..FlowsRequest::default()
        };
        let wanted = |minute: &&i64| **minute >= since && **minute <= until && **minute % 2 != 0;
        let wanted: Vec<i64> = all.iter().filter(wanted).copied().collect();
        let newest = &wanted[wanted.len() - wanted.len().min(number as usize)..];
        prop_assert_eq!(&found(&store, &query).0, newest);
        runtime.block_on(store.close());
    }
}

#[tokio::test]
async fn losses_come_along_and_are_not_counted() {
    let data = tempfile::tempdir().unwrap();
    let batches = [vec![item(1), loss(2), item(3)], vec![loss(4), item(5)]];
    let store = store(data.path(), &batches, 1).await;
    assert_eq!(found(&store, &take(Take::Last(2))).0, [3, 4, 5]);
    assert_eq!(found(&store, &take(Take::First(2))).0, [1, 2, 3]);
    assert_eq!(found(&store, &take(Take::All)).0, [1, 2, 3, 4, 5]);
    store.close().await;
}

#[tokio::test]
async fn a_damaged_file_is_named_and_the_others_are_served() {
    let data = tempfile::tempdir().unwrap();
    let batches = [vec![item(0), item(60)], vec![item(1)]];
    let store = store(data.path(), &batches, 1).await;
    let file = store.snapshot().files[0].path.clone();
    std::fs::write(&file, b"PAR1 this is none").unwrap();
    for query in [Take::All, Take::First(9), Take::Last(9)] {
        let (items, problems) = found(&store, &take(query));
        assert_eq!(items, [1, 60]);
        assert_eq!(problems.len(), 1);
        assert!(
            problems[0].contains(&*file.to_string_lossy()),
            "{problems:?}"
        );
    }
    store.close().await;
}

#[tokio::test]
async fn a_client_that_leaves_stops_the_reading() {
    let data = tempfile::tempdir().unwrap();
    let store = store(data.path(), &[(0..50).map(item).collect()], 0).await;
    let mut seen = 0;
    let flow = run(&take(Take::All), store.snapshot(), &mut |_| {
        seen += 1;
        if seen == 3 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    assert_eq!((flow, seen), (ControlFlow::Break(()), 3));
    store.close().await;
}
