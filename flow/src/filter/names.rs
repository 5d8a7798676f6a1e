//! Names of a side: pod, Service, workload, identity, cluster, DNS name.

use weir_proto::flow::{FlowFilter, Workload};

use super::glob::Glob;
use super::{End, Test, any};
use crate::Endpoint;
use crate::hubble::{CLUSTER, node_name};

pub(super) fn build(filter: &FlowFilter, tests: &mut Vec<Test>) {
    let source = Fields {
        end: End::Source,
        pod: &filter.source_pod,
        service: &filter.source_service,
        workload: &filter.source_workload,
        identity: &filter.source_identity,
        cluster: &filter.source_cluster_name,
        fqdn: &filter.source_fqdn,
    };
    let destination = Fields {
        end: End::Destination,
        pod: &filter.destination_pod,
        service: &filter.destination_service,
        workload: &filter.destination_workload,
        identity: &filter.destination_identity,
        cluster: &filter.destination_cluster_name,
        fqdn: &filter.destination_fqdn,
    };
    for fields in [source, destination] {
        build_side(&fields, tests);
    }
}

/// One side's fields.
struct Fields<'a> {
    end: End,
    pod: &'a [String],
    service: &'a [String],
    workload: &'a [Workload],
    identity: &'a [u32],
    cluster: &'a [String],
    fqdn: &'a [String],
}

fn build_side(fields: &Fields<'_>, tests: &mut Vec<Test>) {
    let end = fields.end;
    let prefixes = |values: &[String]| values.iter().map(|text| Prefix::parse(text)).collect();
    any(
        tests,
        prefixes(fields.pod),
        move |prefix: &Prefix, record| {
            let endpoint = end.of(record).endpoint;
            prefix.matches(&endpoint.namespace, &endpoint.name)
        },
    );
    any(
        tests,
        prefixes(fields.service),
        move |prefix: &Prefix, record| {
            let service = end.of(record).service;
            service.is_some_and(|service| prefix.matches(&service.namespace, &service.name))
        },
    );
    any(tests, fields.workload.to_vec(), move |wanted, record| {
        is_workload(wanted, end.of(record).endpoint)
    });
    any(tests, fields.identity.to_vec(), move |identity, record| {
        end.of(record).endpoint.identity == *identity
    });
    any(tests, fields.cluster.to_vec(), move |cluster, record| {
        cluster == CLUSTER && !end.of(record).endpoint.namespace.is_empty()
    });
    let globs = fields.fqdn.iter().map(|text| Glob::new(text)).collect();
    any(tests, globs, move |glob: &Glob, record| {
        node_name(end.of(record).endpoint).is_some_and(|name| glob.matches(name))
    });
}

/// `[namespace/]prefix of a name`: no namespace means `default`, `/x` any namespace, `ns/` the whole namespace.
#[derive(Clone, Debug)]
struct Prefix {
    namespace: Option<String>,
    name: String,
}

impl Prefix {
    fn parse(text: &str) -> Self {
        let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
        Self {
            namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
            name: name.to_owned(),
        }
    }

    fn matches(&self, namespace: &str, name: &str) -> bool {
        // Without a name there is only a whole namespace to match; an address outside any is in none.
        let named = if self.name.is_empty() {
            !namespace.is_empty()
        } else {
            name.starts_with(&self.name)
        };
        named
            && self
                .namespace
                .as_deref()
                .is_none_or(|wanted| wanted == namespace)
    }
}

fn is_workload(wanted: &Workload, endpoint: &Endpoint) -> bool {
    endpoint.workload.as_ref().is_some_and(|workload| {
        (wanted.kind.is_empty() || wanted.kind == *workload.kind)
            && (wanted.name.is_empty() || wanted.name == *workload.name)
    })
}
