//! The columns of one side of a flow: written and read in one place, because both sides have the same.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use arrow_array::builder::{ArrayBuilder, ListBuilder, UInt16Builder, UInt32Builder};
use arrow_array::{RecordBatch, UInt16Array, UInt32Array};

use super::build::Text;
use super::error::ColumnsError;
use super::texts::{TextLists, Texts, column};
use crate::{Endpoint, EndpointKind, Workload};

/// Builders of one side's columns.
pub(super) struct EndpointBuilder {
    kind: Text,
    identity: UInt32Builder,
    namespace: Text,
    name: Text,
    labels: ListBuilder<Text>,
    workload_kind: Text,
    workload_name: Text,
    ip: Text,
    port: UInt16Builder,
}

impl Default for EndpointBuilder {
    fn default() -> Self {
        Self {
            kind: Text::new(),
            identity: UInt32Builder::new(),
            namespace: Text::new(),
            name: Text::new(),
            labels: ListBuilder::new(Text::new()),
            workload_kind: Text::new(),
            workload_name: Text::new(),
            ip: Text::new(),
            port: UInt16Builder::new(),
        }
    }
}

impl EndpointBuilder {
    pub(super) fn append(&mut self, endpoint: &Endpoint, ip: IpAddr, port: u16) {
        self.kind.append_value(endpoint.kind.as_str());
        self.identity.append_value(endpoint.identity);
        self.namespace.append_value(&endpoint.namespace);
        self.name.append_value(&endpoint.name);
        for label in endpoint.labels.iter() {
            self.labels.values().append_value(label);
        }
        self.labels.append(true);
        let workload = endpoint.workload.as_ref();
        self.workload_kind
            .append_option(workload.map(|workload| &workload.kind));
        self.workload_name
            .append_option(workload.map(|workload| &workload.name));
        self.ip.append_value(ip.to_string());
        self.port.append_value(port);
    }

    pub(super) fn append_null(&mut self) {
        self.kind.append_null();
        self.identity.append_null();
        self.namespace.append_null();
        self.name.append_null();
        self.labels.append(false);
        self.workload_kind.append_null();
        self.workload_name.append_null();
        self.ip.append_null();
        self.port.append_null();
    }

    /// Hands the finished columns to `take`, in the schema's order.
    pub(super) fn finish(&mut self, take: &mut impl FnMut(&mut dyn ArrayBuilder)) {
        take(&mut self.kind);
        take(&mut self.identity);
        take(&mut self.namespace);
        take(&mut self.name);
        take(&mut self.labels);
        take(&mut self.workload_kind);
        take(&mut self.workload_name);
        take(&mut self.ip);
        take(&mut self.port);
    }
}

/// Names of one side's columns.
pub(super) struct SideNames {
    kind: &'static str,
    identity: &'static str,
    namespace: &'static str,
    name: &'static str,
    labels: &'static str,
    workload_kind: &'static str,
    workload_name: &'static str,
    ip: &'static str,
    port: &'static str,
}

pub(super) const LOCAL: SideNames = SideNames {
    kind: "local_kind",
    identity: "local_identity",
    namespace: "local_namespace",
    name: "local_name",
    labels: "local_labels",
    workload_kind: "local_workload_kind",
    workload_name: "local_workload_name",
    ip: "local_ip",
    port: "local_port",
};

pub(super) const REMOTE: SideNames = SideNames {
    kind: "remote_kind",
    identity: "remote_identity",
    namespace: "remote_namespace",
    name: "remote_name",
    labels: "remote_labels",
    workload_kind: "remote_workload_kind",
    workload_name: "remote_workload_name",
    ip: "remote_ip",
    port: "remote_port",
};

/// Identity, then the keys of kind, namespace, name and workload, then those of the labels.
type EndpointKey<'a> = (u32, [i32; 5], &'a [i32]);

#[derive(Debug)]
pub(super) struct Side<'a> {
    kind: Texts<'a>,
    identity: &'a UInt32Array,
    namespace: Texts<'a>,
    name: Texts<'a>,
    labels: TextLists<'a>,
    workload_kind: Texts<'a>,
    workload_name: Texts<'a>,
    ip: Texts<'a>,
    port: &'a UInt16Array,
    seen: HashMap<EndpointKey<'a>, Arc<Endpoint>>,
}

impl<'a> Side<'a> {
    pub(super) fn new(batch: &'a RecordBatch, names: &SideNames) -> Result<Self, ColumnsError> {
        let texts = |name| Texts::new(batch, name);
        Ok(Self {
            kind: texts(names.kind)?,
            identity: column(batch, names.identity, "UInt32")?,
            namespace: texts(names.namespace)?,
            name: texts(names.name)?,
            labels: TextLists::new(batch, names.labels)?,
            workload_kind: texts(names.workload_kind)?,
            workload_name: texts(names.workload_name)?,
            ip: texts(names.ip)?,
            port: column(batch, names.port, "UInt16")?,
            seen: HashMap::new(),
        })
    }

    pub(super) fn get(&mut self, row: usize) -> Result<(Arc<Endpoint>, IpAddr, u16), ColumnsError> {
        let ip = self.ip.word(row, |text| text.parse().ok())?;
        Ok((self.endpoint(row)?, ip, self.port.value(row)))
    }

    fn endpoint(&mut self, row: usize) -> Result<Arc<Endpoint>, ColumnsError> {
        let texts = [
            &self.kind,
            &self.namespace,
            &self.name,
            &self.workload_kind,
            &self.workload_name,
        ];
        let key = (
            self.identity.value(row),
            texts.map(|text| text.key(row)),
            self.labels.keys(row),
        );
        if let Some(endpoint) = self.seen.get(&key) {
            return Ok(endpoint.clone());
        }
        let workload = match (self.workload_kind.get(row), self.workload_name.get(row)) {
            (Some(kind), Some(name)) => Some(Workload {
                kind: kind.clone(),
                name: name.clone(),
            }),
            _ => None,
        };
        let endpoint = Arc::new(Endpoint {
            kind: self.kind.word(row, EndpointKind::parse)?,
            identity: key.0,
            namespace: self.namespace.need(row)?.clone(),
            name: self.name.need(row)?.clone(),
            labels: self.labels.get(row)?.into(),
            workload,
        });
        self.seen.insert(key, endpoint.clone());
        Ok(endpoint)
    }
}
