//! A record batch to items. Endpoints, policies and texts are shared by all items of the batch.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{
    Array, BooleanArray, RecordBatch, TimestampNanosecondArray, UInt8Array, UInt16Array,
    UInt32Array, UInt64Array,
};

use super::build::LOSS;
use super::error::ColumnsError;
use super::sides::{LOCAL, REMOTE, Side};
use super::texts::{TextLists, Texts, column};
use crate::{
    Counts, Direction, EndReason, FlowId, Icmp, Item, LossPlace, LossRecord, Mode, PolicyRef,
    Reason, Record, RecordKind, Rule, ServiceRef, Tally, TcpFlags, Timestamp, Verdict,
};

/// Reads the rows of one batch.
#[derive(Debug)]
pub struct Rows<'a> {
    length: usize,
    record_kind: Texts<'a>,
    time: &'a TimestampNanosecondArray,
    node: Texts<'a>,
    flow_boot: &'a UInt64Array,
    flow_serial: &'a UInt64Array,
    record_number: &'a UInt32Array,
    first_seen: &'a TimestampNanosecondArray,
    last_seen: &'a TimestampNanosecondArray,
    direction: Texts<'a>,
    verdict: Texts<'a>,
    reason: Texts<'a>,
    mode: Texts<'a>,
    rules: Rules<'a>,
    isolation: Isolation<'a>,
    nearest_miss: Texts<'a>,
    revision: &'a UInt64Array,
    local: Side<'a>,
    remote: Side<'a>,
    services: Services<'a>,
    protocol: &'a UInt8Array,
    icmp_type: &'a UInt8Array,
    icmp_code: &'a UInt8Array,
    ethertype: &'a UInt16Array,
    counts: [Tallies<'a>; 4],
    egress_tcp_flags: &'a UInt8Array,
    ingress_tcp_flags: &'a UInt8Array,
    end_reason: Texts<'a>,
    source_nat_suspected: &'a BooleanArray,
    loss: Losses<'a>,
}

fn u64s<'a>(batch: &'a RecordBatch, name: &'static str) -> Result<&'a UInt64Array, ColumnsError> {
    column(batch, name, "UInt64")
}

fn u8s<'a>(batch: &'a RecordBatch, name: &'static str) -> Result<&'a UInt8Array, ColumnsError> {
    column(batch, name, "UInt8")
}

fn times<'a>(
    batch: &'a RecordBatch,
    name: &'static str,
) -> Result<&'a TimestampNanosecondArray, ColumnsError> {
    column(batch, name, "Timestamp(ns)")
}

