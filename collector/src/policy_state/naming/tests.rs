//! Names follow the cluster.

use super::*;

const CLUSTER: &str = r"
apiVersion: v1
kind: Pod
metadata:
  name: web-5d4f8-x
  namespace: shop
  labels: {app: web, app-tier: front, pod-template-hash: 5d4f8}
  ownerReferences:
  - {apiVersion: apps/v1, kind: ReplicaSet, name: web-5d4f8, uid: u, controller: true}
spec: {nodeName: node-1, containers: [{name: main}]}
status: {podIPs: [{ip: 10.0.0.5}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {type: NodePort, clusterIPs: [10.96.0.1], ports: [{port: 80, nodePort: 30080}]}
---
apiVersion: v1
kind: Node
metadata: {name: node-2}
status: {addresses: [{type: InternalIP, address: 192.168.0.2}]}
";

fn named() -> (Naming, Arc<Names>) {
    let names = Arc::new(Names::default());
    let loaded = weir_policy::manifest::load([("test", CLUSTER)]);
    assert!(!loaded.has_errors(), "{:?}", loaded.diagnostics);
    let mut naming = Naming::new(names.clone(), "node-1".into());
    let own = BTreeSet::from(["192.168.0.1".parse().unwrap()]);
    naming.own(&own, Timestamp(1));
    for object in loaded.cluster.objects() {
        naming.change(None, Some(&object), Timestamp(1));
    }
    (naming, names)
}

fn at(names: &Names, address: &str) -> Arc<Endpoint> {
    names
        .read()
        .address(address.parse().unwrap(), Timestamp(2))
        .clone()
}

#[test]
fn pods_nodes_services_and_this_node_have_names() {
    let (_, names) = named();
    let pod = at(&names, "10.0.0.5");
    assert_eq!((pod.kind, &*pod.name), (EndpointKind::Pod, "web-5d4f8-x"));
    assert_eq!(at(&names, "10.96.0.1").kind, EndpointKind::Service);
    assert_eq!(at(&names, "192.168.0.2").kind, EndpointKind::RemoteNode);
    let host = at(&names, "192.168.0.1");
    assert_eq!((host.kind, &*host.name), (EndpointKind::Host, "node-1"));
    assert_eq!(at(&names, "8.8.8.8").kind, EndpointKind::World);
    let lookup = names.read();
    let service = lookup.service("10.96.0.1".parse().unwrap(), 6, 80);
    assert_eq!(&*service.expect("front end").name, "web");
    for node in ["192.168.0.1", "192.168.0.2"] {
        let service = lookup.service(node.parse().unwrap(), 6, 30080);
        assert_eq!(&*service.expect("node port").name, "web");
    }
    assert!(
        lookup
            .service("10.0.0.5".parse().unwrap(), 6, 30080)
            .is_none()
    );
}

#[test]
fn labels_are_sorted_and_a_deployment_stands_for_its_replica_set() {
    let (_, names) = named();
    let pod = at(&names, "10.0.0.5");
    let labels: Vec<&str> = pod.labels.iter().map(|label| &**label).collect();
    assert_eq!(
        labels,
        ["app-tier=front", "app=web", "pod-template-hash=5d4f8"]
    );
    let workload = pod.workload.as_ref().expect("workload");
    assert_eq!((&*workload.kind, &*workload.name), ("Deployment", "web"));
}

#[test]
fn what_leaves_the_cluster_loses_its_name_from_then_on() {
    let (mut naming, names) = named();
    let loaded = weir_policy::manifest::load([("test", CLUSTER)]);
    for object in loaded.cluster.objects() {
        naming.change(Some(&object), None, Timestamp(5));
    }
    assert!(naming.label_sets.is_empty());
    let address = "10.0.0.5".parse().unwrap();
    assert_eq!(
        names.read().address(address, Timestamp(6)).kind,
        EndpointKind::World
    );
    assert_eq!(
        names.read().address(address, Timestamp(4)).kind,
        EndpointKind::Pod
    );
    assert!(
        names
            .read()
            .service("10.96.0.1".parse().unwrap(), 6, 80)
            .is_none()
    );
}

#[test]
fn a_pod_that_changes_keeps_its_address_and_one_that_ends_leaves_it_to_its_successor() {
    let (mut naming, names) = named();
    let loaded = weir_policy::manifest::load([("test", CLUSTER)]);
    let old = loaded.cluster.pods.values().next().unwrap();
    let terminating = Object::Pod(Arc::new(Pod {
        terminating: true,
        ..Pod::clone(old)
    }));
    let old = Object::Pod(old.clone());
    naming.change(Some(&old), Some(&terminating), Timestamp(3));
    assert_eq!(&*at(&names, "10.0.0.5").name, "web-5d4f8-x");
    let next = match &old {
        Object::Pod(pod) => Object::Pod(Arc::new(Pod {
            name: Name::new("shop", "next"),
            ..Pod::clone(pod)
        })),
        _ => unreachable!("a pod"),
    };
    naming.change(None, Some(&next), Timestamp(4));
    let address = "10.0.0.5".parse().unwrap();
    let now = |names: &Names| names.read().address(address, Timestamp(9)).clone();
    assert_eq!(&*now(&names).name, "next");
    naming.change(Some(&terminating), None, Timestamp(5));
    assert_eq!(&*now(&names).name, "next");
    naming.change(Some(&next), None, Timestamp(6));
    assert_eq!(now(&names).kind, EndpointKind::World);
}
