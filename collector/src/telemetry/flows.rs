//! Metrics of flows, denials and losses, fed with every record.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use weir_flow::{
    Counts, Direction, Endpoint, Item, LossRecord, PolicyRef, Reason, Record, RecordKind, Rule,
    Verdict,
};

/// The most series of one metric that carries pod or policy names; further ones are counted as `other`.
const MAX_SERIES: usize = 4000;
/// The most combinations whose counters are at hand; when they are more the collection of them begins anew.
const MAX_AT_HAND: usize = 65_536;

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FlowLabels {
    verdict: &'static str,
    direction: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DenialLabels {
    direction: &'static str,
    reason: &'static str,
    namespace: String,
    workload: String,
    /// The isolating policies, `namespace/name`, comma separated.
    policy: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LossLabels {
    place: &'static str,
}

/// Counters of flows, denied packets and losses.
pub struct FlowMetrics {
    flows: Family<FlowLabels, Counter>,
    denied_packets: Family<DenialLabels, Counter>,
    denied_bytes: Family<DenialLabels, Counter>,
    rule_flows: Family<RuleLabels, Counter>,
    lost_records: Family<LossLabels, Counter>,
    lost_packets: Family<LossLabels, Counter>,
    /// Dropped packets and bytes already counted, by flow serial: records are cumulative.
    counted: Map<u64, (u64, u64)>,
    denial_series: usize,
    rule_series: usize,
    at_hand: AtHand,
}

/// Counters by what records share, so that counting makes no labels.
#[derive(Default)]
struct AtHand {
    flows: Map<(Verdict, Direction, Reason), Counter>,
    rules: Map<Same<Rule>, Counter>,
    /// Packets, bytes.
    denials: Map<DenialKey, [Counter; 2]>,
}

type DenialKey = (Direction, Reason, Same<Endpoint>, Same<[PolicyRef]>);

/// A shared value that is equal to itself only.
struct Same<T: ?Sized>(Arc<T>);

impl<T: ?Sized> PartialEq for Same<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T: ?Sized> Eq for Same<T> {}

impl<T: ?Sized> Hash for Same<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).cast::<()>().hash(state);
    }
}

