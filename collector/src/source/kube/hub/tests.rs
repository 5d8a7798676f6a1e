//! What is handed on, and when.

use proptest::prelude::*;
use serde_json::{Value, json};
use weir_policy::model::Cluster;

use super::*;

const NODE: &str = "node-1";

fn hub() -> Hub {
    Hub::new(NODE.into(), &[])
}

fn tell(hub: &mut Hub, kind: Kind, news: News) -> Option<Refused> {
    hub.take(Told { kind, news }, Instant::now())
}

fn list(hub: &mut Hub, kind: Kind, objects: impl IntoIterator<Item = Value>) {
    tell(hub, kind, News::ListBegins);
    for object in objects {
        tell(hub, kind, News::Listed(object));
    }
    tell(hub, kind, News::ListEnds);
}

/// A hub that has listed everything, with these policies, and has handed it on.
fn open(policies: impl IntoIterator<Item = Value>) -> Hub {
    let mut hub = hub();
    list_all(&mut hub, policies);
    hub.batch(Instant::now());
    hub
}

fn list_all(hub: &mut Hub, policies: impl IntoIterator<Item = Value>) {
    for resource in RESOURCES {
        match resource.kind {
            Kind::NetworkPolicy | Kind::Namespace => {}
            kind => list(hub, kind, []),
        }
    }
    list(hub, Kind::Namespace, [namespace(1)]);
    list(hub, Kind::NetworkPolicy, policies);
}

fn namespace(version: u64) -> Value {
    json!({"metadata": {"name": "shop", "uid": "ns", "resourceVersion": version.to_string()}})
}

fn policy(name: &str, version: u64, spec: &Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "shop", "uid": name,
        "resourceVersion": version.to_string()}, "spec": spec})
}

fn good(name: &str, version: u64) -> Value {
    policy(name, version, &json!({"podSelector": {}}))
}

fn bad(name: &str, version: u64) -> Value {
    policy(name, version, &json!({"podSelector": {}, "ingres": []}))
}

fn pod(name: &str, uid: &str, version: u64) -> Value {
    json!({"metadata": {"name": name, "namespace": "shop", "uid": uid,
        "resourceVersion": version.to_string()}, "spec": {"nodeName": NODE}})
}

fn answer(namespace: u64, policies: &[(&str, u64)], listed: u64) -> Option<Answer> {
    let name = |(name, version): &(&str, u64)| (Name::new("shop", *name), *version);
    Some(Answer {
        namespace: Some(namespace),
        policies: policies.iter().map(name).collect(),
        listed,
    })
}

/// Names of what is handed on: `+pod`, `-policy`.
fn handed_on(hub: &mut Hub) -> Vec<String> {
    if hub.waiting_since().is_none() {
        return Vec::new();
    }
    let changes = hub.batch(Instant::now()).changes;
    let mut texts: Vec<String> = changes
        .iter()
        .map(|change| {
            let sign = if change.object().is_some() { '+' } else { '-' };
            format!("{sign}{}", change.subject().1)
        })
        .collect();
    texts.sort();
    texts
}

#[test]
fn nothing_is_handed_on_before_all_first_lists_are_complete() {
    let mut hub = hub();
    for resource in RESOURCES {
        assert_eq!(hub.waiting_since(), None, "{}", resource.kind);
        let objects = match resource.kind {
            Kind::Namespace => vec![namespace(1)],
            Kind::NetworkPolicy => vec![good("p", 2)],
            Kind::Pod => vec![pod("a", "u", 3)],
            _ => vec![],
        };
        list(&mut hub, resource.kind, objects);
    }
    assert_eq!(handed_on(&mut hub), ["+shop", "+shop/a", "+shop/p"]);
}

#[test]
fn an_empty_cluster_is_a_first_state_too() {
    let mut hub = hub();
    for resource in RESOURCES {
        list(&mut hub, resource.kind, []);
    }
    assert!(hub.waiting_since().is_some());
    assert!(hub.batch(Instant::now()).changes.is_empty());
}

#[test]
fn a_list_removes_what_was_deleted_while_nobody_watched() {
    let mut hub = open([good("p", 2), good("q", 3)]);
    list(&mut hub, Kind::NetworkPolicy, [good("q", 3), good("r", 9)]);
    assert_eq!(handed_on(&mut hub), ["+shop/r", "-shop/p"]);
}

