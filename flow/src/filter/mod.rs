//! Hubble's flow filters over records, compiled once per request.
//!
//! Fields of one filter are ANDed, values of one field are ORed, filters of a list are ORed. An empty allow list
//! allows everything; the deny list wins. A filter answers as Hubble's would for the `Flow` that the record becomes;
//! a field about something that Weir never records is refused, because it would silently match nothing.

mod address;
mod error;
mod event;
mod glob;
mod labels;
mod layer4;
mod names;
mod node;
mod selector;
#[cfg(test)]
mod tests;
mod unsupported;

use weir_proto::flow::FlowFilter;

pub use error::FilterError;

use crate::sides::Side;
use crate::{Item, Record};

/// An allow list and a deny list.
#[derive(Debug, Default)]
pub struct Filters {
    allow: Vec<Filter>,
    deny: Vec<Filter>,
}

/// One `FlowFilter`: all tests have to hold.
struct Filter(Vec<Test>);

/// One field of a filter.
type Test = Box<dyn Fn(&Record) -> bool + Send + Sync>;

/// The name of a list, for errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// `whitelist`.
    Whitelist,
    /// `blacklist`.
    Blacklist,
}

impl Filters {
    /// Compiles a request's lists.
    ///
    /// # Errors
    /// Names the list, the filter and the field that cannot be understood or that Weir has no data for.
    pub fn compile(
        whitelist: &[FlowFilter],
        blacklist: &[FlowFilter],
    ) -> Result<Self, FilterError> {
        let compile = |list, filters: &[FlowFilter]| {
            filters
                .iter()
                .enumerate()
                .map(|(index, filter)| Filter::compile(filter).map_err(|e| e.at(list, index)))
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            allow: compile(List::Whitelist, whitelist)?,
            deny: compile(List::Blacklist, blacklist)?,
        })
    }

    /// Whether a record passes.
    pub fn matches(&self, record: &Record) -> bool {
        let allowed = self.allow.is_empty() || self.allow.iter().any(|f| f.matches(record));
        allowed && !self.deny.iter().any(|f| f.matches(record))
    }

    /// Whether an item passes: losses always do, as Hubble's lost events bypass its filters.
    pub fn pass(&self, item: &Item) -> bool {
        match item {
            Item::Flow(record) => self.matches(record),
            Item::Loss(_) => true,
        }
    }
}

impl Filter {
    fn compile(filter: &FlowFilter) -> Result<Self, FilterError> {
        unsupported::check(filter)?;
        let mut tests = Vec::new();
        address::build(filter, &mut tests)?;
        names::build(filter, &mut tests);
        labels::build(filter, &mut tests)?;
        layer4::build(filter, &mut tests)?;
        event::build(filter, &mut tests);
        node::build(filter, &mut tests);
        Ok(Self(tests))
    }

    fn matches(&self, record: &Record) -> bool {
        self.0.iter().all(|test| test(record))
    }
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Filter").field(&self.0.len()).finish()
    }
}

/// Which side a field is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Source,
    Destination,
}

impl End {
    fn of(self, record: &Record) -> Side<'_> {
        match self {
            Self::Source => record.source(),
            Self::Destination => record.destination(),
        }
    }
}

/// Adds a test that holds if any of `values` does; none if the field is empty.
fn any<T: Send + Sync + 'static>(
    tests: &mut Vec<Test>,
    values: Vec<T>,
    holds: impl Fn(&T, &Record) -> bool + Send + Sync + 'static,
) {
    if !values.is_empty() {
        tests.push(Box::new(move |record| {
            values.iter().any(|value| holds(value, record))
        }));
    }
}
