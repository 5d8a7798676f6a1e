//! Whether what is known of a namespace is as new as a pod that has just appeared in it.
//!
//! Versions of different kinds cannot be compared, so no watch of policies can tell that it is as new as a pod. A read
//! without resourceVersion is consistent: it is as new as the moment at which it was asked. Once everything in the
//! answer has come by the watches too, they are as new. Only metadata is asked for, and only of the pod's namespace:
//! the policies that can select it are there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use kube::api::ListParams;
use kube::core::Request;
use tokio::time::timeout;
use weir_policy::model::Name;

use super::index::{self, Index, Version};
use super::kinds::{NAMESPACES, NETWORK_POLICIES};
use super::prune::Keep;
use super::watch::WatchError;
use super::wire::{self, Page};

/// The longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(10);
const IDENTITY: Keep<'static> = Keep::Only(&[(
    "metadata",
    Keep::Only(&[
        ("name", Keep::All),
        ("namespace", Keep::All),
        ("resourceVersion", Keep::All),
    ]),
)]);

/// What a namespace held at some moment after the question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// Its own version; none if it is gone.
    pub(super) namespace: Option<Version>,
    /// Its policies.
    pub(super) policies: BTreeMap<Name, Version>,
    /// The version of that list.
    pub(super) listed: Version,
}

impl Answer {
    /// Whether the watches are as new as the answer.
    pub(super) fn is_known(&self, namespace: &str, namespaces: &Index, policies: &Index) -> bool {
        let is_namespace_known = self.namespace.is_none_or(|version| {
            let name = Name::new("", namespace);
            reached(namespaces, &name, version)
        });
        let are_known = self
            .policies
            .iter()
            .all(|(name, version)| reached(policies, name, *version));
        // One that the answer does not have must be younger than it, or its deletion is still to come.
        let are_there = policies
            .of_namespace(namespace)
            .all(|(name, version)| self.policies.contains_key(name) || version > self.listed);
        is_namespace_known && are_known && are_there
    }
}

fn reached(index: &Index, name: &Name, version: Version) -> bool {
    let known = index.version(name).or(index.deleted(name));
    known.is_some_and(|known| known >= version)
}

/// Asks what a namespace holds.
pub(super) async fn ask(client: &Client, namespace: Arc<str>) -> Result<Answer, WatchError> {
    let both = async {
        let policies = Request::new(NETWORK_POLICIES.path_in(&namespace));
        let all = list(client, &policies, &ListParams::default()).await?;
        let namespaces = Request::new(NAMESPACES.path());
        let this = ListParams::default().fields(&format!("metadata.name={namespace}"));
        let own = list(client, &namespaces, &this).await?;
        Ok(Answer {
            namespace: own.items.first().map(index::version),
            policies: all
                .items
                .iter()
                .map(|item| (index::name(item), index::version(item)))
                .collect(),
            listed: index::number(&all.version),
        })
    };
    let answer = timeout(ANSWER, both).await;
    answer.unwrap_or(Err(WatchError::Silent(ANSWER)))
}

async fn list(client: &Client, request: &Request, params: &ListParams) -> Result<Page, WatchError> {
    let request = request.list_metadata(params);
    let text = client
        .request_text(request.map_err(kube::Error::BuildRequest)?)
        .await?;
    Ok(wire::page(&text, IDENTITY)?)
}
