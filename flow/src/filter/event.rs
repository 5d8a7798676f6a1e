//! What happened: verdict, drop reason, event type, direction, reply.

use weir_proto::flow::{EventTypeFilter, FlowFilter};

use super::{Test, any};
use crate::hubble::{Event, direction_number, drop_reason, sub_type, verdict_number};
use crate::{Record, Verdict};

pub(super) fn build(filter: &FlowFilter, tests: &mut Vec<Test>) {
    any(tests, filter.verdict.clone(), |wanted, record| {
        verdict_number(record.verdict) as i32 == *wanted
    });
    any(tests, filter.drop_reason_desc.clone(), |wanted, record| {
        record.verdict == Verdict::Dropped && drop_reason(record.reason).number == *wanted
    });
    any(tests, filter.event_type.clone(), is_event);
    any(tests, filter.traffic_direction.clone(), |wanted, record| {
        direction_number(record.direction) as i32 == *wanted
    });
    // Records are about the opener's side, so no record is a reply. A denial's reply state is unknown, which Hubble
    // counts as false for dropped flows.
    any(tests, filter.reply.clone(), |wanted, _| !wanted);
    any(tests, filter.encrypted.clone(), |wanted, _| !wanted);
}

fn is_event(wanted: &EventTypeFilter, record: &Record) -> bool {
    // Hubble sends a denial twice, as a verdict and as a drop. Here it is one record, found as either.
    if wanted.r#type == Event::Drop.number() && record.verdict == Verdict::Dropped {
        return !wanted.match_sub_type || drop_reason(record.reason).number == wanted.sub_type;
    }
    wanted.r#type == Event::of(record).number()
        && (!wanted.match_sub_type || wanted.sub_type == sub_type(record))
}