#[test]
fn a_list_takes_effect_as_a_whole() {
    let mut hub = open([good("p", 2), good("q", 3)]);
    let egress = json!({"podSelector": {}, "policyTypes": ["Egress"]});
    tell(&mut hub, Kind::NetworkPolicy, News::ListBegins);
    let changed = News::Listed(policy("p", 9, &egress));
    tell(&mut hub, Kind::NetworkPolicy, changed);
    assert_eq!(handed_on(&mut hub), Vec::<String>::new());
    // It breaks off and begins anew.
    list(
        &mut hub,
        Kind::NetworkPolicy,
        [policy("p", 9, &egress), good("r", 8)],
    );
    assert_eq!(handed_on(&mut hub), ["+shop/p", "+shop/r", "-shop/q"]);
}

#[test]
fn a_pod_waits_for_a_list_of_policies_to_end() {
    let mut hub = open([good("p", 2)]);
    tell(&mut hub, Kind::Pod, News::Changed(pod("a", "u", 7)));
    let questions = hub.questions(Instant::now());
    tell(&mut hub, Kind::NetworkPolicy, News::ListBegins);
    tell(&mut hub, Kind::NetworkPolicy, News::Listed(good("p", 2)));
    tell(&mut hub, Kind::NetworkPolicy, News::Listed(good("q", 6)));
    let answer = answer(1, &[("p", 2), ("q", 6)], 7);
    hub.answered(("shop", questions[0].1), answer, Instant::now());
    assert_eq!(handed_on(&mut hub), Vec::<String>::new());
    tell(&mut hub, Kind::NetworkPolicy, News::ListEnds);
    assert_eq!(handed_on(&mut hub), ["+shop/a", "+shop/q"]);
}

#[test]
fn a_list_that_breaks_off_removes_nothing() {
    let mut hub = open([good("p", 2), good("q", 3)]);
    tell(&mut hub, Kind::NetworkPolicy, News::ListBegins);
    tell(&mut hub, Kind::NetworkPolicy, News::Listed(good("p", 2)));
    list(&mut hub, Kind::NetworkPolicy, [good("p", 2), good("q", 3)]);
    assert_eq!(hub.waiting_since(), None);
}

#[test]
fn old_news_changes_nothing() {
    let mut hub = open([good("p", 5)]);
    let isolating = policy(
        "p",
        4,
        &json!({"podSelector": {}, "policyTypes": ["Egress"]}),
    );
    tell(&mut hub, Kind::NetworkPolicy, News::Changed(isolating));
    tell(&mut hub, Kind::NetworkPolicy, News::Deleted(good("p", 3)));
    assert_eq!(hub.waiting_since(), None);
    tell(&mut hub, Kind::NetworkPolicy, News::Deleted(good("p", 8)));
    tell(&mut hub, Kind::NetworkPolicy, News::Changed(good("p", 7)));
    assert_eq!(handed_on(&mut hub), ["-shop/p"]);
    tell(&mut hub, Kind::NetworkPolicy, News::Changed(good("p", 9)));
    assert_eq!(handed_on(&mut hub), ["+shop/p"]);
}

#[test]
fn a_list_of_a_restored_backup_is_believed_though_its_versions_are_old() {
    let mut hub = open([good("p", 500)]);
    let spec = json!({"podSelector": {}, "policyTypes": ["Egress"]});
    list(&mut hub, Kind::NetworkPolicy, [policy("p", 20, &spec)]);
    assert_eq!(handed_on(&mut hub), ["+shop/p"]);
    tell(&mut hub, Kind::NetworkPolicy, News::Changed(good("p", 21)));
    assert_eq!(handed_on(&mut hub), ["+shop/p"]);
}

#[test]
fn of_a_refused_policy_the_last_good_version_stays() {
    let mut hub = open([good("p", 2)]);
    let refused = tell(&mut hub, Kind::NetworkPolicy, News::Changed(bad("p", 3)));
    assert_eq!(refused.unwrap().remains, Remains::LastGood);
    let batch = hub.batch(Instant::now());
    assert!(batch.changes.is_empty());
    let text = batch.refused.unwrap();
    assert!(
        text.starts_with("NetworkPolicy shop/p: spec.ingres: unknown field"),
        "{text}"
    );
    list(&mut hub, Kind::NetworkPolicy, [bad("p", 3)]);
    assert_eq!(hub.waiting_since(), None, "said once, and not removed");
    tell(&mut hub, Kind::NetworkPolicy, News::Changed(good("p", 4)));
    assert_eq!(hub.batch(Instant::now()).refused, None);
    tell(&mut hub, Kind::NetworkPolicy, News::Changed(bad("p", 5)));
    tell(&mut hub, Kind::NetworkPolicy, News::Deleted(bad("p", 6)));
    let batch = hub.batch(Instant::now());
    assert_eq!((batch.changes.len(), batch.refused), (1, None));
}