impl<'a> Rows<'a> {
    /// Finds and checks the columns.
    pub fn new(batch: &'a RecordBatch) -> Result<Self, ColumnsError> {
        let texts = |name| Texts::new(batch, name);
        Ok(Self {
            length: batch.num_rows(),
            record_kind: texts("record_kind")?,
            time: times(batch, "time")?,
            node: texts("node")?,
            flow_boot: u64s(batch, "flow_boot")?,
            flow_serial: u64s(batch, "flow_serial")?,
            record_number: column(batch, "record_number", "UInt32")?,
            first_seen: times(batch, "first_seen")?,
            last_seen: times(batch, "last_seen")?,
            direction: texts("direction")?,
            verdict: texts("verdict")?,
            reason: texts("reason")?,
            mode: texts("mode")?,
            rules: Rules::new(batch)?,
            isolation: Isolation::new(batch)?,
            nearest_miss: texts("nearest_miss")?,
            revision: u64s(batch, "revision")?,
            local: Side::new(batch, &LOCAL)?,
            remote: Side::new(batch, &REMOTE)?,
            services: Services::new(batch)?,
            protocol: u8s(batch, "protocol")?,
            icmp_type: u8s(batch, "icmp_type")?,
            icmp_code: u8s(batch, "icmp_code")?,
            ethertype: column(batch, "ethertype", "UInt16")?,
            counts: [
                Tallies::new(batch, ["egress_packets", "egress_bytes", "egress_segments"])?,
                Tallies::new(
                    batch,
                    ["ingress_packets", "ingress_bytes", "ingress_segments"],
                )?,
                Tallies::new(
                    batch,
                    [
                        "egress_dropped_packets",
                        "egress_dropped_bytes",
                        "egress_dropped_segments",
                    ],
                )?,
                Tallies::new(
                    batch,
                    [
                        "ingress_dropped_packets",
                        "ingress_dropped_bytes",
                        "ingress_dropped_segments",
                    ],
                )?,
            ],
            egress_tcp_flags: u8s(batch, "egress_tcp_flags")?,
            ingress_tcp_flags: u8s(batch, "ingress_tcp_flags")?,
            end_reason: texts("end_reason")?,
            source_nat_suspected: column(batch, "source_nat_suspected", "Boolean")?,
            loss: Losses::new(batch)?,
        })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.length
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The row's time, without reading the row.
    pub fn time(&self, row: usize) -> Timestamp {
        Timestamp(self.time.value(row))
    }

    /// The row as an item.
    ///
    /// # Errors
    /// A null where a value has to be, or a value outside its vocabulary.
    pub fn item(&mut self, row: usize) -> Result<Item, ColumnsError> {
        if &**self.record_kind.need(row)? == LOSS {
            return Ok(Item::Loss(self.loss(row)?));
        }
        self.record(row).map(Item::Flow)
    }

    /// All rows as items.
    pub fn items(&mut self) -> Result<Vec<Item>, ColumnsError> {
        (0..self.length).map(|row| self.item(row)).collect()
    }

    fn record(&mut self, row: usize) -> Result<Record, ColumnsError> {
        let (local, local_ip, local_port) = self.local.get(row)?;
        let (remote, remote_ip, remote_port) = self.remote.get(row)?;
        let icmp = self.icmp_type.is_valid(row).then(|| Icmp {
            kind: self.icmp_type.value(row),
            code: self.icmp_code.value(row),
        });
        Ok(Record {
            time: self.time(row),
            id: FlowId {
                boot: self.flow_boot.value(row),
                serial: self.flow_serial.value(row),
            },
            number: self.record_number.value(row),
            kind: self.record_kind.word(row, RecordKind::parse)?,
            first_seen: Timestamp(self.first_seen.value(row)),
            last_seen: Timestamp(self.last_seen.value(row)),
            node: self.node.need(row)?.clone(),
            local,
            remote,
            service: self.services.get(row)?,
            local_ip,
            remote_ip,
            local_port,
            remote_port,
            icmp,
            protocol: self.protocol.value(row),
            direction: self.direction.word(row, Direction::parse)?,
            verdict: self.verdict.word(row, Verdict::parse)?,
            reason: self.reason.word(row, Reason::parse)?,
            rule: self.rules.get(row)?,
            isolated_by: self.isolation.get(row)?,
            nearest_miss: self.nearest_miss.get(row).cloned(),
            revision: self.revision.value(row),
            mode: self.mode.word(row, Mode::parse)?,
            counts: Counts {
                egress: self.counts[0].get(row),
                ingress: self.counts[1].get(row),
                egress_dropped: self.counts[2].get(row),
                ingress_dropped: self.counts[3].get(row),
            },
            tcp_flags: TcpFlags {
                egress: self.egress_tcp_flags.value(row),
                ingress: self.ingress_tcp_flags.value(row),
            },
            end: match self.end_reason.get(row) {
                None => None,
                Some(_) => Some(self.end_reason.word(row, EndReason::parse)?),
            },
            source_nat_suspected: self.source_nat_suspected.value(row),
            ethertype: self
                .ethertype
                .is_valid(row)
                .then(|| self.ethertype.value(row)),
        })
    }

    fn loss(&self, row: usize) -> Result<LossRecord, ColumnsError> {
        Ok(LossRecord {
            time: self.time(row),
            node: self.node.need(row)?.clone(),
            place: self.loss.place.word(row, LossPlace::parse)?,
            endpoint: self.loss.endpoint.get(row).cloned(),
            records: self.loss.records.value(row),
            packets: self.loss.packets.value(row),
            bytes: self.loss.bytes.value(row),
            from: Timestamp(self.loss.from.value(row)),
            to: Timestamp(self.loss.to.value(row)),
        })
    }
}

#[derive(Debug)]
struct Tallies<'a>([&'a UInt64Array; 3]);

impl<'a> Tallies<'a> {
    fn new(batch: &'a RecordBatch, names: [&'static str; 3]) -> Result<Self, ColumnsError> {
        let [packets, bytes, segments] = names;
        Ok(Self([
            u64s(batch, packets)?,
            u64s(batch, bytes)?,
            u64s(batch, segments)?,
        ]))
    }

    fn get(&self, row: usize) -> Tally {
        let [packets, bytes, segments] = self.0.map(|array| array.value(row));
        Tally {
            packets,
            bytes,
            segments,
        }
    }
}

#[derive(Debug)]
struct Losses<'a> {
    place: Texts<'a>,
    endpoint: Texts<'a>,
    records: &'a UInt64Array,
    packets: &'a UInt64Array,
    bytes: &'a UInt64Array,
    from: &'a TimestampNanosecondArray,
    to: &'a TimestampNanosecondArray,
}

