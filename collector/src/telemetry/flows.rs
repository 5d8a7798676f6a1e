//! Metrics of flows, denials and losses, fed with every record.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use weir_flow::{Counts, Direction, Item, LossRecord, Record, RecordKind, Rule, Verdict};

/// The most series of one metric that carries pod or policy names; further ones are counted as `other`.
const MAX_SERIES: usize = 4000;

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
    counted: HashMap<u64, (u64, u64), foldhash::fast::RandomState>,
    denial_series: usize,
    rule_series: usize,
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
            counted: HashMap::default(),
            denial_series: 0,
            rule_series: 0,
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
            let labels = FlowLabels {
                verdict: verdict(record.verdict),
                direction: direction(record.direction),
                reason: record.reason.as_str(),
            };
            self.flows.get_or_create(&labels).inc();
            self.rule(record);
        }
        if record.verdict != Verdict::Forwarded {
            self.denied(record);
        }
        if record.kind == RecordKind::Ended {
            self.counted.remove(&record.id.serial);
        }
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
        let labels = RuleLabels {
            direction: self::direction(*direction),
            policy: format!("{}/{}", policy.namespace, policy.name),
            rule: *index,
        };
        if let Some(counter) = self.rule_flows.get(&labels) {
            counter.inc();
        } else if self.rule_series < MAX_SERIES {
            self.rule_series += 1;
            self.rule_flows.get_or_create(&labels).inc();
        } else {
            self.rule_flows
                .get_or_create(&RuleLabels {
                    policy: "other".into(),
                    rule: 0,
                    ..labels
                })
                .inc();
        }
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
        let labels = self.denial_labels(record);
        self.denied_packets
            .get_or_create(&labels)
            .inc_by(now.0.saturating_sub(before.0));
        self.denied_bytes
            .get_or_create(&labels)
            .inc_by(now.1.saturating_sub(before.1));
    }

    fn denial_labels(&mut self, record: &Record) -> DenialLabels {
        let policies: Vec<String> = record
            .isolated_by
            .iter()
            .map(|policy| format!("{}/{}", policy.namespace, policy.name))
            .collect();
        let workload = record.local.workload.as_ref().map_or_else(
            || record.local.name.to_string(),
            |workload| workload.name.to_string(),
        );
        let labels = DenialLabels {
            direction: direction(record.direction),
            reason: record.reason.as_str(),
            namespace: record.local.namespace.to_string(),
            workload,
            policy: policies.join(","),
        };
        if self.denied_packets.get(&labels).is_some() {
            return labels;
        }
        if self.denial_series < MAX_SERIES {
            self.denial_series += 1;
            return labels;
        }
        DenialLabels {
            namespace: "other".into(),
            workload: "other".into(),
            policy: "other".into(),
            ..labels
        }
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