#[test]
fn the_last_good_version_of_a_refused_policy_survives_a_restart() {
    let mut hub = open([good("p", 2), good("q", 3)]);
    tell(&mut hub, Kind::NetworkPolicy, News::Changed(bad("p", 4)));
    let kept: Vec<Value> = serde_json::from_str(hub.kept().unwrap()).unwrap();
    assert_eq!(hub.kept(), None, "said once");
    let mut next = Hub::new(NODE.into(), &kept);
    list_all(&mut next, [bad("p", 4), good("q", 3)]);
    assert_eq!(handed_on(&mut next), ["+shop", "+shop/p", "+shop/q"]);
    assert_eq!(next.kept().unwrap(), serde_json::to_string(&kept).unwrap());
    tell(&mut next, Kind::NetworkPolicy, News::Changed(good("p", 5)));
    assert_eq!(next.kept(), Some("[]"));
}

#[test]
fn another_policy_of_the_same_name_has_no_good_version_yet() {
    let mut hub = open([good("p", 2)]);
    let mut other = bad("p", 7);
    other["metadata"]["uid"] = json!("other");
    list(&mut hub, Kind::NetworkPolicy, [other]);
    assert_eq!(handed_on(&mut hub), ["-shop/p"]);
}

#[test]
fn a_policy_that_was_never_good_is_reported_and_has_no_effect() {
    let mut hub = open([]);
    let refused = tell(&mut hub, Kind::NetworkPolicy, News::Changed(bad("p", 3))).unwrap();
    assert_eq!(
        (refused.remains, refused.uid.as_str()),
        (Remains::Nothing, "p")
    );
    assert_eq!(handed_on(&mut hub), Vec::<String>::new());
}

#[test]
fn a_new_pod_of_this_node_waits_until_its_policies_are_known() {
    let mut hub = open([good("p", 2)]);
    tell(&mut hub, Kind::Pod, News::Changed(pod("a", "u", 9)));
    assert_eq!(hub.waiting_since(), None);
    let [(namespace, number)] = hub.questions(Instant::now()).try_into().unwrap();
    // There is a policy that the watch has not told of yet.
    let all = answer(1, &[("p", 2), ("q", 8)], 9);
    hub.answered((&namespace, number), all, Instant::now());
    assert_eq!(hub.waiting_since(), None);
    tell(&mut hub, Kind::NetworkPolicy, News::Changed(good("q", 8)));
    assert_eq!(handed_on(&mut hub), ["+shop/a", "+shop/q"], "in one batch");
    tell(&mut hub, Kind::Pod, News::Changed(pod("a", "u", 10)));
    assert_eq!(hub.held(), 0, "known pods do not wait");
}

#[test]
fn a_new_pod_waits_for_changed_deleted_and_refused_policies_too() {
    let mut hub = open([good("p", 2), good("q", 3), good("r", 4)]);
    tell(&mut hub, Kind::Pod, News::Changed(pod("a", "u", 20)));
    let [(namespace, number)] = hub.questions(Instant::now()).try_into().unwrap();
    let all = answer(15, &[("p", 12), ("r", 13)], 20);
    hub.answered((&namespace, number), all, Instant::now());
    let news = [
        (Kind::NetworkPolicy, News::Changed(bad("p", 12))),
        (Kind::NetworkPolicy, News::Changed(good("r", 13))),
        (Kind::NetworkPolicy, News::Deleted(good("q", 14))),
        (Kind::Namespace, News::Changed(self::namespace(15))),
    ];
    for (kind, news) in news {
        assert_eq!(hub.held(), 1);
        tell(&mut hub, kind, news);
    }
    assert_eq!(hub.held(), 0);
}

