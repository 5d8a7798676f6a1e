//! Watches of a healthy server, of today and of older ones.

use std::time::Duration;

use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api,
    api::{WatchEvent, WatchParams},
    runtime::watcher::Config,
};
use serde_json::json;
use tokio::time::timeout;
use weir_testkit::api::{ApiServer, Bookmarks, Cut, Resource, StreamedLists};

use crate::support::{Mirror, PATIENCE, Slim, client, code, node, pod};

/// The next event in short: type, name and version.
async fn next<K: kube::Resource + Clone>(
    events: &mut (impl Stream<Item = kube::Result<WatchEvent<K>>> + Unpin),
) -> String {
    let event = timeout(PATIENCE, events.try_next()).await;
    let event = event.expect("an event in time").expect("an event");
    let named =
        |sign: char, object: K| format!("{sign}{}", object.meta().name.clone().expect("a name"));
    match event {
        None => "end".to_owned(),
        Some(WatchEvent::Added(object)) => named('+', object),
        Some(WatchEvent::Modified(object)) => named('~', object),
        Some(WatchEvent::Deleted(object)) => named('-', object),
        Some(WatchEvent::Bookmark(mark)) => {
            let ends = !mark.metadata.annotations.is_empty();
            let version = mark.metadata.resource_version;
            format!("{} {version}", if ends { "complete" } else { "mark" })
        }
        Some(WatchEvent::Error(status)) => format!("! {}", status.code),
    }
}

async fn pods(api: &ApiServer) -> Api<Pod> {
    Api::all(client(api).await)
}

#[tokio::test]
async fn a_watcher_lists_and_follows_changes() {
    let api = ApiServer::start().unwrap();
    api.apply(pod("a", "web")).unwrap();
    api.apply(pod("b", "web")).unwrap();
    let mirror = Mirror::of_pods(&api, Config::default()).await;
    mirror.said(")", 1).await;
    assert_eq!(mirror.log(), ["(", "a", "b", ")"]);
    api.apply(pod("c", "web")).unwrap();
    api.apply(pod("a", "db")).unwrap();
    api.apply(pod("b", "web")).unwrap(); // nothing new
    api.delete(Resource::Pods, "shop", "b").unwrap();
    mirror.said("-b", 1).await;
    assert_eq!(mirror.log(), ["+c", "+a", "-b"]);
    mirror.converged(&api, Resource::Pods).await;
    let stats = api.stats();
    assert_eq!(
        (stats.lists(Resource::Pods), stats.watches(Resource::Pods)),
        (1, 1)
    );
    assert_eq!(stats.events(Resource::Pods), 3);
}

#[tokio::test]
async fn a_list_can_be_streamed() {
    let api = ApiServer::start().unwrap();
    api.apply(pod("a", "web")).unwrap();
    let mirror = Mirror::of_pods(&api, Config::default().streaming_lists()).await;
    mirror.said(")", 1).await;
    api.apply(pod("b", "web")).unwrap();
    mirror.said("+b", 1).await;
    assert_eq!(mirror.log(), ["(", "a", ")", "+b"]);
    let stats = api.stats();
    assert_eq!(
        (stats.lists(Resource::Pods), stats.watches(Resource::Pods)),
        (0, 1)
    );
}

#[tokio::test]
async fn older_servers_refuse_streamed_lists_or_do_not_know_them() {
    let api = ApiServer::start().unwrap();
    api.apply(pod("a", "web")).unwrap();
    let pods = pods(&api).await;
    let streamed = WatchParams::streaming_lists();
    api.configure(|settings| settings.streamed_lists = StreamedLists::Refused);
    assert_eq!(code(pods.watch(&streamed, "").await.map(drop)), 422);
    api.configure(|settings| settings.streamed_lists = StreamedLists::Unknown);
    let mut events = pods.watch(&streamed, "").await.unwrap().boxed();
    assert_eq!(next(&mut events).await, "+a");
    api.apply(pod("b", "web")).unwrap();
    assert_eq!(next(&mut events).await, "+b", "no bookmark between");
}

#[tokio::test]
async fn bookmarks_say_how_far_a_watch_is_even_if_nothing_of_its_kind_changes() {
    let api = ApiServer::start().unwrap();
    api.configure(|settings| settings.bookmarks = Bookmarks::OnDemand);
    let version = api.version().to_string();
    let pods = pods(&api).await;
    let mut events = pods
        .watch(&WatchParams::default(), &version)
        .await
        .unwrap()
        .boxed();
    api.apply(node("n")).unwrap();
    api.send_bookmarks();
    assert_eq!(next(&mut events).await, format!("mark {}", api.version()));
    api.configure(|settings| settings.bookmarks = Bookmarks::Every(Duration::from_millis(5)));
    assert_eq!(next(&mut events).await, format!("mark {}", api.version()));
}

