//! The columns of a record: one table, from which the Arrow schema, its documentation and the Parquet files come.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};

/// Version of the columns. A change of a name, a type or a meaning makes a new version.
pub const SCHEMA_VERSION: u32 = 1;

/// Key of the version in the schema's metadata.
pub const VERSION_KEY: &str = "weir.schema_version";

/// Key of a column's description in its field's metadata.
pub const DOC_KEY: &str = "doc";

/// One column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Name, as in SQL.
    pub name: &'static str,
    /// Type.
    pub kind: ColumnKind,
    /// What it holds, with its unit.
    pub doc: &'static str,
}

/// The types in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// Dictionary-encoded UTF-8.
    Text,
    /// List of dictionary-encoded UTF-8.
    Texts,
    /// Unsigned, 8 bits.
    U8,
    /// Unsigned, 16 bits.
    U16,
    /// Unsigned, 32 bits.
    U32,
    /// Unsigned, 64 bits.
    U64,
    /// Nanoseconds since the Unix epoch, UTC.
    Time,
    /// True or false.
    Flag,
}

impl ColumnKind {
    /// The Arrow type.
    pub fn data_type(self) -> DataType {
        match self {
            Self::Text => text_type(),
            Self::Texts => DataType::List(Arc::new(Field::new_list_field(text_type(), true))),
            Self::U8 => DataType::UInt8,
            Self::U16 => DataType::UInt16,
            Self::U32 => DataType::UInt32,
            Self::U64 => DataType::UInt64,
            Self::Time => DataType::Timestamp(TimeUnit::Nanosecond, Some(UTC.into())),
            Self::Flag => DataType::Boolean,
        }
    }
}

pub(super) const UTC: &str = "UTC";

fn text_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

const fn column(name: &'static str, kind: ColumnKind, doc: &'static str) -> Column {
    Column { name, kind, doc }
}

use ColumnKind::{Flag, Text, Texts, Time, U8, U16, U32, U64};

