//! Each fault, and that kube's watcher comes to know what there is in spite of it.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api,
    api::{ListParams, WatchEvent, WatchParams},
    runtime::watcher::Config,
};
use tokio::time::timeout;
use weir_testkit::api::{
    ApiServer, Cut, Delivery, FutureVersions, Outage, Resource, Restart, Stats, WatchErrors,
};

use crate::support::{Mirror, PATIENCE, client, code, node, pod};

/// A server with pod `a`, and a watcher of pods that has listed it and watches.
async fn watched() -> (ApiServer, Mirror) {
    let api = ApiServer::start().expect("applied");
    api.apply(pod("a", "web")).expect("applied");
    let mirror = Mirror::of_pods(&api, Config::default()).await;
    mirror.said(")", 1).await;
    api.seen(PATIENCE, watches(1)).await.expect("deleted");
    mirror.log();
    (api, mirror)
}

/// So many watches of pods were asked for.
fn watches(count: u64) -> impl Fn(&Stats) -> bool {
    move |stats| stats.watches(Resource::Pods) >= count
}

#[tokio::test]
async fn a_watch_that_is_cut_goes_on_where_it_was() {
    for cut in [
        Cut::BetweenLines,
        Cut::InsideLine,
        Cut::InsideLineAsIfComplete,
    ] {
        let (api, mirror) = watched().await;
        api.cut_watches(cut);
        api.seen(PATIENCE, watches(2)).await.unwrap();
        api.cut_watches_at_next_event(cut);
        api.apply(pod("b", "web")).unwrap();
        api.delete(Resource::Pods, "shop", "a").unwrap();
        mirror.said("-a", 1).await;
        api.seen(PATIENCE, watches(3)).await.unwrap();
        let mut log = mirror.log();
        log.retain(|said| said != "! connection");
        assert_eq!(log, ["+b", "-a"], "{cut:?}");
        assert_eq!(api.stats().lists(Resource::Pods), 1, "{cut:?}");
    }
}

#[tokio::test]
async fn half_a_line_is_sent_before_the_connection_breaks() {
    let api = ApiServer::start().unwrap();
    let client = client(&api).await;
    for (cut, breaks) in [
        (Cut::InsideLine, true),
        (Cut::InsideLineAsIfComplete, false),
    ] {
        let request = kube::core::Request::new("/api/v1/pods");
        let request = request.watch(&WatchParams::default(), "0").unwrap();
        let mut answer = Box::pin(client.request_stream(request).await.unwrap());
        api.cut_watches(cut);
        let mut text = Vec::new();
        let read = futures::AsyncReadExt::read_to_end(&mut answer, &mut text).await;
        assert_eq!(read.is_err(), breaks, "{cut:?}");
        let text = String::from_utf8(text).unwrap();
        assert!(
            text.starts_with("{\"type\":\"BOOKMARK\",") && !text.contains('\n'),
            "{text}"
        );
    }
}

#[tokio::test]
async fn after_a_compaction_the_next_watch_is_refused_and_the_list_is_asked_for_again() {
    for errors in [WatchErrors::AsEvent, WatchErrors::AsStatus] {
        let (api, mirror) = watched().await;
        api.configure(|settings| settings.watch_errors = errors);
        api.compact();
        api.cut_watches(Cut::BetweenLines);
        api.apply(pod("b", "web")).unwrap();
        match errors {
            WatchErrors::AsEvent => {
                mirror.converged(&api, Resource::Pods).await;
                mirror.said(")", 1).await;
                assert_eq!(mirror.log(), ["! 410", "(", "a", "b", ")"]);
            }
            // kube's watcher asks for the same version for ever.
            WatchErrors::AsStatus => mirror.said("! 410", 2).await,
        }
    }
}

#[tokio::test]
async fn running_watches_expire() {
    let (api, mirror) = watched().await;
    api.expire_watches();
    mirror.said(")", 1).await;
    assert_eq!(mirror.log(), ["! 410", "(", "a", ")"]);
}

#[tokio::test]
async fn changes_that_no_watch_was_told_of_are_known_after_the_list() {
    let (api, mirror) = watched().await;
    api.miss_changes(|api| {
        api.apply(pod("b", "web")).unwrap();
        api.apply(pod("gone", "web")).unwrap();
        api.delete(Resource::Pods, "shop", "gone").unwrap();
        api.delete(Resource::Pods, "shop", "a").unwrap();
    });
    mirror.said(")", 1).await;
    assert_eq!(mirror.log(), ["! 410", "(", "b", ")"]);
    // Watches that missed nothing go on.
    api.miss_changes(|api| api.apply(node("n")).unwrap());
    api.apply(pod("c", "web")).unwrap();
    mirror.said("+c", 1).await;
    assert_eq!(mirror.log(), ["+c"]);
}