#[test]
fn an_answer_is_for_pods_that_came_before_the_question() {
    let mut hub = open([]);
    tell(&mut hub, Kind::Pod, News::Changed(pod("a", "u", 9)));
    let [(namespace, first)] = hub.questions(Instant::now()).try_into().unwrap();
    tell(&mut hub, Kind::Pod, News::Changed(pod("b", "v", 10)));
    assert_eq!(hub.questions(Instant::now()), []);
    hub.answered((&namespace, first), answer(1, &[], 9), Instant::now());
    assert_eq!(handed_on(&mut hub), ["+shop/a"]);
    let [(namespace, second)] = hub.questions(Instant::now()).try_into().unwrap();
    // The first question's answer, come once more, is none to the second one.
    hub.answered((&namespace, first), answer(1, &[], 9), Instant::now());
    assert_eq!(hub.held(), 1);
    hub.answered((&namespace, second), answer(1, &[], 10), Instant::now());
    assert_eq!(handed_on(&mut hub), ["+shop/b"]);
}

#[test]
fn without_an_answer_a_pod_waits_and_the_question_is_asked_again() {
    let mut hub = open([]);
    tell(&mut hub, Kind::Pod, News::Changed(pod("a", "u", 9)));
    let now = Instant::now();
    let [(namespace, number)] = hub.questions(now).try_into().unwrap();
    hub.answered((&namespace, number), None, now);
    assert_eq!((hub.held(), hub.questions(now)), (1, vec![]));
    let later = now + std::time::Duration::from_secs(60);
    assert_eq!(hub.questions(later).len(), 1);
}

#[test]
fn a_successor_of_the_same_name_does_not_inherit_what_was_programmed() {
    let mut hub = open([]);
    list(&mut hub, Kind::Pod, [pod("a", "first", 5)]);
    let [(namespace, number)] = hub.questions(Instant::now()).try_into().unwrap();
    hub.answered((&namespace, number), answer(1, &[], 5), Instant::now());
    assert_eq!(handed_on(&mut hub), ["+shop/a"]);
    list(&mut hub, Kind::Pod, [pod("a", "second", 9)]);
    assert_eq!(handed_on(&mut hub), ["-shop/a"]);
    assert_eq!(hub.held(), 1);
    tell(&mut hub, Kind::Pod, News::Deleted(pod("a", "second", 10)));
    assert_eq!(hub.held(), 0);
}

#[test]
fn pods_of_the_first_list_do_not_wait_and_those_after_it_do() {
    let mut hub = hub();
    list(&mut hub, Kind::Pod, [pod("a", "u", 5)]);
    tell(&mut hub, Kind::Pod, News::Changed(pod("b", "v", 6)));
    for kind in [
        Kind::Node,
        Kind::Service,
        Kind::EndpointSlice,
        Kind::Namespace,
    ] {
        list(&mut hub, kind, []);
    }
    list(&mut hub, Kind::NetworkPolicy, []);
    assert_eq!(handed_on(&mut hub), ["+shop/a"]);
    assert_eq!(hub.held(), 1);
}

#[test]
fn pods_of_other_nodes_and_of_the_hosts_network_do_not_wait() {
    let mut hub = open([]);
    let mut elsewhere = pod("a", "u", 5);
    elsewhere["spec"]["nodeName"] = json!("node-2");
    let mut host = pod("b", "v", 6);
    host["spec"]["hostNetwork"] = json!(true);
    tell(&mut hub, Kind::Pod, News::Changed(elsewhere));
    tell(&mut hub, Kind::Pod, News::Changed(host));
    assert_eq!(handed_on(&mut hub), ["+shop/a", "+shop/b"]);
}

/// What happens at the API server, and on the way from it.
#[derive(Clone, Debug)]
enum Step {
    Put(u8, bool),
    Delete(u8),
    /// The next events come, two of them in the wrong order perhaps, some twice.
    Deliver {
        count: usize,
        swap: bool,
        twice: bool,
    },
    /// The watch is cut and goes on from an event it had before.
    Resume(usize),
    /// The history is lost: everything is listed again, what was under way is not delivered.
    List,
    /// The list breaks off after so many objects.
    Broken(usize),
    HandOn,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u8..3, any::<bool>()).prop_map(|(name, egress)| Step::Put(name, egress)),
        2 => (0u8..3).prop_map(Step::Delete),
        5 => (1usize..4, any::<bool>(), any::<bool>())
            .prop_map(|(count, swap, twice)| Step::Deliver { count, swap, twice }),
        1 => (1usize..5).prop_map(Step::Resume),
        1 => Just(Step::List),
        1 => (0usize..4).prop_map(Step::Broken),
        3 => Just(Step::HandOn),
    ]
}

