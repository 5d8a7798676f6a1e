//! A loss record as Hubble's `LostEvent`.

use weir_proto::flow::{LostEvent, LostEventSource};

use crate::{LossPlace, LossRecord};

/// The event that tells Hubble's clients of a loss: the records lost, or the packets where packets were lost.
pub fn to_lost_event(loss: &LossRecord) -> LostEvent {
    let count = if loss.records > 0 {
        loss.records
    } else {
        loss.packets
    };
    LostEvent {
        source: source(loss.place) as i32,
        num_events_lost: count,
        cpu: None,
        first: Some(loss.from.into()),
        last: Some(loss.to.into()),
    }
}

/// Hubble knows three places: the kernel, the way to the store, and the store a reader was too slow for.
fn source(place: LossPlace) -> LostEventSource {
    match place {
        LossPlace::FlowTable | LossPlace::EntryRetiring | LossPlace::Ledger => {
            LostEventSource::PerfEventRingBuffer
        }
        LossPlace::Uplink | LossPlace::Otlp | LossPlace::Aggregator => {
            LostEventSource::ObserverEventsQueue
        }
        LossPlace::RecentStore | LossPlace::Subscriber => LostEventSource::HubbleRingBuffer,
    }
}
