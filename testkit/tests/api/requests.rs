//! Lists, single objects, changes, discovery.

use k8s_openapi::api::{
    core::v1::{Namespace, Node, Pod},
    events::v1::Event,
    networking::v1::NetworkPolicy,
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    core::Request,
    discovery::Discovery,
};
use serde_json::{Value, json};
use weir_testkit::{
    ClusterSpec, ManifestDir, Topology,
    api::{ApiServer, Resource, Verb},
};

use crate::{
    common,
    support::{client, code, names, namespace, new_pod, node, pod},
};

#[tokio::test]
async fn the_pages_of_a_list_belong_together_whatever_changes_between_them() {
    let api = ApiServer::start().unwrap();
    for name in ["a", "b", "c", "d", "e"] {
        api.apply(pod(name, "web")).unwrap();
    }
    let pods = Api::<Pod>::all(client(&api).await);
    let two = ListParams::default().limit(2);
    let first = pods.list(&two).await.unwrap();
    assert_eq!(names(&first.items), ["a", "b"]);
    assert_eq!(first.metadata.remaining_item_count, Some(3));
    api.delete(Resource::Pods, "shop", "c").unwrap();
    let more = |token: &Option<String>| two.clone().continue_token(token.as_deref().unwrap());
    let second = pods.list(&more(&first.metadata.continue_)).await.unwrap();
    assert_eq!(names(&second.items), ["c", "d"]);
    assert_eq!(
        second.metadata.resource_version,
        first.metadata.resource_version
    );
    let third = pods.list(&more(&second.metadata.continue_)).await.unwrap();
    assert_eq!(names(&third.items), ["e"]);
    assert_eq!(third.metadata.continue_, None);
    api.compact();
    let late = pods.list(&more(&first.metadata.continue_)).await;
    assert_eq!(code(late), 410);
}

#[tokio::test]
async fn items_of_a_list_have_no_type_of_their_own() {
    let api = ApiServer::start().unwrap();
    api.apply(pod("a", "web")).unwrap();
    let request = Request::new("/api/v1/namespaces/shop/pods");
    let request = request.list(&ListParams::default()).unwrap();
    let list: Value = client(&api).await.request(request).await.unwrap();
    assert_eq!(list["kind"], "PodList");
    assert_eq!(list["items"][0]["metadata"]["name"], "a");
    assert_eq!(list["items"][0].get("kind"), None);
}

#[tokio::test]
async fn lists_are_selected_by_label_field_and_namespace() {
    let api = ApiServer::start().unwrap();
    api.apply(pod("a", "web")).unwrap();
    let mut b = pod("b", "db");
    b["spec"]["nodeName"] = "node-2".into();
    api.apply(b).unwrap();
    let client = client(&api).await;
    let pods = Api::<Pod>::namespaced(client.clone(), "shop");
    let list = async |params: ListParams| names(&pods.list(&params).await.unwrap().items);
    assert_eq!(
        list(ListParams::default().labels("app in (web,x)")).await,
        ["a"]
    );
    assert_eq!(
        list(ListParams::default().fields("spec.nodeName=node-2")).await,
        ["b"]
    );
    assert_eq!(
        list(ListParams::default().fields("metadata.name=a")).await,
        ["a"]
    );
    let elsewhere = Api::<Pod>::namespaced(client, "bar");
    assert!(
        elsewhere
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
    let unknown = ListParams::default().fields("spec.color=red");
    assert_eq!(code(pods.list(&unknown).await), 400);
}

#[tokio::test]
async fn a_list_that_is_newer_than_the_server_is_refused() {
    let api = ApiServer::start().unwrap();
    let pods = Api::<Pod>::all(client(&api).await);
    let future = ListParams::default().at("99");
    assert_eq!(code(pods.list(&future).await), 504);
}

#[tokio::test]
async fn clients_create_replace_patch_and_delete() {
    let api = ApiServer::start().unwrap();
    let client = client(&api).await;
    let pods = Api::<Pod>::namespaced(client.clone(), "shop");
    let post = PostParams::default();
    assert_eq!(
        code(pods.create(&post, &new_pod("a")).await),
        404,
        "no namespace"
    );
    let namespaces = Api::<Namespace>::all(client);
    let shop = serde_json::from_value(namespace("shop")).unwrap();
    let shop = namespaces.create(&post, &shop).await.unwrap();
    assert_eq!(
        shop.metadata.labels.unwrap()["kubernetes.io/metadata.name"],
        "shop"
    );

    let first = pods.create(&post, &new_pod("a")).await.unwrap();
    assert!(first.metadata.uid.is_some() && first.metadata.creation_timestamp.is_some());
    assert_eq!(code(pods.create(&post, &new_pod("a")).await), 409);
    assert_eq!(
        code(pods.create(&post, &Pod::default()).await),
        422,
        "no name"
    );
    let merge = Patch::Merge(json!({"metadata": {"labels": {"app": "web"}}}));
    let second = pods
        .patch("a", &PatchParams::default(), &merge)
        .await
        .unwrap();
    assert_eq!(second.metadata.uid, first.metadata.uid);
    assert_ne!(
        second.metadata.resource_version,
        first.metadata.resource_version
    );
    assert_eq!(
        code(pods.replace("a", &post, &first).await),
        409,
        "out of date"
    );
    pods.replace("a", &post, &second).await.unwrap();
    let apply = Patch::Apply(new_pod("a"));
    let applied = pods.patch("a", &PatchParams::apply("test"), &apply).await;
    assert_eq!(code(applied), 415);
    assert_eq!(
        pods.get("a").await.unwrap().metadata.labels.unwrap()["app"],
        "web"
    );
    pods.delete("a", &DeleteParams::default()).await.unwrap();
    assert_eq!(code(pods.get("a").await), 404);
    assert_eq!(code(pods.delete("a", &DeleteParams::default()).await), 404);
    assert_eq!(api.get(Resource::Pods, "shop", "a"), None);
    assert_eq!(api.stats().requests(Verb::Create, Resource::Pods), 4);
}

#[tokio::test]
async fn an_event_about_an_object_is_created_once() {
    let api = ApiServer::start().unwrap();
    api.apply(namespace("shop")).unwrap();
    let events = Api::<Event>::namespaced(client(&api).await, "shop");
    let event: Event = serde_json::from_value(json!({
        "metadata": {"name": "p.1", "namespace": "shop"},
        "note": "refused",
        "reason": "Refused",
    }))
    .unwrap();
    events.create(&PostParams::default(), &event).await.unwrap();
    assert_eq!(
        code(events.create(&PostParams::default(), &event).await),
        409
    );
    assert_eq!(api.list(Resource::Events)[0]["note"], "refused");
}

#[tokio::test]
async fn clients_discover_what_there_is() {
    let api = ApiServer::start().unwrap();
    let client = client(&api).await;
    client.apiserver_version().await.unwrap();
    let found = Discovery::new(client).run().await.unwrap();
    let mut kinds = Vec::new();
    for group in found.groups() {
        let resources = group.recommended_resources();
        kinds.extend(
            resources
                .into_iter()
                .map(|(resource, _)| (resource.api_version, resource.plural)),
        );
    }
    for resource in Resource::ALL {
        let is_it = |found: &&(String, String)| {
            *found == &(resource.api_version(), resource.plural().to_owned())
        };
        assert_eq!(kinds.iter().filter(is_it).count(), 1, "{resource:?}");
    }
}

#[tokio::test]
async fn paths_and_methods_that_are_not_there_are_refused_by_a_status() {
    let api = ApiServer::start().unwrap();
    let client = client(&api).await;
    let get = |path: &str| axum::http::Request::get(path).body(Vec::new()).unwrap();
    let unknown = client.request::<Value>(get("/api/v1/configmaps")).await;
    assert_eq!(code(unknown), 404);
    let all = axum::http::Request::delete("/api/v1/pods")
        .body(Vec::new())
        .unwrap();
    assert_eq!(code(client.request::<Value>(all).await), 405);
    let ready = client.request_text(get("/readyz")).await.unwrap();
    assert_eq!(ready, "ok");
}

const POLICY: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p, namespace: shop}
spec: {podSelector: {}}
";