/// The counter at hand for `key`; else what `make` finds or makes.
fn counter<K: Eq + Hash, V: Clone>(at_hand: &mut Map<K, V>, key: K, make: impl FnOnce() -> V) -> V {
    if let Some(found) = at_hand.get(&key) {
        return found.clone();
    }
    if at_hand.len() >= MAX_AT_HAND {
        at_hand.clear();
    }
    let made = make();
    at_hand.insert(key, made.clone());
    made
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RuleLabels {
    direction: &'static str,
    policy: String,
    rule: u32,
}

impl FlowMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            flows: Family::default(),
            denied_packets: Family::default(),
            denied_bytes: Family::default(),
            rule_flows: Family::default(),
            lost_records: Family::default(),
            lost_packets: Family::default(),
            counted: Map::default(),
            denial_series: 0,
            rule_series: 0,
            at_hand: AtHand::default(),
        };
        registry.register(
            "flows",
            "Flows and kinds of denial that began",
            metrics.flows.clone(),
        );
        registry.register(
            "denied_packets",
            "Packets that were dropped, or would have been in audit mode",
            metrics.denied_packets.clone(),
        );
        registry.register(
            "denied_bytes",
            "Bytes of those packets, with the Ethernet header",
            metrics.denied_bytes.clone(),
        );
        registry.register(
            "rule_flows",
            "Flows that a policy rule allowed",
            metrics.rule_flows.clone(),
        );
        registry.register(
            "lost_records",
            "Records that could not be delivered",
            metrics.lost_records.clone(),
        );
        registry.register(
            "lost_packets",
            "Packets that belong to no record",
            metrics.lost_packets.clone(),
        );
        metrics
    }

    /// Counts one item.
    pub fn observe(&mut self, item: &Item) {
        match item {
            Item::Flow(record) => self.flow(record),
            Item::Loss(loss) => self.loss(loss),
        }
    }

    fn flow(&mut self, record: &Record) {
        if matches!(record.kind, RecordKind::Started)
            || (record.kind == RecordKind::Denial && !self.counted.contains_key(&record.id.serial))
        {
            self.begun(record);
            self.rule(record);
        }
        if record.verdict != Verdict::Forwarded {
            self.denied(record);
        }
        if record.kind == RecordKind::Ended {
            self.counted.remove(&record.id.serial);
        }
    }

    fn begun(&mut self, record: &Record) {
        let key = (record.verdict, record.direction, record.reason);
        let make = || {
            let labels = FlowLabels {
                verdict: verdict(record.verdict),
                direction: direction(record.direction),
                reason: record.reason.as_str(),
            };
            self.flows.get_or_create_owned(&labels)
        };
        counter(&mut self.at_hand.flows, key, make).inc();
    }

    fn rule(&mut self, record: &Record) {
        let Rule::Policy {
            policy,
            direction,
            index,
        } = &*record.rule
        else {
            return;
        };
        let (family, series) = (&self.rule_flows, &mut self.rule_series);
        let make = || {
            let labels = RuleLabels {
                direction: self::direction(*direction),
                policy: policy_name(policy),
                rule: *index,
            };
            let other = |labels| RuleLabels {
                policy: "other".into(),
                rule: 0,
                ..labels
            };
            let labels = admit(labels, family, series, other);
            family.get_or_create_owned(&labels)
        };
        counter(&mut self.at_hand.rules, Same(record.rule.clone()), make).inc();
    }

    fn denied(&mut self, record: &Record) {
        let now = refused(record);
        let before = match self.counted.entry(record.id.serial) {
            Entry::Occupied(mut seen) => std::mem::replace(seen.get_mut(), now),
            Entry::Vacant(new) => {
                new.insert(now);
                (0, 0)
            }
        };
        let key = (
            record.direction,
            record.reason,
            Same(record.local.clone()),
            Same(record.isolated_by.clone()),
        );
        let families = (&self.denied_packets, &self.denied_bytes);
        let series = &mut self.denial_series;
        let make = || {
            let other = |labels| DenialLabels {
                namespace: "other".into(),
                workload: "other".into(),
                policy: "other".into(),
                ..labels
            };
            let labels = admit(denial_labels(record), families.0, series, other);
            [families.0, families.1].map(|family| family.get_or_create_owned(&labels))
        };
        let [packets, bytes] = counter(&mut self.at_hand.denials, key, make);
        packets.inc_by(now.0.saturating_sub(before.0));
        bytes.inc_by(now.1.saturating_sub(before.1));
    }

    fn loss(&self, loss: &LossRecord) {
        let labels = LossLabels {
            place: loss.place.as_str(),
        };
        self.lost_records
            .get_or_create(&labels)
            .inc_by(loss.records);
        self.lost_packets
            .get_or_create(&labels)
            .inc_by(loss.packets);
    }
}

/// The labels, while they are those of a known series or there is room for one more; else what `other` makes of them.
fn admit<L: Clone + Eq + Hash>(
    labels: L,
    family: &Family<L, Counter>,
    series: &mut usize,
    other: impl FnOnce(L) -> L,
) -> L {
    if family.get(&labels).is_some() {
        return labels;
    }
    if *series < MAX_SERIES {
        *series += 1;
        return labels;
    }
    other(labels)
}

fn denial_labels(record: &Record) -> DenialLabels {
    let policies: Vec<String> = record.isolated_by.iter().map(policy_name).collect();
    let workload = record.local.workload.as_ref();
    DenialLabels {
        direction: direction(record.direction),
        reason: record.reason.as_str(),
        namespace: record.local.namespace.to_string(),
        workload: workload
            .map_or(&record.local.name, |workload| &workload.name)
            .to_string(),
        policy: policies.join(","),
    }
}

fn policy_name(policy: &PolicyRef) -> String {
    format!("{}/{}", policy.namespace, policy.name)
}

/// Packets and bytes of a denied record: the dropped ones, or in audit mode those that passed in its direction.
fn refused(record: &Record) -> (u64, u64) {
    let Counts {
        egress,
        ingress,
        egress_dropped,
        ingress_dropped,
    } = record.counts;
    let dropped = (
        egress_dropped.packets + ingress_dropped.packets,
        egress_dropped.bytes + ingress_dropped.bytes,
    );
    match (record.verdict, record.direction) {
        (Verdict::Audit, Direction::Egress) => (egress.packets, egress.bytes),
        (Verdict::Audit, Direction::Ingress) => (ingress.packets, ingress.bytes),
        (Verdict::Forwarded | Verdict::Dropped, _) => dropped,
    }
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Forwarded => "forwarded",
        Verdict::Dropped => "dropped",
        Verdict::Audit => "audit",
    }
}

fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    }
}