#[tokio::test]
async fn a_watcher_that_has_bookmarks_goes_on_after_a_compaction_without_a_list() {
    let api = ApiServer::start().unwrap();
    api.apply(pod("a", "web")).unwrap();
    let mirror = Mirror::of_pods(&api, Config::default()).await;
    mirror.said(")", 1).await;
    let is_open = |open| {
        move |stats: &weir_testkit::api::Stats| {
            stats.open_watches(Resource::Pods) == open && stats.watches(Resource::Pods) > 0
        }
    };
    api.seen(PATIENCE, is_open(1)).await.unwrap();
    api.compact();
    api.send_bookmarks();
    // Sent on the same stream after the bookmark, so that it has both.
    api.apply(pod("b", "web")).unwrap();
    mirror.said("+b", 1).await;
    api.cut_watches(Cut::BetweenLines);
    api.apply(pod("c", "web")).unwrap();
    mirror.said("+c", 1).await;
    assert_eq!(api.stats().lists(Resource::Pods), 1);
}

#[tokio::test]
async fn an_object_that_comes_to_match_is_added_and_one_that_ceases_to_is_deleted() {
    let api = ApiServer::start().unwrap();
    api.apply(pod("a", "web")).unwrap();
    let pods = pods(&api).await;
    let web = WatchParams::default().labels("app=web");
    let mut events = pods.watch(&web, "0").await.unwrap().boxed();
    assert_eq!(next(&mut events).await, "+a");
    api.apply(pod("a", "db")).unwrap();
    assert_eq!(next(&mut events).await, "-a");
    api.apply(pod("b", "db")).unwrap();
    api.apply(pod("b", "web")).unwrap();
    assert_eq!(next(&mut events).await, "+b");
    let patch = json!({"metadata": {"annotations": {"x": "y"}}});
    api.patch(Resource::Pods, "shop", "b", patch).unwrap();
    assert_eq!(next(&mut events).await, "~b");
}

#[tokio::test]
async fn watches_are_selected_by_field_and_by_namespace() {
    let api = ApiServer::start().unwrap();
    let client = client(&api).await;
    let here = Api::<Pod>::namespaced(client.clone(), "shop");
    let there = WatchParams::default().fields("spec.nodeName=node-2");
    let mut of_node = here.watch(&there, "0").await.unwrap().boxed();
    let elsewhere = Api::<Pod>::namespaced(client, "bar");
    let mut of_namespace = elsewhere
        .watch(&WatchParams::default(), "0")
        .await
        .unwrap()
        .boxed();
    api.apply(pod("a", "web")).unwrap();
    let mut b = pod("b", "web");
    b["spec"]["nodeName"] = "node-2".into();
    api.apply(b).unwrap();
    let mut c = pod("c", "web");
    c["metadata"]["namespace"] = "bar".into();
    api.apply(c).unwrap();
    assert_eq!(next(&mut of_node).await, "+b");
    assert_eq!(next(&mut of_namespace).await, "+c");
}

#[tokio::test]
async fn metadata_can_be_watched_alone() {
    let api = ApiServer::start().unwrap();
    api.apply(pod("a", "web")).unwrap();
    let slim = Api::<Slim>::all(client(&api).await);
    let listed = slim.list(&Default::default()).await.unwrap();
    assert_eq!(
        listed.items[0].metadata.labels.as_ref().unwrap()["app"],
        "web"
    );
    let mirror = Mirror::of(slim, Config::default().streaming_lists());
    mirror.said(")", 1).await;
    api.apply(pod("b", "web")).unwrap();
    mirror.converged(&api, Resource::Pods).await;
    assert_eq!(mirror.log(), ["(", "a", ")", "+b"]);
}

#[tokio::test]
async fn a_watch_ends_at_its_time_with_a_bookmark_and_its_client_goes_on() {
    let api = ApiServer::start().unwrap();
    let pods = pods(&api).await;
    let short = WatchParams::default().timeout(1);
    let mut events = pods.watch(&short, "0").await.unwrap().boxed();
    api.apply(pod("a", "web")).unwrap();
    assert_eq!(next(&mut events).await, "+a");
    assert_eq!(next(&mut events).await, format!("mark {}", api.version()));
    assert_eq!(next(&mut events).await, "end");
}

#[tokio::test]
async fn a_watch_whose_client_goes_away_is_not_open_any_more() {
    let api = ApiServer::start().unwrap();
    let nodes = Api::<Node>::all(client(&api).await);
    let events = nodes.watch(&WatchParams::default(), "0").await.unwrap();
    assert_eq!(api.stats().open_watches(Resource::Nodes), 1);
    drop(events);
    let is_closed = |stats: &weir_testkit::api::Stats| stats.open_watches(Resource::Nodes) == 0;
    api.seen(PATIENCE, is_closed).await.unwrap();
}
