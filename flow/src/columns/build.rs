//! Items to a record batch.

use arrow_array::builder::{
    ArrayBuilder, BooleanBuilder, ListBuilder, StringDictionaryBuilder, TimestampNanosecondBuilder,
    UInt8Builder, UInt16Builder, UInt32Builder, UInt64Builder,
};
use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::SchemaRef;

use super::error::ColumnsError;
use super::schema::{UTC, schema};
use super::sides::EndpointBuilder;
use crate::{Item, LossRecord, Record, Rule, Tally, Timestamp};

/// Builder of a dictionary-encoded column.
pub(super) type Text = StringDictionaryBuilder<Int32Type>;

/// Collects items up to a bound and makes batches of [`schema`] of them.
///
/// The bound on bytes is of an estimate: what the row adds to the batch if its texts are already in the dictionaries,
/// plus the texts that were not.
pub struct BatchBuilder {
    schema: SchemaRef,
    columns: Columns,
    rows: usize,
    bytes: usize,
    max_rows: usize,
    max_bytes: usize,
}

/// Whether a builder takes more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// There is room for more.
    Left,
    /// The bound is reached: call [`BatchBuilder::finish`].
    Full,
}

/// Fixed bytes of one row: the numbers and dictionary keys of all columns.
const ROW_BYTES: usize = 400;

impl std::fmt::Debug for BatchBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchBuilder")
            .field("rows", &self.rows)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl BatchBuilder {
    /// A builder for batches of at most `max_rows` rows and about `max_bytes` bytes.
    pub fn new(max_rows: usize, max_bytes: usize) -> Self {
        Self {
            schema: schema(),
            columns: Columns::default(),
            rows: 0,
            bytes: 0,
            max_rows: max_rows.max(1),
            max_bytes,
        }
    }

    /// Rows so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// True if there is nothing to finish.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Adds one row.
    pub fn push(&mut self, item: &Item) -> Room {
        let labels = match item {
            Item::Flow(record) => {
                self.columns.flow(record);
                record.local.labels.len() + record.remote.labels.len() + record.isolated_by.len()
            }
            Item::Loss(loss) => {
                self.columns.loss(loss);
                0
            }
        };
        self.rows += 1;
        // A key per label; a new text is rare and short beside that.
        self.bytes += ROW_BYTES + 16 * labels;
        if self.rows >= self.max_rows || self.bytes >= self.max_bytes {
            Room::Full
        } else {
            Room::Left
        }
    }

    /// The rows as a batch; the builder is empty afterwards.
    pub fn finish(&mut self) -> Result<RecordBatch, ColumnsError> {
        self.rows = 0;
        self.bytes = 0;
        let arrays = self.columns.finish();
        RecordBatch::try_new(self.schema.clone(), arrays).map_err(ColumnsError::Build)
    }
}

/// All items as one batch.
pub fn to_batch<'a>(
    items: impl IntoIterator<Item = &'a Item>,
) -> Result<RecordBatch, ColumnsError> {
    let mut builder = BatchBuilder::new(usize::MAX, usize::MAX);
    for item in items {
        builder.push(item);
    }
    builder.finish()
}

/// A builder per column, in the order of [`super::COLUMNS`].
struct Columns {
    record_kind: Text,
    time: TimestampNanosecondBuilder,
    node: Text,
    flow_boot: UInt64Builder,
    flow_serial: UInt64Builder,
    record_number: UInt32Builder,
    first_seen: TimestampNanosecondBuilder,
    last_seen: TimestampNanosecondBuilder,
    direction: Text,
    verdict: Text,
    reason: Text,
    mode: Text,
    policy_kind: Text,
    policy_namespace: Text,
    policy_name: Text,
    rule_direction: Text,
    rule_index: UInt32Builder,
    isolated_by: ListBuilder<Text>,
    isolated_by_kind: ListBuilder<Text>,
    nearest_miss: Text,
    revision: UInt64Builder,
    local: EndpointBuilder,
    remote: EndpointBuilder,
    service_namespace: Text,
    service_name: Text,
    protocol: UInt8Builder,
    icmp_type: UInt8Builder,
    icmp_code: UInt8Builder,
    ethertype: UInt16Builder,
    /// Egress, ingress, egress dropped, ingress dropped: packets, bytes, segments each.
    counts: [UInt64Builder; 12],
    egress_tcp_flags: UInt8Builder,
    ingress_tcp_flags: UInt8Builder,
    end_reason: Text,
    source_nat_suspected: BooleanBuilder,
    loss_place: Text,
    loss_endpoint: Text,
    loss_records: UInt64Builder,
    loss_packets: UInt64Builder,
    loss_bytes: UInt64Builder,
    loss_from: TimestampNanosecondBuilder,
    loss_to: TimestampNanosecondBuilder,
}