#[tokio::test]
async fn a_directory_of_manifests_is_applied_as_a_whole() {
    let api = ApiServer::start().unwrap();
    let dir = ManifestDir::new().unwrap();
    dir.put("1.yaml", &format!("{POLICY}---\n{}", namespace("shop")))
        .unwrap();
    dir.put(
        "2.yaml",
        &json!({"kind": "List", "items": [node("n"), pod("a", "web")]}).to_string(),
    )
    .unwrap();
    dir.put("notes.txt", "not a manifest").unwrap();
    assert_eq!(api.apply_manifest_dir(dir.path()).unwrap(), 4);
    let policies = Api::<NetworkPolicy>::all(client(&api).await);
    assert_eq!(
        names(&policies.list(&ListParams::default()).await.unwrap().items),
        ["p"]
    );

    dir.put("1.yaml", &POLICY.replace("name: p", "name: q"))
        .unwrap();
    dir.put(
        "3.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: s}\n",
    )
    .unwrap();
    let error = api.apply_manifest_dir(dir.path()).unwrap_err();
    assert_eq!(error.to_string(), "the API server has no v1 \"ConfigMap\"");
    assert_eq!(
        api.list(Resource::NetworkPolicies).len(),
        1,
        "nothing half applied"
    );
    dir.put("3.yaml", "a: b: c").unwrap();
    let error = api.apply_manifest_dir(dir.path()).unwrap_err().to_string();
    assert!(error.contains("3.yaml"), "{error}");
}

#[test]
fn replacing_all_deletes_what_is_not_there_any_more() {
    let api = ApiServer::start().unwrap();
    api.apply_yaml(&format!("{POLICY}---\n{}", node("n")))
        .unwrap();
    let kept = api.get(Resource::NetworkPolicies, "shop", "p");
    assert_eq!(api.replace_all(POLICY).unwrap(), 1);
    assert_eq!(api.list(Resource::Nodes), Vec::<Value>::new());
    assert_eq!(
        api.get(Resource::NetworkPolicies, "shop", "p"),
        kept,
        "unchanged"
    );
    assert!(api.delete(Resource::Nodes, "", "n").is_err());
}

#[test]
fn it_listens_in_other_network_namespaces_too() {
    let Some(cluster) = common::cluster(&ClusterSpec::uniform(Topology::Ptp, 1, 0)) else {
        return;
    };
    let api = ApiServer::start().unwrap();
    let netns = &cluster.node("node-1").unwrap().netns;
    let address = api.listen_in(netns).unwrap();
    let answers = || {
        let stream = std::net::TcpStream::connect(address);
        stream.is_ok()
    };
    assert!(netns.run(answers).unwrap());
    api.start_outage(weir_testkit::api::Outage::Refused);
    assert!(!netns.run(answers).unwrap());
    api.end_outage().unwrap();
    assert!(netns.run(answers).unwrap());
}

#[tokio::test]
async fn nodes_have_no_namespace() {
    let api = ApiServer::start().unwrap();
    api.apply(node("n")).unwrap();
    let nodes = Api::<Node>::all(client(&api).await);
    assert_eq!(nodes.get("n").await.unwrap().metadata.namespace, None);
}