#[tokio::test]
async fn in_an_outage_connections_break_and_afterwards_all_is_known() {
    for outage in [Outage::Refused, Outage::Unavailable] {
        let (api, mirror) = watched().await;
        let address = api.address();
        let client = client(&api).await;
        api.start_outage(outage);
        assert!(client.apiserver_version().await.is_err(), "{outage:?}");
        let is_closed = |stats: &Stats| stats.open_watches(Resource::Pods) == 0;
        api.seen(PATIENCE, is_closed).await.unwrap();
        api.apply(pod("b", "web")).unwrap();
        api.end_outage().unwrap();
        assert_eq!(api.address(), address);
        mirror.converged(&api, Resource::Pods).await;
        assert_eq!(api.stats().lists(Resource::Pods), 1, "{outage:?}");
        client.apiserver_version().await.unwrap();
    }
}

#[tokio::test]
async fn a_restart_breaks_connections_and_a_lost_history_needs_a_list() {
    let (api, mirror) = watched().await;
    api.restart(Restart::Unharmed).unwrap();
    api.apply(pod("b", "web")).unwrap();
    mirror.converged(&api, Resource::Pods).await;
    assert_eq!(api.stats().lists(Resource::Pods), 1);
    let before = api.version();
    api.restart(Restart::HistoryLost).unwrap();
    assert!(api.version() > before + 1000);
    mirror.said(")", 1).await;
    api.apply(pod("c", "web")).unwrap();
    mirror.converged(&api, Resource::Pods).await;
    assert_eq!(api.stats().lists(Resource::Pods), 2);
}

#[tokio::test]
async fn a_server_that_was_rolled_back_knows_less_than_its_clients() {
    let api = ApiServer::start().unwrap();
    api.apply(pod("a", "web")).unwrap();
    let backup = api.backup();
    api.apply(pod("b", "web")).unwrap();
    api.apply(pod("c", "web")).unwrap();
    let known = api.version();
    api.restart(Restart::RolledBack(backup)).unwrap();
    assert_eq!(api.version(), known - 2);
    assert_eq!(api.list(Resource::Pods).len(), 1);

    let pods = Api::<Pod>::all(client(&api).await);
    let watch = WatchParams::default();
    let mut events = pods
        .watch(&watch, &known.to_string())
        .await
        .unwrap()
        .boxed();
    for name in ["d", "e", "f"] {
        api.apply(pod(name, "web")).unwrap();
    }
    let event = timeout(PATIENCE, events.try_next()).await.unwrap().unwrap();
    let Some(WatchEvent::Added(first)) = event else {
        panic!("{event:?}");
    };
    assert_eq!(
        first.metadata.name.unwrap(),
        "f",
        "versions d and e were passed over"
    );

    api.configure(|settings| {
        settings.future_versions = FutureVersions::Refused;
        settings.watch_errors = WatchErrors::AsStatus;
    });
    let future = (api.version() + 5).to_string();
    let raw = kube::core::Request::new("/api/v1/pods").watch(&watch, &future);
    assert_eq!(
        code(
            client(&api)
                .await
                .request_stream(raw.unwrap())
                .await
                .map(drop)
        ),
        504
    );
}

#[tokio::test]
async fn a_slow_watch_falls_behind_and_is_told_so_when_its_history_is_compacted() {
    let (api, mirror) = watched().await;
    api.configure(|settings| settings.event_delay = Duration::from_millis(50));
    for number in 0..100 {
        api.apply(pod(&format!("p-{number}"), "web")).unwrap();
    }
    mirror.said("+p-0", 1).await;
    api.compact();
    api.configure(|settings| settings.event_delay = Duration::ZERO);
    mirror.converged(&api, Resource::Pods).await;
    let log = mirror.log();
    assert!(log.contains(&"! 410".to_owned()), "{log:?}");
}

#[tokio::test]
async fn events_can_come_twice() {
    let (api, mirror) = watched().await;
    api.configure(|settings| settings.delivery = Delivery::Twice);
    api.apply(pod("b", "web")).unwrap();
    api.delete(Resource::Pods, "shop", "b").unwrap();
    mirror.said("-b", 2).await;
    assert_eq!(mirror.log(), ["+b", "+b", "-b", "-b"]);
    mirror.converged(&api, Resource::Pods).await;
}

#[tokio::test]
async fn events_of_one_kind_can_overtake_those_of_another() {
    let (api, mirror) = watched().await;
    let nodes = Mirror::of(Api::<Node>::all(client(&api).await), Config::default());
    nodes.said(")", 1).await;
    api.hold(Resource::Pods);
    api.apply(pod("b", "web")).unwrap();
    api.apply(node("n")).unwrap();
    nodes.said("+n", 1).await;
    api.send_bookmarks();
    assert_eq!(mirror.log(), Vec::<String>::new());
    let pods = Api::<Pod>::all(client(&api).await);
    let listed = pods.list(&ListParams::default()).await.unwrap();
    assert_eq!(listed.items.len(), 2, "a list is up to date");
    api.release(Resource::Pods);
    mirror.said("+b", 1).await;
    assert_eq!(mirror.log(), ["+b"]);
}
