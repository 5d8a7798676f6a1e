//! Lists, whole and in pages.

use std::{collections::VecDeque, sync::Arc};

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::Value;

use super::{
    Resource,
    object::{View, seen},
    refusal::Refusal,
    request::Params,
    selector::Selector,
    state::State,
};

/// Lists whose next page may be asked for. Of more, the oldest is forgotten, as if it had expired.
const MAX_PAGED: usize = 64;

/// Lists that were begun.
#[derive(Debug, Default)]
pub(super) struct Pages {
    begun: VecDeque<Arc<Begun>>,
    last_id: u64,
}

#[derive(Debug)]
struct Begun {
    id: u64,
    resource: Resource,
    version: u64,
    items: Vec<Arc<Value>>,
    is_selective: bool,
}

/// A list or a part of it.
#[derive(Debug)]
pub(super) struct Page {
    list: Arc<Begun>,
    from: usize,
    to: usize,
}

// === impl Page ===

impl Page {
    /// Takes the page that is asked for.
    pub(super) fn take(
        state: &mut State,
        resource: Resource,
        selector: &Selector,
        params: &Params,
    ) -> Result<Self, Refusal> {
        if !params.continue_token.is_empty() {
            return Self::go_on(state, resource, params);
        }
        let current = state.store.version();
        let asked = params.version()?;
        match (asked, params.resource_version_match.as_str()) {
            (None, "") | (Some(_), "" | "NotOlderThan") => {}
            (Some(version), "Exact") if version < current => {
                // A real server has old states until it compacts them.
                return Err(Refusal::too_old(version, current));
            }
            (Some(_), "Exact") => {}
            (_, other) => {
                return Err(Refusal::Invalid(format!(
                    "resourceVersionMatch: Forbidden: {other:?} with resourceVersion {:?}",
                    params.resource_version
                )));
            }
        }
        if let Some(asked) = asked.filter(|asked| *asked > current) {
            return Err(Refusal::FutureVersion { asked, current });
        }
        let items = state.store.all(resource);
        let items = items.filter(|(key, object)| selector.matches(key, object));
        let items: Vec<_> = items.map(|(_, object)| object.clone()).collect();
        state.pages.last_id += 1;
        let list = Arc::new(Begun {
            id: state.pages.last_id,
            resource,
            version: current,
            items,
            is_selective: selector.is_selective(),
        });
        // Version 0 is answered from the watch cache, which has no pages.
        let limit = if asked == Some(0) { 0 } else { params.limit };
        let page = Self::part(list, 0, limit);
        if page.to < page.list.items.len() {
            state.pages.keep(page.list.clone());
        }
        Ok(page)
    }

    fn go_on(state: &State, resource: Resource, params: &Params) -> Result<Self, Refusal> {
        if !params.resource_version.is_empty() && params.resource_version != "0" {
            let why = "specifying resource version is not allowed when using continue";
            return Err(Refusal::BadRequest(why.to_owned()));
        }
        let invalid = || Refusal::BadRequest("continue key is not valid".to_owned());
        let (id, from) = params.continue_token.split_once('-').ok_or_else(invalid)?;
        let (id, from): (u64, usize) = match (id.parse(), from.parse()) {
            (Ok(id), Ok(from)) => (id, from),
            _ => return Err(invalid()),
        };
        let mut begun = state.pages.begun.iter();
        let list = begun.find(|list| list.id == id);
        let list = list.ok_or_else(Refusal::continue_too_old)?;
        if list.resource != resource || from > list.items.len() {
            return Err(invalid());
        }
        Ok(Self::part(list.clone(), from, params.limit))
    }

    /// At most `limit` items; all for 0.
    fn part(list: Arc<Begun>, from: usize, limit: usize) -> Self {
        let to = match limit {
            0 => list.items.len(),
            limit => list.items.len().min(from.saturating_add(limit)),
        };
        Self { list, from, to }
    }

    /// The answer's body.
    pub(super) fn render(&self, view: View) -> String {
        let Begun {
            id,
            resource,
            version,
            ref items,
            is_selective,
        } = *self.list;
        let left = items.len() - self.to;
        let metadata = ListMeta {
            resource_version: version.to_string(),
            continue_token: (left > 0).then(|| format!("{id}-{}", self.to)),
            remaining_item_count: (left > 0 && !is_selective).then_some(left),
        };
        let items = items[self.from..self.to].iter();
        let list = match view {
            View::Whole => List {
                kind: format!("{}List", resource.kind()),
                api_version: resource.api_version(),
                metadata,
                items: items.map(|item| Item::Typeless(item)).collect(),
            },
            View::Metadata => List {
                kind: "PartialObjectMetadataList".to_owned(),
                api_version: "meta.k8s.io/v1".to_owned(),
                metadata,
                items: items.map(|item| Item::Own(seen(item, view))).collect(),
            },
        };
        serde_json::to_string(&list).expect("JSON values can be written as JSON")
    }
}

// === impl Pages ===

impl Pages {
    pub(super) fn clear(&mut self) {
        self.begun.clear();
    }

    fn keep(&mut self, list: Arc<Begun>) {
        if self.begun.len() == MAX_PAGED {
            self.begun.pop_front();
        }
        self.begun.push_back(list);
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    kind: String,
    api_version: String,
    metadata: ListMeta,
    items: Vec<Item<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListMeta {
    resource_version: String,
    #[serde(rename = "continue", skip_serializing_if = "Option::is_none")]
    continue_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remaining_item_count: Option<usize>,
}

enum Item<'a> {
    /// As in the real server's lists, without `kind` and `apiVersion`: the list has them.
    Typeless(&'a Value),
    Own(Value),
}

impl Serialize for Item<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = match self {
            Self::Own(value) => return value.serialize(serializer),
            Self::Typeless(value) => value.as_object().into_iter().flatten(),
        };
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in fields {
            if name != "kind" && name != "apiVersion" {
                map.serialize_entry(name, value)?;
            }
        }
        map.end()
    }
}
