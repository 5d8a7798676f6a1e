//! `observer.GetFlowsRequest`, understood once, for every server of flows.

use weir_proto::observer::{GetFlowsRequest, GetFlowsResponse, get_flows_response::ResponseTypes};

use crate::filter::{FilterError, Filters};
use crate::hubble::{Extension, Mask, MaskError, to_flow, to_lost_event};
use crate::{Item, Timestamp};

/// What a client asks for.
#[derive(Debug, Default)]
pub struct FlowsRequest {
    /// Which flows. Losses always pass, as in Hubble.
    pub filters: Filters,
    /// From when on.
    pub since: Option<Timestamp>,
    /// Until when; ends a live stream, too.
    pub until: Option<Timestamp>,
    /// How many of those there are already.
    pub take: Take,
    /// What comes after those there are already.
    pub then: Then,
    /// Which fields.
    pub mask: Mask,
}

/// How many of the flows there are already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Take {
    /// All.
    #[default]
    All,
    /// The oldest so many.
    First(u64),
    /// The newest so many.
    Last(u64),
}

/// What comes after the flows there are already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Then {
    /// The end of the stream.
    #[default]
    End,
    /// New flows as they come, without a limit.
    Follow,
}

/// A request cannot be answered as it is. For a client: `InvalidArgument`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// `first` and `follow` contradict each other.
    #[error("first cannot be specified with follow")]
    FirstAndFollow,
    /// A filter.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// The field mask.
    #[error(transparent)]
    Mask(#[from] MaskError),
}

impl FlowsRequest {
    /// Understands a request. Without `number` it is for all flows there are or, when following from now, for none.
    ///
    /// # Errors
    /// [`RequestError`] names what cannot be understood.
    pub fn compile(request: &GetFlowsRequest) -> Result<Self, RequestError> {
        if request.first && request.follow {
            return Err(RequestError::FirstAndFollow);
        }
        let since = request.since.as_ref().map(Timestamp::from);
        let take = match (request.number, request.first) {
            (0, _) if request.follow && since.is_none() => Take::Last(0),
            (0, _) => Take::All,
            (number, true) => Take::First(number),
            // Hubble's servers: `since` overrides `number` where both could say how far to go back.
            (_, false) if request.follow && since.is_some() => Take::All,
            (number, false) => Take::Last(number),
        };
        Ok(Self {
            filters: Filters::compile(&request.whitelist, &request.blacklist)?,
            since,
            until: request.until.as_ref().map(Timestamp::from),
            take,
            then: if request.follow {
                Then::Follow
            } else {
                Then::End
            },
            mask: Mask::compile(request.field_mask.as_ref())?,
        })
    }

    /// Whether a time is in the range.
    pub fn in_range(&self, time: Timestamp) -> bool {
        self.since.is_none_or(|since| time >= since) && !self.is_over(time)
    }

    /// Whether a time lies behind the range.
    pub fn is_over(&self, time: Timestamp) -> bool {
        self.until.is_some_and(|until| time > until)
    }

    /// Whether an item is asked for.
    pub fn wants(&self, item: &Item) -> bool {
        self.in_range(item.time()) && self.filters.pass(item)
    }

    /// The answer that an item is. Node and time are there whatever the mask says.
    pub fn response(&self, item: &Item, extension: Extension) -> GetFlowsResponse {
        let (kind, node) = match item {
            Item::Flow(record) => {
                let flow = self.mask.apply(to_flow(record, extension));
                (ResponseTypes::Flow(flow), &record.node)
            }
            Item::Loss(loss) => (ResponseTypes::LostEvents(to_lost_event(loss)), &loss.node),
        };
        GetFlowsResponse {
            response_types: Some(kind),
            node_name: node.to_string(),
            time: Some(item.time().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    fn take(request: GetFlowsRequest) -> Take {
        FlowsRequest::compile(&request).expect("valid").take
    }

    #[test]
    fn how_far_a_request_goes_back() {
        let since = Some(Timestamp(5).into());
        let request = GetFlowsRequest::default;
        assert_eq!(take(request()), Take::All);
        assert_eq!(
            take(GetFlowsRequest {
                follow: true,
                ..request()
            }),
            Take::Last(0)
        );
        assert_eq!(
            take(GetFlowsRequest {
                follow: true,
                since,
                ..request()
            }),
            Take::All
        );
        assert_eq!(
            take(GetFlowsRequest {
                follow: true,
                number: 7,
                ..request()
            }),
            Take::Last(7)
        );
        assert_eq!(
            take(GetFlowsRequest {
                first: true,
                number: 7,
                ..request()
            }),
            Take::First(7)
        );
        assert_eq!(
            take(GetFlowsRequest {
                number: 7,
                since,
                ..request()
            }),
            Take::Last(7)
        );
    }

    #[test]
    fn the_first_flows_cannot_be_followed() {
        let request = GetFlowsRequest {
            first: true,
            follow: true,
            ..GetFlowsRequest::default()
        };
        assert_eq!(
            FlowsRequest::compile(&request).unwrap_err(),
            RequestError::FirstAndFollow
        );
    }

    #[test]
    fn a_mask_does_not_blank_the_node_and_the_time() {
        let mask = weir_proto::types::FieldMask {
            paths: vec!["verdict".to_owned()],
        };
        let request = GetFlowsRequest {
            field_mask: Some(mask),
            ..GetFlowsRequest::default()
        };
        let request = FlowsRequest::compile(&request).expect("valid");
        let record = samples::denied();
        let response = request.response(&Item::Flow(record.clone()), Extension::Omitted);
        assert_eq!(response.node_name, *record.node);
        assert_eq!(response.time, Some(record.time.into()));
        let Some(ResponseTypes::Flow(flow)) = response.response_types else {
            panic!("no flow");
        };
        assert_eq!((flow.node_name.as_str(), flow.verdict), ("", 2));
    }
}