fn time_builder() -> TimestampNanosecondBuilder {
    TimestampNanosecondBuilder::new().with_timezone(UTC)
}

impl Default for Columns {
    fn default() -> Self {
        Self {
            record_kind: Text::new(),
            time: time_builder(),
            node: Text::new(),
            flow_boot: UInt64Builder::new(),
            flow_serial: UInt64Builder::new(),
            record_number: UInt32Builder::new(),
            first_seen: time_builder(),
            last_seen: time_builder(),
            direction: Text::new(),
            verdict: Text::new(),
            reason: Text::new(),
            mode: Text::new(),
            policy_kind: Text::new(),
            policy_namespace: Text::new(),
            policy_name: Text::new(),
            rule_direction: Text::new(),
            rule_index: UInt32Builder::new(),
            isolated_by: ListBuilder::new(Text::new()),
            isolated_by_kind: ListBuilder::new(Text::new()),
            nearest_miss: Text::new(),
            revision: UInt64Builder::new(),
            local: EndpointBuilder::default(),
            remote: EndpointBuilder::default(),
            service_namespace: Text::new(),
            service_name: Text::new(),
            protocol: UInt8Builder::new(),
            icmp_type: UInt8Builder::new(),
            icmp_code: UInt8Builder::new(),
            ethertype: UInt16Builder::new(),
            counts: std::array::from_fn(|_| UInt64Builder::new()),
            egress_tcp_flags: UInt8Builder::new(),
            ingress_tcp_flags: UInt8Builder::new(),
            end_reason: Text::new(),
            source_nat_suspected: BooleanBuilder::new(),
            loss_place: Text::new(),
            loss_endpoint: Text::new(),
            loss_records: UInt64Builder::new(),
            loss_packets: UInt64Builder::new(),
            loss_bytes: UInt64Builder::new(),
            loss_from: time_builder(),
            loss_to: time_builder(),
        }
    }
}

impl Columns {
    fn flow(&mut self, record: &Record) {
        self.record_kind.append_value(record.kind.as_str());
        self.time.append_value(record.time.0);
        self.node.append_value(&record.node);
        self.flow_boot.append_value(record.id.boot);
        self.flow_serial.append_value(record.id.serial);
        self.record_number.append_value(record.number);
        self.first_seen.append_value(record.first_seen.0);
        self.last_seen.append_value(record.last_seen.0);
        self.judgement(record);
        self.local
            .append(&record.local, record.local_ip, record.local_port);
        self.remote
            .append(&record.remote, record.remote_ip, record.remote_port);
        let service = record.service.as_deref();
        self.service_namespace
            .append_option(service.map(|service| &service.namespace));
        self.service_name
            .append_option(service.map(|service| &service.name));
        self.protocol.append_value(record.protocol);
        self.icmp_type
            .append_option(record.icmp.map(|icmp| icmp.kind));
        self.icmp_code
            .append_option(record.icmp.map(|icmp| icmp.code));
        self.ethertype.append_option(record.ethertype);
        let counts = &record.counts;
        let tallies = [
            counts.egress,
            counts.ingress,
            counts.egress_dropped,
            counts.ingress_dropped,
        ];
        for (builders, tally) in self.counts.chunks_exact_mut(3).zip(tallies) {
            let Tally {
                packets,
                bytes,
                segments,
            } = tally;
            for (builder, value) in builders.iter_mut().zip([packets, bytes, segments]) {
                builder.append_value(value);
            }
        }
        self.egress_tcp_flags.append_value(record.tcp_flags.egress);
        self.ingress_tcp_flags
            .append_value(record.tcp_flags.ingress);
        self.end_reason
            .append_option(record.end.map(crate::EndReason::as_str));
        self.source_nat_suspected
            .append_value(record.source_nat_suspected);
        self.loss_columns(None);
    }

