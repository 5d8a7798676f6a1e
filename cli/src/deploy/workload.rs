//! The pods that are deployed, and the containers in them that run this binary.

use std::collections::BTreeMap;

use clap::Parser;
use k8s_openapi::api::apps::v1::{DaemonSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::files::Set;
use crate::args::Cli;

/// A DaemonSet, StatefulSet, Job or CronJob.
pub(super) struct Workload {
    pub(super) origin: String,
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) labels: BTreeMap<String, String>,
    /// Of those that go on for ever.
    pub(super) selector: Option<LabelSelector>,
    pub(super) pod: PodSpec,
}

/// The workloads of a set.
pub(super) fn workloads(set: &Set) -> Vec<Workload> {
    let daemon_sets = set.of_kind("DaemonSet").map(|object| {
        let spec = object.typed::<DaemonSet>().spec;
        (object, Some(spec.selector), spec.template)
    });
    let stateful_sets = set.of_kind("StatefulSet").map(|object| {
        let spec = object.typed::<StatefulSet>().spec;
        (object, Some(spec.selector), spec.template)
    });
    let jobs = set.of_kind("Job").map(|object| {
        let spec = object.typed::<Job>().spec.expect("a spec");
        (object, spec.selector, spec.template)
    });
    let cron_jobs = set.of_kind("CronJob").map(|object| {
        let spec = object.typed::<CronJob>().spec;
        let spec = spec.job_template.spec.expect("a job's spec");
        (object, spec.selector, spec.template)
    });
    let workload = |(object, selector, template): (&super::files::Object, _, PodTemplateSpec)| {
        let metadata = template.metadata.expect("metadata");
        Workload {
            origin: object.origin.clone(),
            name: object.name().to_owned(),
            namespace: object.text("/metadata/namespace").to_owned(),
            labels: metadata.labels.expect("labels"),
            selector,
            pod: template.spec.expect("a pod's spec"),
        }
    };
    let lasting = daemon_sets.chain(stateful_sets);
    lasting.chain(jobs).chain(cron_jobs).map(workload).collect()
}

impl Workload {
    pub(super) fn containers(&self) -> impl Iterator<Item = &Container> {
        let first = self.pod.init_containers.iter().flatten();
        first.chain(&self.pod.containers)
    }

    /// Those that run this binary, and their arguments as it reads them.
    pub(super) fn weirs(&self) -> Vec<(&Container, Cli)> {
        let ours = self
            .containers()
            .filter(|container| is_ours(container.image.as_deref()));
        ours.map(|container| (container, self.parse(container, container.args())))
            .collect()
    }

    /// Arguments as this binary reads them in a container.
    pub(super) fn parse(&self, container: &Container, args: &[String]) -> Cli {
        let args = args.iter().map(|arg| self.expand(container, arg));
        let args: Vec<String> = std::iter::once("weir".to_owned()).chain(args).collect();
        Cli::try_parse_from(&args)
            .unwrap_or_else(|error| panic!("{}, {}: {error}", self.origin, container.name))
    }

    /// Puts values into `$(VARIABLE)`s as the kubelet does, the downward API's by example.
    pub(super) fn expand(&self, container: &Container, text: &str) -> String {
        let mut text = text.to_owned();
        for variable in container.env.iter().flatten() {
            let source = variable.value_from.as_ref();
            let field = source.and_then(|source| source.field_ref.as_ref());
            let value = match field.map(|field| field.field_path.as_str()) {
                Some("spec.nodeName") => "node-1",
                Some("metadata.namespace") => &self.namespace,
                Some("metadata.name") => "web-0",
                other => panic!("{}: {}: {other:?}", self.origin, variable.name),
            };
            text = text.replace(&format!("$({})", variable.name), value);
        }
        assert!(
            !text.contains("$("),
            "{}: {text}: no such variable",
            self.origin
        );
        text
    }
}

trait Args {
    fn args(&self) -> &[String];
}

impl Args for Container {
    fn args(&self) -> &[String] {
        assert_eq!(self.command, None, "the image's entry point is the binary");
        self.args.as_deref().unwrap_or_default()
    }
}

fn is_ours(image: Option<&str>) -> bool {
    let name = image.and_then(|image| image.split([':', '@']).next());
    name == Some("weir")
}

#[test]
fn all_arguments_are_this_binary_s() {
    for set in super::sets() {
        let workloads = workloads(&set);
        let found: usize = workloads
            .iter()
            .map(|workload| workload.weirs().len())
            .sum();
        assert!(found > 0, "{}: nothing runs weir", set.name);
        for workload in &workloads {
            for (container, _) in workload.weirs() {
                let probes = [
                    &container.startup_probe,
                    &container.liveness_probe,
                    &container.readiness_probe,
                ];
                for exec in probes
                    .into_iter()
                    .flatten()
                    .filter_map(|probe| probe.exec.as_ref())
                {
                    let command = exec.command.as_deref().unwrap_or_default();
                    let (program, args) = command.split_first().expect("a program");
                    assert_eq!(program, "/weir", "where the Dockerfile puts it");
                    workload.parse(container, args);
                }
            }
        }
    }
}

#[test]
fn the_image_is_the_binary_alone() {
    let path = super::files::root().join("Dockerfile");
    let dockerfile = std::fs::read_to_string(path).expect("a Dockerfile");
    let (_, last) = dockerfile.rsplit_once("\nFROM ").expect("stages");
    let instructions: Vec<&str> = last
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .collect();
    assert_eq!(instructions[0], "scratch");
    assert!(instructions.contains(&r#"ENTRYPOINT ["/weir"]"#));
    let copied: Vec<_> = instructions
        .iter()
        .filter(|line| line.starts_with("COPY"))
        .collect();
    assert_eq!(copied, [&"COPY --from=build /out/weir /weir"]);
}
