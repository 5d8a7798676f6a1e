//! Services and EndpointSlices.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    LoadBalancerIngress, LoadBalancerStatus, Service, ServicePort, ServiceSpec, ServiceStatus,
};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::objects::{PORT_NAMES, PORTS, labels};
use super::{named, percent};
use crate::naive::Object;

pub(super) fn service() -> BoxedStrategy<Object> {
    let types = vec![
        None,
        Some("ClusterIP"),
        Some("NodePort"),
        Some("LoadBalancer"),
        Some("ExternalName"),
    ];
    let ips = subsequence(vec!["10.96.0.1", "10.96.0.2", "fd96::1"], 0..=2);
    let ips = prop_oneof![4 => ips, 1 => Just(vec!["None"])];
    let external = prop::option::weighted(0.2, Just("203.0.113.9"));
    let all = (
        named(&["s", "t"]),
        (select(types), ips, external, percent(30)),
        labels(),
        (service_port(0), service_port(1), percent(40)),
    );
    all.prop_map(
        |(metadata, (kind, ips, external, balanced), selector, ports)| {
            let mut ports = match ports {
                (one, two, true) => vec![one, two],
                (one, _, false) => vec![one],
            };
            if ports.len() == 1 {
                ports[0].name = None;
            }
            if !matches!(kind, Some("NodePort" | "LoadBalancer")) {
                ports.iter_mut().for_each(|port| port.node_port = None);
            }
            let spec = ServiceSpec {
                type_: kind.map(str::to_owned),
                cluster_ips: Some(ips.into_iter().map(str::to_owned).collect()),
                external_ips: external.map(|ip| vec![ip.to_owned()]),
                selector,
                ports: Some(ports),
                ..ServiceSpec::default()
            };
            let ingress = LoadBalancerIngress {
                ip: Some("203.0.113.7".to_owned()),
                ..LoadBalancerIngress::default()
            };
            let status = ServiceStatus {
                load_balancer: Some(LoadBalancerStatus {
                    ingress: Some(vec![ingress]),
                }),
                ..ServiceStatus::default()
            };
            Object::Service(Box::new(Service {
                metadata,
                spec: Some(spec),
                status: balanced.then_some(status),
            }))
        },
    )
    .boxed()
}

/// The first or the second port of a Service; their numbers differ.
fn service_port(index: u16) -> impl Strategy<Value = ServicePort> {
    let number = select(&PORTS[..]).prop_map(|port| IntOrString::Int(i32::from(port)));
    let name = select(&PORT_NAMES[..]).prop_map(|name| IntOrString::String(name.to_owned()));
    let target = prop::option::weighted(0.8, prop_oneof![2 => number, 1 => name]);
    (protocol(), target, percent(80)).prop_map(move |(protocol, target_port, on_nodes)| {
        ServicePort {
            name: Some(["one", "two"][usize::from(index)].to_owned()),
            protocol,
            port: i32::from(80 + index),
            target_port,
            node_port: on_nodes.then_some(i32::from(30080 + index)),
            ..ServicePort::default()
        }
    })
}

pub(super) fn slice() -> BoxedStrategy<Object> {
    let service = prop::option::weighted(0.9, select(vec!["s", "t"]));
    let v4 = vec![
        "10.0.0.1",
        "10.0.0.2",
        "10.0.0.3",
        "192.168.0.1",
        "203.0.113.1",
    ];
    let v6 = vec!["fd00::1", "fd00::2", "2001:db8::1"];
    let family = select(vec![("IPv4", v4), ("IPv6", v6)]).prop_flat_map(|(family, addresses)| {
        let endpoint = (select(addresses), conditions());
        let endpoint = endpoint.prop_map(|(address, conditions)| Endpoint {
            addresses: vec![address.to_owned()],
            conditions,
            ..Endpoint::default()
        });
        (Just(family), prop::collection::vec(endpoint, 0..5))
    });
    let port = |name: Option<&'static str>| {
        let number = prop::option::weighted(0.9, select(&PORTS[..]));
        (protocol(), number).prop_map(move |(protocol, port)| EndpointPort {
            name: name.map(str::to_owned),
            protocol,
            port: port.map(i32::from),
            ..EndpointPort::default()
        })
    };
    let ports = (port(None), port(Some("one")), port(Some("two")), 1usize..4);
    let ports = ports.prop_map(|(a, b, c, count)| vec![a, b, c].split_off(3 - count));
    let all = (named(&["e", "f", "g"]), service, family, ports);
    all.prop_map(|(metadata, service, (family, endpoints), ports)| {
        let label = |service: &str| ("kubernetes.io/service-name".to_owned(), service.to_owned());
        let metadata = ObjectMeta {
            labels: service.map(|service| BTreeMap::from([label(service)])),
            ..metadata
        };
        Object::EndpointSlice(Box::new(EndpointSlice {
            metadata,
            address_type: family.to_owned(),
            endpoints: Some(endpoints),
            ports: Some(ports),
        }))
    })
    .boxed()
}

/// Mostly TCP, so that a slice's ports are those of its Service.
fn protocol() -> impl Strategy<Value = Option<String>> {
    prop_oneof![6 => Just(None), 1 => super::protocol()]
}

fn conditions() -> impl Strategy<Value = Option<EndpointConditions>> {
    let flag = || select(vec![None, Some(true), Some(false)]);
    let some =
        (flag(), flag(), flag()).prop_map(|(ready, serving, terminating)| EndpointConditions {
            ready,
            serving,
            terminating,
        });
    prop::option::weighted(0.4, some)
}