/// All columns, in order. Those of flows are null in a loss record, and the other way round.
#[rustfmt::skip]
pub const COLUMNS: &[Column] = &[
    column("record_kind", Text, "what the record says: started, updated, rejudged, ended, denial; loss for a loss record"),
    column("time", Time, "when the collector wrote the record"),
    column("node", Text, "node that saw it"),
    column("flow_boot", U64, "first half of the flow's id: the boot of the kernel that saw it"),
    column("flow_serial", U64, "second half of the flow's id: that kernel's serial"),
    column("record_number", U32, "number of the record within the flow, from 1; counts are cumulative, the highest number wins"),
    column("first_seen", Time, "first packet"),
    column("last_seen", Time, "last packet so far"),
    column("direction", Text, "ingress or egress as the local pod sees it: who opened the flow, and what the verdict is about"),
    column("verdict", Text, "forwarded, dropped, or audit (passed, though the policies deny it)"),
    column("reason", Text, "why the verdict fell"),
    column("mode", Text, "the local endpoint's mode: enforce, audit, observe"),
    column("policy_kind", Text, "kind of the policy whose rule decided; null if no rule did"),
    column("policy_namespace", Text, "namespace of that policy"),
    column("policy_name", Text, "name of that policy"),
    column("rule_direction", Text, "section of the rule: ingress or egress"),
    column("rule_index", U32, "index of the rule in that section, from 0"),
    column("isolated_by", Texts, "policies that isolate the local pod in this direction, as namespace/name"),
    column("isolated_by_kind", Texts, "kinds of the policies in isolated_by, in the same order"),
    column("nearest_miss", Text, "for a default deny: what came nearest to allowing it"),
    column("revision", U64, "number of the compiled policy state that decided"),
    column("local_kind", Text, "what the reporting side is: pod, host, remote-node, service, world, unknown"),
    column("local_identity", U32, "number derived from namespace and labels, equal on all nodes"),
    column("local_namespace", Text, "namespace; empty if it has none"),
    column("local_name", Text, "pod name; empty if unknown"),
    column("local_labels", Texts, "labels as key=value, sorted"),
    column("local_workload_kind", Text, "kind of the controlling workload"),
    column("local_workload_name", Text, "name of the controlling workload"),
    column("local_ip", Text, "the pod's address"),
    column("local_port", U16, "the pod's port; 0 if the protocol has none"),
    column("remote_kind", Text, "what the other side is: pod, host, remote-node, service, world, unknown"),
    column("remote_identity", U32, "number derived from namespace and labels, equal on all nodes"),
    column("remote_namespace", Text, "namespace; empty if it has none"),
    column("remote_name", Text, "name of the pod, node or Service; empty if unknown"),
    column("remote_labels", Texts, "labels as key=value, sorted"),
    column("remote_workload_kind", Text, "kind of the controlling workload"),
    column("remote_workload_name", Text, "name of the controlling workload"),
    column("remote_ip", Text, "the other side's address"),
    column("remote_port", U16, "the other side's port; 0 if the protocol has none"),
    column("service_namespace", Text, "namespace of the Service that the pod addressed"),
    column("service_name", Text, "name of the Service that the pod addressed"),
    column("protocol", U8, "IP protocol number; 0 if the packet was no IP packet"),
    column("icmp_type", U8, "ICMP type of the request"),
    column("icmp_code", U8, "ICMP code of the request"),
    column("ethertype", U16, "Ethernet type of a packet that was no IP packet"),
    column("egress_packets", U64, "packets (skbs) passed from the pod"),
    column("egress_bytes", U64, "bytes passed from the pod, Ethernet header included"),
    column("egress_segments", U64, "wire segments passed from the pod"),
    column("ingress_packets", U64, "packets (skbs) passed to the pod"),
    column("ingress_bytes", U64, "bytes passed to the pod, Ethernet header included"),
    column("ingress_segments", U64, "wire segments passed to the pod"),
    column("egress_dropped_packets", U64, "packets (skbs) dropped from the pod"),
    column("egress_dropped_bytes", U64, "bytes dropped from the pod"),
    column("egress_dropped_segments", U64, "wire segments dropped from the pod"),
    column("ingress_dropped_packets", U64, "packets (skbs) dropped to the pod"),
    column("ingress_dropped_bytes", U64, "bytes dropped to the pod"),
    column("ingress_dropped_segments", U64, "wire segments dropped to the pod"),
    column("egress_tcp_flags", U8, "TCP flags seen from the pod, as in the header's low byte"),
    column("ingress_tcp_flags", U8, "TCP flags seen to the pod"),
    column("end_reason", Text, "why the flow ended"),
    column("source_nat_suspected", Flag, "a forwarded packet bore a node's address: the remote side may be somebody else"),
    column("loss_place", Text, "where records or packets were lost"),
    column("loss_endpoint", Text, "endpoint of the loss as namespace/name, if it is one endpoint's"),
    column("loss_records", U64, "records lost"),
    column("loss_packets", U64, "packets that no record accounts for"),
    column("loss_bytes", U64, "bytes of those packets"),
    column("loss_from", Time, "begin of the time in which it was lost"),
    column("loss_to", Time, "end of the time in which it was lost"),
];

/// Columns that every row has.
const REQUIRED: &[&str] = &["record_kind", "time", "node"];

/// The Arrow schema of [`COLUMNS`]; descriptions and version are in the metadata.
pub fn schema() -> SchemaRef {
    let fields: Vec<Field> = COLUMNS
        .iter()
        .map(|column| {
            let null = !REQUIRED.contains(&column.name);
            let doc = HashMap::from([(DOC_KEY.to_owned(), column.doc.to_owned())]);
            Field::new(column.name, column.kind.data_type(), null).with_metadata(doc)
        })
        .collect();
    let version = HashMap::from([(VERSION_KEY.to_owned(), SCHEMA_VERSION.to_string())]);
    Arc::new(Schema::new_with_metadata(fields, version))
}
