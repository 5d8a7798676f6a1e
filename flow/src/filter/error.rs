//! What can be wrong with a filter.

use super::List;

/// A filter cannot be compiled. For a client: `InvalidArgument`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// A value is not of its field's form.
    #[error("{field}: {value:?} is not {expected}")]
    Value {
        /// The field of `FlowFilter`.
        field: &'static str,
        /// The value.
        value: String,
        /// What would be one.
        expected: &'static str,
    },
    /// The field is about something that Weir does not record.
    #[error("{field}: not supported, because {reason}")]
    Unsupported {
        /// The field of `FlowFilter`.
        field: &'static str,
        /// Why.
        reason: &'static str,
    },
    /// Where it was.
    #[error("{}[{index}].{error}", list.name())]
    At {
        /// The list.
        list: List,
        /// Index in the list.
        index: usize,
        /// What is wrong there.
        error: Box<FilterError>,
    },
}

impl FilterError {
    pub(super) fn at(self, list: List, index: usize) -> Self {
        Self::At {
            list,
            index,
            error: Box::new(self),
        }
    }
}

impl List {
    fn name(self) -> &'static str {
        match self {
            Self::Whitelist => "whitelist",
            Self::Blacklist => "blacklist",
        }
    }
}
