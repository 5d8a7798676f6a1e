//! Small random clusters, changes and packets. The alphabets are tiny, so that things meet: names are used again,
//! addresses change hands, selectors match, blocks nest and cover pods.

mod objects;
mod packets;
mod policies;
mod services;

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use proptest::prelude::*;
use proptest::sample::select;
use weir_policy::compile::Change;
use weir_policy::model::{Kind, Name};

use crate::naive::{Object, Objects, View};

pub(crate) use packets::{Packet, packets, queries};
use policies::policy;

/// The node whose tables are compiled.
pub(crate) const NODE: &str = "n0";

const NAMESPACES: [&str; 3] = ["x", "y", "z"];

/// A cluster, and the addresses of the node's own interfaces.
#[derive(Clone, Default)]
pub(crate) struct State {
    pub(crate) objects: Objects,
    pub(crate) local: BTreeSet<IpAddr>,
}

/// One change of it.
#[derive(Clone)]
pub(crate) enum Step {
    Upsert(Object),
    Remove(Kind, Name),
    Local(BTreeSet<IpAddr>),
}

impl State {
    pub(crate) fn view(&self) -> View<'_> {
        View {
            objects: &self.objects,
            node: NODE,
            local: &self.local,
        }
    }

    pub(crate) fn apply(&mut self, step: Step) {
        match step {
            Step::Upsert(object) => self.objects.upsert(object),
            Step::Remove(kind, name) => self.objects.remove(kind, &name),
            Step::Local(addresses) => self.local = addresses,
        }
    }

    /// The changes that make it out of nothing.
    pub(crate) fn steps(&self) -> Vec<Step> {
        let objects = self.objects.clone();
        let pods = objects.pods.into_values().map(Box::new).map(Object::Pod);
        let nodes = objects.nodes.into_values().map(Box::new).map(Object::Node);
        let namespaces = objects.namespaces.into_values().map(Box::new);
        let services = objects.services.into_values().map(Box::new);
        let slices = objects.slices.into_values().map(Box::new);
        let policies = objects.policies.into_values().map(Box::new);
        (namespaces.map(Object::Namespace))
            .chain(nodes)
            .chain(pods)
            .chain(services.map(Object::Service))
            .chain(slices.map(Object::EndpointSlice))
            .chain(policies.map(Object::NetworkPolicy))
            .map(Step::Upsert)
            .chain([Step::Local(self.local.clone())])
            .collect()
    }
}

impl Step {
    /// As the compiler gets it, read from the API's JSON.
    pub(crate) fn change(&self) -> Change {
        match self {
            Self::Upsert(object) => Change::Upsert(object.read()),
            Self::Remove(kind, name) => Change::Remove(*kind, name.clone()),
            Self::Local(addresses) => Change::LocalAddresses(addresses.clone()),
        }
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.steps()).finish()
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Upsert(object) => write!(f, "{} {}", object.kind(), object.json()),
            Self::Remove(kind, name) => write!(f, "remove {kind} {name}"),
            Self::Local(addresses) => write!(f, "local {addresses:?}"),
        }
    }
}

/// A cluster of 3 to 8 pods and up to 6 policies.
pub(crate) fn state() -> impl Strategy<Value = State> {
    let vec = prop::collection::vec::<BoxedStrategy<Object>>;
    (
        vec(objects::namespace(), 0..4),
        vec(objects::node(), 1..4),
        vec(objects::pod(), 3..9),
        vec(policy(), 1..7),
        vec(services::service(), 0..5),
        vec(services::slice(), 0..6),
        objects::local(),
    )
        .prop_map(|(a, b, c, d, e, f, local)| {
            let mut state = State::default();
            let all = [a, b, c, d, e, f].into_iter().flatten();
            all.for_each(|object| state.objects.upsert(object));
            state.local = local;
            state
        })
}

/// A change of anything.
pub(crate) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        16 => object().prop_map(Step::Upsert),
        6 => object().prop_map(|object| Step::Remove(object.kind(), object.name())),
        1 => objects::local().prop_map(Step::Local),
    ]
}

fn object() -> impl Strategy<Value = Object> {
    prop_oneof![
        1 => objects::namespace(),
        1 => objects::node(),
        6 => objects::pod(),
        2 => services::service(),
        2 => services::slice(),
        6 => policy(),
    ]
}

/// `true` in so many of a hundred cases.
fn percent(of_hundred: u32) -> impl Strategy<Value = bool> {
    (0u32..100).prop_map(move |number| number >= 100 - of_hundred)
}

/// Metadata of an object of any namespace, mostly the first, named one of these.
fn named(names: &'static [&'static str]) -> impl Strategy<Value = ObjectMeta> {
    let namespace = prop_oneof![1 => Just("x"), 1 => select(&NAMESPACES[..])];
    (namespace, select(names)).prop_map(|(namespace, name)| ObjectMeta {
        namespace: Some(namespace.to_owned()),
        name: Some(name.to_owned()),
        ..ObjectMeta::default()
    })
}

fn protocol() -> impl Strategy<Value = Option<String>> {
    let protocols = [None, None, Some("TCP"), Some("UDP"), Some("SCTP")];
    select(protocols.to_vec()).prop_map(|protocol| protocol.map(str::to_owned))
}