impl<'a> Losses<'a> {
    fn new(batch: &'a RecordBatch) -> Result<Self, ColumnsError> {
        Ok(Self {
            place: Texts::new(batch, "loss_place")?,
            endpoint: Texts::new(batch, "loss_endpoint")?,
            records: u64s(batch, "loss_records")?,
            packets: u64s(batch, "loss_packets")?,
            bytes: u64s(batch, "loss_bytes")?,
            from: times(batch, "loss_from")?,
            to: times(batch, "loss_to")?,
        })
    }
}

#[derive(Debug)]
struct Rules<'a> {
    kind: Texts<'a>,
    namespace: Texts<'a>,
    name: Texts<'a>,
    direction: Texts<'a>,
    index: &'a UInt32Array,
    none: Arc<Rule>,
    seen: HashMap<([i32; 4], u32), Arc<Rule>>,
}

impl<'a> Rules<'a> {
    fn new(batch: &'a RecordBatch) -> Result<Self, ColumnsError> {
        Ok(Self {
            kind: Texts::new(batch, "policy_kind")?,
            namespace: Texts::new(batch, "policy_namespace")?,
            name: Texts::new(batch, "policy_name")?,
            direction: Texts::new(batch, "rule_direction")?,
            index: column(batch, "rule_index", "UInt32")?,
            none: Arc::new(Rule::None),
            seen: HashMap::new(),
        })
    }

    fn get(&mut self, row: usize) -> Result<Arc<Rule>, ColumnsError> {
        if self.name.get(row).is_none() {
            return Ok(self.none.clone());
        }
        let texts = [&self.kind, &self.namespace, &self.name, &self.direction];
        let key = (texts.map(|text| text.key(row)), self.index.value(row));
        if let Some(rule) = self.seen.get(&key) {
            return Ok(rule.clone());
        }
        let rule = Arc::new(Rule::Policy {
            policy: PolicyRef {
                kind: self.kind.need(row)?.clone(),
                namespace: self.namespace.need(row)?.clone(),
                name: self.name.need(row)?.clone(),
            },
            direction: self.direction.word(row, Direction::parse)?,
            index: key.1,
        });
        self.seen.insert(key, rule.clone());
        Ok(rule)
    }
}

/// The keys of `isolated_by` and of `isolated_by_kind`.
type IsolationKey<'a> = (&'a [i32], &'a [i32]);

#[derive(Debug)]
struct Isolation<'a> {
    names: TextLists<'a>,
    kinds: TextLists<'a>,
    seen: HashMap<IsolationKey<'a>, Arc<[PolicyRef]>>,
}

impl<'a> Isolation<'a> {
    fn new(batch: &'a RecordBatch) -> Result<Self, ColumnsError> {
        Ok(Self {
            names: TextLists::new(batch, "isolated_by")?,
            kinds: TextLists::new(batch, "isolated_by_kind")?,
            seen: HashMap::new(),
        })
    }

    fn get(&mut self, row: usize) -> Result<Arc<[PolicyRef]>, ColumnsError> {
        let key = (self.names.keys(row), self.kinds.keys(row));
        if let Some(policies) = self.seen.get(&key) {
            return Ok(policies.clone());
        }
        let kinds = self.kinds.get(row)?;
        let policies = self.names.get(row)?.into_iter().zip(kinds);
        let policies = policies.map(|(text, kind)| {
            let (namespace, name) = text.split_once('/').ok_or_else(|| ColumnsError::Value {
                column: "isolated_by",
                row,
                value: text.to_string(),
            })?;
            Ok(PolicyRef {
                kind,
                namespace: namespace.into(),
                name: name.into(),
            })
        });
        let policies: Arc<[PolicyRef]> = policies.collect::<Result<_, ColumnsError>>()?;
        self.seen.insert(key, policies.clone());
        Ok(policies)
    }
}

#[derive(Debug)]
struct Services<'a> {
    namespace: Texts<'a>,
    name: Texts<'a>,
    seen: HashMap<(i32, i32), Arc<ServiceRef>>,
}

impl<'a> Services<'a> {
    fn new(batch: &'a RecordBatch) -> Result<Self, ColumnsError> {
        Ok(Self {
            namespace: Texts::new(batch, "service_namespace")?,
            name: Texts::new(batch, "service_name")?,
            seen: HashMap::new(),
        })
    }

    fn get(&mut self, row: usize) -> Result<Option<Arc<ServiceRef>>, ColumnsError> {
        let Some(name) = self.name.get(row) else {
            return Ok(None);
        };
        let key = (self.namespace.key(row), self.name.key(row));
        if let Some(service) = self.seen.get(&key) {
            return Ok(Some(service.clone()));
        }
        let service = Arc::new(ServiceRef {
            namespace: self.namespace.need(row)?.clone(),
            name: name.clone(),
        });
        self.seen.insert(key, service.clone());
        Ok(Some(service))
    }
}