/// A server of policies, and how far a watch has got with it.
#[derive(Default)]
struct Server {
    objects: BTreeMap<String, Value>,
    history: Vec<(bool, Value)>,
    version: u64,
    delivered: usize,
    /// Since when each object has been there without a break, in versions.
    since: BTreeMap<String, u64>,
}

impl Server {
    fn put(&mut self, name: u8, egress: bool) {
        self.version += 1;
        let name = format!("p{name}");
        let types = if egress { "Egress" } else { "Ingress" };
        let object = policy(
            &name,
            self.version,
            &json!({"podSelector": {}, "policyTypes": [types]}),
        );
        self.since.entry(name.clone()).or_insert(self.version);
        self.objects.insert(name, object.clone());
        self.history.push((true, object));
    }

    fn delete(&mut self, name: u8) {
        let name = format!("p{name}");
        if let Some(mut object) = self.objects.remove(&name) {
            self.version += 1;
            object["metadata"]["resourceVersion"] = json!(self.version.to_string());
            self.since.remove(&name);
            self.history.push((false, object));
        }
    }

    fn deliver(&mut self, hub: &mut Hub, count: usize, swap: bool, twice: bool) {
        let end = (self.delivered + count).min(self.history.len());
        let mut events = self.history[self.delivered..end].to_vec();
        if swap && events.len() > 1 {
            events.swap(0, 1);
        }
        if twice {
            events.extend(events.clone());
        }
        for (there, object) in events {
            let news = if there {
                News::Changed(object)
            } else {
                News::Deleted(object)
            };
            tell(hub, Kind::NetworkPolicy, news);
        }
        self.delivered = end;
    }

    fn list(&mut self, hub: &mut Hub) {
        list(hub, Kind::NetworkPolicy, self.objects.values().cloned());
        self.delivered = self.history.len();
    }
}

fn hand_on(hub: &mut Hub, cluster: &mut Cluster) -> Vec<ObjectChange> {
    if hub.waiting_since().is_none() {
        return Vec::new();
    }
    let changes = hub.batch(Instant::now()).changes;
    changes
        .iter()
        .for_each(|change| cluster.apply(change.clone()));
    changes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn through_any_faults_what_is_handed_on_becomes_what_the_server_has(
        steps in prop::collection::vec(step(), 0..30),
    ) {
        let (mut server, mut hub, mut cluster) = (Server::default(), open([]), Cluster::default());
        let mut handed_on_at = 0;
        for step in steps {
            match step {
                Step::Put(name, egress) => server.put(name, egress),
                Step::Delete(name) => server.delete(name),
                Step::Deliver { count, swap, twice } => server.deliver(&mut hub, count, swap, twice),
                Step::Resume(back) => server.delivered = server.delivered.saturating_sub(back),
                Step::List => server.list(&mut hub),
                Step::Broken(count) => {
                    tell(&mut hub, Kind::NetworkPolicy, News::ListBegins);
                    for object in server.objects.values().take(count).cloned() {
                        tell(&mut hub, Kind::NetworkPolicy, News::Listed(object));
                    }
                    server.list(&mut hub);
                }
                Step::HandOn => {
                    for change in hand_on(&mut hub, &mut cluster) {
                        let (_, name) = change.subject();
                        // Enforcement never opens: what has been there all the time is not removed.
                        let since = server.since.get(&*name.name);
                        let stayed = since.is_some_and(|since| *since <= handed_on_at);
                        prop_assert!(change.object().is_some() || !stayed, "{name} was removed");
                    }
                    // What had been told by then.
                    handed_on_at = server.history.get(server.delivered.wrapping_sub(1))
                        .map_or(0, |(_, object)| super::super::index::version(object));
                }
            }
        }
        server.deliver(&mut hub, usize::MAX / 2, false, false);
        hand_on(&mut hub, &mut cluster);
        let mut expected = Cluster::default();
        for object in server.objects.values() {
            let object = weir_policy::manifest::from_json(Kind::NetworkPolicy, object).unwrap();
            expected.upsert(object);
        }
        prop_assert_eq!(cluster.policies, expected.policies);
    }
}
