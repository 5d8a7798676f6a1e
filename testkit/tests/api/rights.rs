//! RBAC, as the real client meets it.

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::{
    Api,
    api::{ListParams, PostParams, WatchParams},
};
use weir_testkit::api::{ApiServer, RefusedRequest, Resource, Rights, Verb};

use crate::support::{client, client_with, code, new_pod, pod};

const ROLES: &str = r#"
apiVersion: v1
kind: ServiceAccount
metadata: {name: watcher, namespace: weir}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: watcher}
rules:
- {apiGroups: [""], resources: [pods], verbs: [list, watch]}
- {apiGroups: [""], resources: [services], resourceNames: [dns], verbs: [get, list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: watcher}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: watcher}
subjects: [{kind: ServiceAccount, name: watcher, namespace: weir}]
"#;

#[tokio::test]
async fn a_token_may_do_what_its_roles_say_and_nothing_else() {
    let api = ApiServer::start().unwrap();
    api.apply(pod("a", "web")).unwrap();
    let rights = Rights::of_service_account("weir", "watcher", ROLES).unwrap();
    api.authorize("secret", rights);
    let known = client_with(&api, Some("secret")).await;
    let pods = Api::<Pod>::all(known.clone());
    assert_eq!(
        pods.list(&ListParams::default()).await.unwrap().items.len(),
        1
    );
    let mut events = pods
        .watch(&WatchParams::default(), "0")
        .await
        .unwrap()
        .boxed();
    assert!(events.next().await.unwrap().is_ok());
    assert_eq!(api.stats().refused_total(), 0);

    let here = Api::<Pod>::namespaced(known.clone(), "shop");
    let error = here
        .create(&PostParams::default(), &new_pod("b"))
        .await
        .unwrap_err();
    let kube::Error::Api(status) = error else {
        panic!("{error}");
    };
    assert_eq!((status.code, status.reason.as_str()), (403, "Forbidden"));
    assert_eq!(
        status.message,
        "pods is forbidden: User \"system:serviceaccount:weir:watcher\" cannot create resource \"pods\" in API group \"\" in the namespace \"shop\""
    );
    let refused = RefusedRequest {
        user: "system:serviceaccount:weir:watcher".to_owned(),
        verb: Verb::Create,
        resource: Resource::Pods,
        namespace: "shop".to_owned(),
    };
    assert_eq!(api.stats().refused().collect::<Vec<_>>(), [&refused]);
    known.apiserver_version().await.unwrap();
}

#[tokio::test]
async fn a_list_of_one_name_is_allowed_by_that_name() {
    let api = ApiServer::start().unwrap();
    api.authorize("secret", Rights::of_roles("tester", ROLES).unwrap());
    let services = Api::<Service>::all(client_with(&api, Some("secret")).await);
    let one = ListParams::default().fields("metadata.name=dns");
    services.list(&one).await.unwrap();
    assert_eq!(code(services.list(&ListParams::default()).await), 403);
    let other = ListParams::default().fields("metadata.name=web");
    assert_eq!(code(services.list(&other).await), 403);
}

#[tokio::test]
async fn who_has_no_token_is_forbidden_and_who_has_an_unknown_one_is_unauthorized() {
    let api = ApiServer::start().unwrap();
    let list = async |client| Api::<Pod>::all(client).list(&ListParams::default()).await;
    list(client_with(&api, Some("any")).await).await.unwrap();
    api.authorize("secret", Rights::of_roles("tester", ROLES).unwrap());
    assert_eq!(code(list(client(&api).await).await), 403);
    assert_eq!(code(list(client_with(&api, Some("any")).await).await), 401);
    list(client_with(&api, Some("secret")).await).await.unwrap();
}
