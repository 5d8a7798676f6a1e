//! The rights that `deploy/` grants: enough, and none too many.

use std::collections::BTreeSet;

use serde_json::json;
use weir_testkit::api::{ApiServer, Cut, Resource, Rights, Stats, StreamedLists, Verb};

use crate::support::{Followed, NODE, PATIENCE, api, cluster, namespace, pod, policy};

const RBAC: &str = include_str!("../../../deploy/base/rbac.yaml");
const ALL_VERBS: [Verb; 7] = [
    Verb::Get,
    Verb::List,
    Verb::Watch,
    Verb::Create,
    Verb::Update,
    Verb::Patch,
    Verb::Delete,
];

/// What the collector's service account may do by such roles.
fn granted(rbac: &str) -> Rights {
    let rights = Rights::of_service_account("weir", "weir-collector", rbac);
    rights.expect("the roles of deploy/")
}

/// What was asked for, as `Rights::granted` says it.
fn used(stats: &Stats) -> BTreeSet<String> {
    let all = Resource::ALL
        .into_iter()
        .flat_map(|resource| ALL_VERBS.map(|verb| (verb, resource)));
    all.filter(|(verb, resource)| stats.requests(*verb, *resource) > 0)
        .map(|(verb, resource)| format!("{verb} {}", resource.qualified()))
        .collect()
}

/// Has the source make every request that it ever makes: lists, questions about new pods, an Event, watches again.
async fn everything(api: &ApiServer, followed: &mut Followed) {
    followed.batch().await;
    assert_eq!(followed.cluster, cluster(api));
    api.apply(pod("shop", "new", NODE, "10.0.0.9"))
        .expect("applied");
    followed.converges(api).await;
    let mut bad = policy("shop", "bad", &[]);
    bad["spec"]["ingres"] = json!([]);
    api.apply(bad).expect("applied");
    let has_event = |stats: &Stats| stats.requests(Verb::Create, Resource::Events) > 0;
    api.seen(PATIENCE, has_event).await.expect("an Event");
    api.cut_watches(Cut::InsideLine);
    api.apply(namespace("more", "y")).expect("applied");
    while !followed.cluster.namespaces.contains_key("more") {
        followed.batch().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rights_of_deploy_are_enough_and_each_is_used() {
    let mut all_used = BTreeSet::new();
    for lists in [StreamedLists::Supported, StreamedLists::Refused] {
        let api = api();
        api.configure(|settings| settings.streamed_lists = lists);
        api.authorize("token", granted(RBAC));
        let mut followed = Followed::start(&api, Some("token")).await;
        everything(&api, &mut followed).await;
        let stats = api.stats();
        assert_eq!(stats.refused().count(), 0, "{stats:?}");
        assert_eq!(api.list(Resource::Events).len(), 1);
        all_used.extend(used(&stats));
    }
    assert_eq!(granted(RBAC).granted(), all_used, "granted, and used");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_missing_is_refused_and_nothing_comes_before_all_lists() {
    let api = api();
    let without = RBAC.replace("pods, services]", "pods]");
    assert_ne!(without, RBAC);
    api.authorize("token", granted(&without));
    let mut followed = Followed::start(&api, Some("token")).await;
    let refused = |stats: &Stats| stats.refused_total() > 2;
    let stats = api.seen(PATIENCE, refused).await.expect("refused");
    assert!(
        stats
            .refused()
            .all(|request| request.resource == Resource::Services)
    );
    assert_eq!(followed.meanwhile().await, []);
    api.authorize("token", granted(RBAC));
    followed.batch().await;
    assert_eq!(followed.cluster, cluster(&api));
}
