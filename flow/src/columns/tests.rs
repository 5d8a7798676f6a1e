//! Records through columns and back.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::Item;
use crate::samples;
use crate::strategies::any_item;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn items_survive_columns_and_frames(items in prop::collection::vec(any_item(), 0..40)) {
        let batch = to_batch(&items).unwrap();
        prop_assert_eq!(&Rows::new(&batch).unwrap().items().unwrap(), &items);
        let mut codec = Codec::new().unwrap();
        let frame = codec.encode(&batch).unwrap();
        let frame = Codec::unpack(&Codec::pack(&frame)).unwrap();
        let read = codec.decode(&frame).unwrap();
        prop_assert_eq!(&Rows::new(&read).unwrap().items().unwrap(), &items);
    }

    #[test]
    fn a_damaged_frame_gives_a_batch_or_an_error_but_no_panic(
        position in any::<prop::sample::Index>(),
        value in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut codec = Codec::new().unwrap();
        let batch = to_batch(&samples::items()).unwrap();
        let mut frame = codec.encode(&batch).unwrap();
        let at = position.index(frame.len());
        frame[at] = value;
        let whole = Bytes::from(frame);
        for frame in [whole.slice(..cut.index(whole.len())), whole] {
            if let Ok(batch) = codec.decode(&frame) {
                let _ = Rows::new(&batch).map(|mut rows| rows.items());
            }
        }
    }
}

#[test]
fn a_builder_is_full_at_its_bounds_and_empty_after_finish() {
    let item = Item::Flow(samples::service());
    let mut builder = BatchBuilder::new(2, usize::MAX);
    assert_eq!(builder.push(&item), Room::Left);
    assert_eq!(builder.push(&item), Room::Full);
    assert_eq!(builder.finish().unwrap().num_rows(), 2);
    assert!(builder.is_empty());
    assert_eq!(BatchBuilder::new(usize::MAX, 1).push(&item), Room::Full);
}

#[test]
fn frames_split_into_flight_messages_and_join_again() {
    let mut codec = Codec::new().unwrap();
    let batch = to_batch(&samples::items()).unwrap();
    let frame = Bytes::from(codec.encode(&batch).unwrap());
    let messages = Codec::messages(&frame).unwrap();
    let batches = messages.iter().filter(|m| Message::is_batch(&m.header));
    assert_eq!(batches.count(), 1);
    let mut joined = Vec::new();
    for message in &messages {
        codec
            .append(&mut joined, &message.header, &message.body)
            .unwrap();
    }
    assert_eq!(joined, frame);
}

#[test]
fn a_schema_with_a_frame_is_a_stream_for_any_arrow_reader() {
    let mut codec = Codec::new().unwrap();
    let item = Item::Flow(samples::service());
    let frame = codec.encode(&to_batch([&item]).unwrap()).unwrap();
    let mut stream = Vec::new();
    codec
        .append(&mut stream, &codec.schema_message(), &[])
        .unwrap();
    stream.extend_from_slice(&frame);
    let mut reader = arrow_ipc::reader::StreamReader::try_new(stream.as_slice(), None).unwrap();
    let batch = reader.next().unwrap().unwrap();
    let items: Vec<Item> = Rows::new(&batch).unwrap().items().unwrap();
    assert_eq!(items, [item]);
}

#[test]
fn a_packed_frame_that_states_a_huge_size_is_refused_before_any_allocation() {
    let mut packed = Codec::pack(b"frame");
    packed[..4].copy_from_slice(&u32::MAX.to_le_bytes());
    let error = Codec::unpack(&packed).unwrap_err();
    assert!(error.to_string().contains("4294967295"), "{error}");
    assert!(Codec::unpack(&[]).is_err());
}

#[test]
fn another_schema_is_refused_by_its_version() {
    let codec = Codec::new().unwrap();
    codec.check_schema(&codec.schema_message()).unwrap();
    let error = codec.check_schema(b"nonsense").unwrap_err();
    assert!(matches!(error, ColumnsError::Frame { .. }), "{error}");
}

#[test]
fn every_column_is_documented_and_named_once() {
    let names: std::collections::HashSet<_> = COLUMNS.iter().map(|column| column.name).collect();
    assert_eq!(names.len(), COLUMNS.len());
    assert!(COLUMNS.iter().all(|column| !column.doc.is_empty()));
}

#[test]
fn facts_tell_rows_times_losses_and_namespaces() {
    let facts = Facts::of(&to_batch(&samples::items()).unwrap()).unwrap();
    assert_eq!(
        (facts.rows, facts.lost_records, facts.lost_packets),
        (5, 17, 0)
    );
    assert_eq!((facts.oldest, facts.newest), (samples::TIME, samples::TIME));
    let namespaces: Vec<_> = facts.namespaces.iter().map(String::as_str).collect();
    assert_eq!(namespaces, ["kube-system", "shop"]);
    assert_eq!(Facts::of(&to_batch([]).unwrap()).unwrap(), Facts::default());
}