    fn judgement(&mut self, record: &Record) {
        self.direction.append_value(record.direction.as_str());
        self.verdict.append_value(record.verdict.as_str());
        self.reason.append_value(record.reason.as_str());
        self.mode.append_value(record.mode.as_str());
        match &*record.rule {
            Rule::None => self.no_rule(),
            Rule::Policy {
                policy,
                direction,
                index,
            } => {
                self.policy_kind.append_value(&policy.kind);
                self.policy_namespace.append_value(&policy.namespace);
                self.policy_name.append_value(&policy.name);
                self.rule_direction.append_value(direction.as_str());
                self.rule_index.append_value(*index);
            }
        }
        for policy in record.isolated_by.iter() {
            let text = format!("{}/{}", policy.namespace, policy.name);
            self.isolated_by.values().append_value(text);
            self.isolated_by_kind.values().append_value(&policy.kind);
        }
        self.isolated_by.append(true);
        self.isolated_by_kind.append(true);
        self.nearest_miss
            .append_option(record.nearest_miss.as_deref());
        self.revision.append_value(record.revision);
    }

    fn no_rule(&mut self) {
        self.policy_kind.append_null();
        self.policy_namespace.append_null();
        self.policy_name.append_null();
        self.rule_direction.append_null();
        self.rule_index.append_null();
    }

    fn loss(&mut self, loss: &LossRecord) {
        self.record_kind.append_value(LOSS);
        self.time.append_value(loss.time.0);
        self.node.append_value(&loss.node);
        self.flow_boot.append_null();
        self.flow_serial.append_null();
        self.record_number.append_null();
        self.first_seen.append_null();
        self.last_seen.append_null();
        self.direction.append_null();
        self.verdict.append_null();
        self.reason.append_null();
        self.mode.append_null();
        self.no_rule();
        self.isolated_by.append(false);
        self.isolated_by_kind.append(false);
        self.nearest_miss.append_null();
        self.revision.append_null();
        self.local.append_null();
        self.remote.append_null();
        self.service_namespace.append_null();
        self.service_name.append_null();
        self.protocol.append_null();
        self.icmp_type.append_null();
        self.icmp_code.append_null();
        self.ethertype.append_null();
        for builder in &mut self.counts {
            builder.append_null();
        }
        self.egress_tcp_flags.append_null();
        self.ingress_tcp_flags.append_null();
        self.end_reason.append_null();
        self.source_nat_suspected.append_null();
        self.loss_columns(Some(loss));
    }

    fn loss_columns(&mut self, loss: Option<&LossRecord>) {
        self.loss_place
            .append_option(loss.map(|loss| loss.place.as_str()));
        self.loss_endpoint
            .append_option(loss.and_then(|loss| loss.endpoint.as_deref()));
        self.loss_records
            .append_option(loss.map(|loss| loss.records));
        self.loss_packets
            .append_option(loss.map(|loss| loss.packets));
        self.loss_bytes.append_option(loss.map(|loss| loss.bytes));
        let nanoseconds = |time: Timestamp| time.0;
        self.loss_from
            .append_option(loss.map(|loss| nanoseconds(loss.from)));
        self.loss_to
            .append_option(loss.map(|loss| nanoseconds(loss.to)));
    }

    fn finish(&mut self) -> Vec<ArrayRef> {
        let mut out = Vec::with_capacity(super::COLUMNS.len());
        let mut take = |builder: &mut dyn ArrayBuilder| out.push(builder.finish());
        take(&mut self.record_kind);
        take(&mut self.time);
        take(&mut self.node);
        take(&mut self.flow_boot);
        take(&mut self.flow_serial);
        take(&mut self.record_number);
        take(&mut self.first_seen);
        take(&mut self.last_seen);
        take(&mut self.direction);
        take(&mut self.verdict);
        take(&mut self.reason);
        take(&mut self.mode);
        take(&mut self.policy_kind);
        take(&mut self.policy_namespace);
        take(&mut self.policy_name);
        take(&mut self.rule_direction);
        take(&mut self.rule_index);
        take(&mut self.isolated_by);
        take(&mut self.isolated_by_kind);
        take(&mut self.nearest_miss);
        take(&mut self.revision);
        self.local.finish(&mut take);
        self.remote.finish(&mut take);
        take(&mut self.service_namespace);
        take(&mut self.service_name);
        take(&mut self.protocol);
        take(&mut self.icmp_type);
        take(&mut self.icmp_code);
        take(&mut self.ethertype);
        for builder in &mut self.counts {
            take(builder);
        }
        take(&mut self.egress_tcp_flags);
        take(&mut self.ingress_tcp_flags);
        take(&mut self.end_reason);
        take(&mut self.source_nat_suspected);
        take(&mut self.loss_place);
        take(&mut self.loss_endpoint);
        take(&mut self.loss_records);
        take(&mut self.loss_packets);
        take(&mut self.loss_bytes);
        take(&mut self.loss_from);
        take(&mut self.loss_to);
        out
    }
}

/// `record_kind` of a loss record.
pub(super) const LOSS: &str = "loss";
