//! `source_label`, `destination_label`: Kubernetes selectors over a side's labels.

use weir_proto::flow::FlowFilter;

use super::selector::Selector;
use super::{End, FilterError, Test, any};

pub(super) fn build(filter: &FlowFilter, tests: &mut Vec<Test>) -> Result<(), FilterError> {
    for (field, values, end) in [
        ("source_label", &filter.source_label, End::Source),
        (
            "destination_label",
            &filter.destination_label,
            End::Destination,
        ),
    ] {
        let selectors = values.iter().map(|text| Selector::parse(field, text));
        let selectors = selectors.collect::<Result<Vec<_>, _>>()?;
        any(tests, selectors, move |selector: &Selector, record| {
            selector.matches(end.of(record).endpoint)
        });
    }
    Ok(())
}
