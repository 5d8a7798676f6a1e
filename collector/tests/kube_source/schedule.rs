//! Changes and faults at random.

use std::time::Duration;

use serde_json::{Value, json};
use weir_testkit::api::{
    ApiServer, Cut, Delivery, Outage, Resource, Restart, StreamedLists, WatchErrors,
};

use crate::kernel::{NUMBERS, PLACES, address};
use crate::support::{KINDS, NODE, namespace, pod, policy};

/// What changes in one round. Between kinds the API promises no order: two that change together may be seen together as
/// they never were.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Changing {
    Policies,
    Pods,
    Namespaces,
}

impl Changing {
    /// In the order of rounds.
    pub(crate) fn of(round: usize) -> Self {
        [Self::Policies, Self::Pods, Self::Policies, Self::Namespaces][round % 4]
    }
}

pub(crate) struct Schedule<'a> {
    pub(crate) api: &'a ApiServer,
    pub(crate) random: fastrand::Rng,
}

impl Schedule<'_> {
    /// The first state: all pods, and a few policies.
    pub(crate) fn begin(&mut self) {
        for place in PLACES {
            self.api.apply(namespace(place, "0")).expect("applied");
        }
        for number in 0..NUMBERS {
            for place in 0..PLACES.len() {
                self.put_pod(place, number);
            }
        }
        (0..6).for_each(|_| self.change(Changing::Policies, || {}));
    }

    /// `applied` is called after each object that is changed.
    pub(crate) fn change(&mut self, what: Changing, mut applied: impl FnMut()) {
        let (place, number) = (
            self.random.usize(..PLACES.len()),
            self.random.usize(..NUMBERS),
        );
        let name = format!("o{number}");
        match what {
            Changing::Policies if self.random.usize(..4) == 0 => {
                // Perhaps there is none.
                self.api
                    .delete(Resource::NetworkPolicies, PLACES[place], &name)
                    .ok();
            }
            Changing::Policies if self.random.bool() => self.take_over(PLACES[place], &mut applied),
            Changing::Policies => {
                let policy = self.policy(PLACES[place], &name);
                self.api.apply(policy).expect("applied");
            }
            Changing::Pods if self.random.usize(..4) == 0 => {
                // Perhaps there is none.
                self.api.delete(Resource::Pods, PLACES[place], &name).ok();
            }
            Changing::Pods => self.put_pod(place, number),
            Changing::Namespaces => {
                let label = self.random.usize(..3).to_string();
                self.api
                    .apply(namespace(PLACES[place], &label))
                    .expect("applied");
            }
        }
        applied();
    }

    pub(crate) fn fault(&mut self) {
        let cuts = [
            Cut::BetweenLines,
            Cut::InsideLine,
            Cut::InsideLineAsIfComplete,
        ];
        let cut = cuts[self.random.usize(..3)];
        let resource = KINDS[self.random.usize(..6)].1;
        match self.random.usize(..15) {
            0 => self.api.cut_watches(cut),
            1 => self.api.cut_watches_at_next_event(cut),
            2 => self.api.expire_watches(),
            3 => self.api.compact(),
            4 => self.api.hold(resource),
            5 => self.release(),
            6 => self.api.restart(Restart::Unharmed).expect("up"),
            7 => self.api.restart(Restart::HistoryLost).expect("up"),
            8 => self.api.start_outage(Outage::Refused),
            9 => self.api.start_outage(Outage::Unavailable),
            10 | 11 => self.api.end_outage().expect("up"),
            12 => {
                let lists = [StreamedLists::Supported, StreamedLists::Refused];
                let errors = [WatchErrors::AsEvent, WatchErrors::AsStatus];
                let (lists, errors) = (
                    lists[self.random.usize(..2)],
                    errors[self.random.usize(..2)],
                );
                self.api.configure(|settings| {
                    settings.streamed_lists = lists;
                    settings.watch_errors = errors;
                });
            }
            13 => {
                // Slow enough for a list to come in several batches.
                let delay = Duration::from_millis([0, 20, 40][self.random.usize(..3)]);
                self.api.configure(|settings| settings.event_delay = delay);
            }
            _ => {
                let delivery = [Delivery::Once, Delivery::Twice][self.random.usize(..2)];
                self.api.configure(|settings| settings.delivery = delivery);
            }
        }
    }

    /// Ends what goes on failing by itself, and has the last change of each kind be one that there never was: who knows it
    /// knows all before it too.
    pub(crate) fn repair(&self, round: usize) {
        self.release();
        self.api.end_outage().expect("up");
        let label = format!("round-{round}");
        let mut pod = pod("marker", "m", "node-2", "10.0.9.9");
        pod["metadata"]["labels"]["tier"] = label.clone().into();
        let mut policy = policy("marker", "m", &["Ingress"]);
        policy["spec"]["podSelector"] = json!({"matchLabels": {"app": label}});
        for object in [namespace("marker", &label), pod, policy] {
            self.api.apply(object).expect("applied");
        }
    }

    fn release(&self) {
        KINDS
            .iter()
            .for_each(|(_, resource)| self.api.release(*resource));
    }

    /// Another policy says what one said, and that one says something else: what isolates a pod is always there.
    fn take_over(&mut self, place: &str, applied: &mut impl FnMut()) {
        let all = self.api.list(Resource::NetworkPolicies);
        let is_here = |policy: &&Value| policy["metadata"]["namespace"] == place;
        let here: Vec<&Value> = all.iter().filter(is_here).collect();
        let Some(policy) = self.random.choice(here) else {
            return;
        };
        let name = format!("o{}", self.random.usize(..NUMBERS));
        let (old, spec) = (policy["metadata"]["name"].clone(), policy["spec"].clone());
        let copy = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": name, "namespace": place}, "spec": spec});
        self.api.apply(copy).expect("applied");
        applied();
        let other = self.policy(place, old.as_str().unwrap_or_default());
        self.api.apply(other).expect("applied");
    }

    fn put_pod(&mut self, place: usize, number: usize) {
        let node = if number < NUMBERS - 1 { NODE } else { "node-2" };
        let address = address(place, number).to_string();
        let mut pod = pod(PLACES[place], &format!("o{number}"), node, &address);
        pod["metadata"]["labels"]["tier"] = self.random.usize(..2).to_string().into();
        self.api.apply(pod).expect("applied");
    }

    fn policy(&mut self, namespace: &str, name: &str) -> Value {
        let types = [&["Ingress"][..], &["Egress"], &["Ingress", "Egress"]];
        let types = types[self.random.usize(..3)];
        let selector = self.selector();
        let ingress: Vec<Value> = (0..self.random.usize(..3))
            .map(|_| self.rule("from"))
            .collect();
        let egress: Vec<Value> = (0..self.random.usize(..3))
            .map(|_| self.rule("to"))
            .collect();
        let mut spec = json!({"podSelector": selector, "policyTypes": types});
        for (direction, field, rules) in [
            ("Ingress", "ingress", ingress),
            ("Egress", "egress", egress),
        ] {
            if types.contains(&direction) {
                spec[field] = rules.into();
            }
        }
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": name, "namespace": namespace}, "spec": spec})
    }

    fn selector(&mut self) -> Value {
        match self.random.usize(..4) {
            0 => json!({}),
            1 => json!({"matchLabels": {"tier": self.random.usize(..2).to_string()}}),
            _ => json!({"matchLabels": {"app": format!("o{}", self.random.usize(..NUMBERS))}}),
        }
    }

    fn rule(&mut self, side: &str) -> Value {
        let peer = match self.random.usize(..4) {
            0 => json!({"ipBlock": {"cidr": "8.8.8.0/24"}}),
            1 => json!({"podSelector": self.selector()}),
            _ => {
                let label = self.random.usize(..3).to_string();
                json!({"namespaceSelector": {"matchLabels": {"l": label}}, "podSelector": self.selector()})
            }
        };
        match self.random.bool() {
            true => json!({ side: [peer] }),
            false => json!({ side: [peer], "ports": [{"port": 80}] }),
        }
    }
}
