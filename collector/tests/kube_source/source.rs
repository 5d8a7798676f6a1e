//! What the source hands on, one fault after another.

use std::time::Duration;

use serde_json::json;
use weir_policy::model::{Direction, Name};
use weir_testkit::api::{Cut, Delivery, Outage, Resource, Restart, StreamedLists, WatchErrors};

use crate::support::{Followed, NODE, PATIENCE, WHILE, api, cluster, namespace, pod, policy};

#[tokio::test(flavor = "multi_thread")]
async fn the_first_batch_is_the_whole_cluster_whatever_the_server_can_do() {
    for lists in [
        StreamedLists::Supported,
        StreamedLists::Refused,
        StreamedLists::Unknown,
    ] {
        let api = api();
        for number in 0..1200 {
            let address = format!("10.1.{}.{}", number / 250, number % 250 + 1);
            let pod = pod("shop", &format!("many-{number}"), "node-2", &address);
            api.apply(pod).expect("applied");
        }
        api.configure(|settings| settings.streamed_lists = lists);
        let mut followed = Followed::start(&api, None).await;
        followed.batch().await;
        assert_eq!(followed.cluster, cluster(&api), "{lists:?}");
        api.apply(policy("shop", "q", &["Egress"]))
            .expect("applied");
        followed.converges(&api).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_policy_keeps_its_last_good_version_and_gets_one_event_from_all_nodes() {
    let api = api();
    let mut here = Followed::start(&api, None).await;
    let mut there = Followed::start(&api, None).await;
    here.batch().await;
    there.batch().await;
    let good = cluster(&api);
    let bad = json!({"spec": {"ingress": [{"from": [{"serviceSelector": {}}]}]}});
    let now = api.patch(Resource::NetworkPolicies, "shop", "p", bad);
    let now = now.expect("patched");
    for node in [&mut here, &mut there] {
        while node.refused.is_none() {
            node.batch().await;
        }
        assert_eq!(node.cluster, good);
    }
    let text = here.refused.clone().unwrap_or_default();
    assert!(
        text.contains("shop/p: spec.ingress[0].from[0].serviceSelector"),
        "{text}"
    );
    let both = |stats: &weir_testkit::api::Stats| {
        stats.requests(weir_testkit::api::Verb::Create, Resource::Events) >= 2
    };
    api.seen(PATIENCE, both).await.expect("both report");
    let events = api.list(Resource::Events);
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0]["regarding"]["uid"], now["metadata"]["uid"]);
    assert_eq!(events[0]["type"], "Warning");
    // After a restart of the collector too.
    let Followed { state, source, .. } = here;
    drop(source);
    let mut again = Followed::start_in(&api, None, state).await;
    again.batch().await;
    assert_eq!(again.cluster, good);
    assert!(again.refused.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_pod_of_this_node_comes_with_the_policies_that_are_older_than_it() {
    let api = api();
    let mut followed = Followed::start(&api, None).await;
    followed.batch().await;
    api.hold(Resource::NetworkPolicies);
    api.apply(policy("shop", "q", &["Egress"]))
        .expect("applied");
    api.apply(pod("shop", "new", NODE, "10.0.0.9"))
        .expect("applied");
    api.apply(pod("shop", "far", "node-2", "10.0.1.9"))
        .expect("applied");
    let names: Vec<Name> = followed
        .meanwhile()
        .await
        .iter()
        .map(|change| change.subject().1)
        .collect();
    assert_eq!(names, [Name::new("shop", "far")]);
    api.release(Resource::NetworkPolicies);
    let new = Name::new("shop", "new");
    while !followed.cluster.pods.contains_key(&new) {
        followed.batch().await;
    }
    assert_eq!(followed.cluster, cluster(&api));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_namespace_with_a_policy_and_a_pod_is_never_a_pod_without_its_policy() {
    let api = api();
    let mut followed = Followed::start(&api, None).await;
    followed.batch().await;
    for number in 0..30 {
        let name = format!("ns-{number}");
        api.apply(namespace(&name, "x")).expect("applied");
        api.apply(policy(&name, "deny", &["Ingress", "Egress"]))
            .expect("applied");
        api.apply(pod(&name, "first", NODE, &format!("10.0.3.{number}")))
            .expect("applied");
        let first = Name::new(name.as_str(), "first");
        while !followed.cluster.pods.contains_key(&first) {
            followed.batch().await;
        }
        let deny = Name::new(name.as_str(), "deny");
        assert!(followed.cluster.policies.contains_key(&deny), "{name}");
        assert!(followed.cluster.namespaces.contains_key(name.as_str()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_after_missed_changes_takes_effect_as_a_whole() {
    let api = api();
    let mut followed = Followed::start(&api, None).await;
    followed.batch().await;
    // Slow enough for the list to come in several batches.
    api.configure(|settings| settings.event_delay = Duration::from_millis(50));
    api.miss_changes(|api| {
        let taken_over = [
            policy("shop", "q", &["Ingress"]),
            policy("shop", "p", &["Egress"]),
        ];
        for policy in taken_over {
            api.apply(policy).expect("applied");
        }
    });
    let isolates = |followed: &Followed| {
        let all = followed.cluster.policies.values();
        all.filter(|policy| policy.isolates(Direction::Ingress))
            .count()
    };
    let q = Name::new("shop", "q");
    while !followed.cluster.policies.contains_key(&q) {
        followed.batch().await;
        assert!(isolates(&followed) > 0, "ingress of all pods was open");
    }
    followed.converges(&api).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_answer_a_new_pod_stays_back_and_known_ones_do_not() {
    let api = api();
    let mut followed = Followed::start(&api, None).await;
    followed.batch().await;
    api.hold(Resource::Pods);
    api.apply(pod("shop", "new", NODE, "10.0.0.9"))
        .expect("applied");
    // The watch tells of the pod, and then nobody answers.
    api.release(Resource::Pods);
    let is_told = |stats: &weir_testkit::api::Stats| stats.events(Resource::Pods) > 0;
    api.seen(PATIENCE, is_told).await.expect("told");
    api.start_outage(Outage::Unavailable);
    let before = followed.cluster.clone();
    let changes = followed.meanwhile().await;
    // The answer may have come before the outage; then it is known.
    assert!(changes.len() <= 1, "{changes:?}");
    assert!(followed.cluster == before || followed.cluster == cluster(&api));
    api.end_outage().expect("up");
    followed.converges(&api).await;
}

/// Faults, one after another, each with changes beside it.
#[tokio::test(flavor = "multi_thread")]
async fn after_every_fault_it_knows_what_the_server_has() {
    let api = api();
    let mut followed = Followed::start(&api, None).await;
    followed.batch().await;
    let change = |number: usize| {
        let name = format!("n{number}");
        api.apply(policy("shop", &name, &["Egress"]))
            .expect("applied");
        api.apply(pod("shop", &name, NODE, &format!("10.0.4.{number}")))
            .expect("applied");
        api.patch(
            Resource::Namespaces,
            "",
            "shop",
            json!({"metadata": {"labels": {"l": name}}}),
        )
        .expect("patched");
        if let Some(before) = number.checked_sub(1) {
            api.delete(Resource::Pods, "shop", &format!("n{before}"))
                .expect("deleted");
            api.delete(Resource::NetworkPolicies, "shop", &format!("n{before}"))
                .expect("deleted");
        }
    };
    let backup = api.backup();
    let faults: [(&str, &dyn Fn()); 9] = [
        ("cut", &|| api.cut_watches(Cut::BetweenLines)),
        ("half a line", &|| {
            api.cut_watches_at_next_event(Cut::InsideLine)
        }),
        ("half a line, ended", &|| {
            api.cut_watches_at_next_event(Cut::InsideLineAsIfComplete)
        }),
        ("expired", &|| api.expire_watches()),
        ("twice", &|| {
            api.configure(|settings| settings.delivery = Delivery::Twice)
        }),
        ("as status", &|| {
            api.configure(|settings| settings.watch_errors = WatchErrors::AsStatus);
            api.expire_watches();
        }),
        ("restart", &|| api.restart(Restart::Unharmed).expect("up")),
        ("history lost", &|| {
            api.restart(Restart::HistoryLost).expect("up")
        }),
        ("outage", &|| {
            api.start_outage(Outage::Refused);
            std::thread::sleep(WHILE);
        }),
    ];
    for (number, (fault, act)) in faults.iter().enumerate() {
        act();
        change(number);
        if *fault == "outage" {
            api.end_outage().expect("up");
        }
        eprintln!("{fault}");
        followed.converges(&api).await;
    }
    api.miss_changes(|_| change(faults.len()));
    followed.converges(&api).await;
    api.restart(Restart::RolledBack(backup)).expect("up");
    followed.converges(&api).await;
}
