//! Whether the parts fit: what is listened on is what is probed and served, what is written is mounted, what is selected
//! is there.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, PodSpec, Probe, Service, VolumeMount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::files::Set;
use super::schema::ServiceMonitor;
use super::workload::{Workload, workloads};
use crate::args::{CniArgs, CniCommand, CollectorArgs, Command};

#[test]
fn what_weir_writes_is_mounted() {
    for workload in super::sets().iter().flat_map(workloads) {
        for (container, cli) in workload.weirs() {
            let at = Mounts(&workload, container);
            match &cli.command {
                Command::Aggregator(args) => assert!(at.writable(&args.data_dir).is_some()),
                Command::Collector(args) => mounted(&at, args),
                Command::Cni(args) => plugin_in_place(&at, args),
                Command::Certs(_) => {}
                other => panic!("{}: {other:?}", workload.origin),
            }
        }
    }
}

/// The plugin is where runtimes look, and looks for the socket where the collector of its pod makes it.
fn plugin_in_place(at: &Mounts, args: &CniArgs) {
    let command = args.command.as_ref().expect("what to do on a node");
    let paths = match command {
        CniCommand::Install(args) => &args.paths,
        CniCommand::Uninstall(paths) => paths,
    };
    assert_eq!(at.host(&paths.bin_dir).as_deref(), Some("/opt/cni/bin"));
    assert_eq!(at.host(&paths.conf_dir).as_deref(), Some("/etc/cni/net.d"));
    let CniCommand::Install(install) = command else {
        return;
    };
    let weirs = at.0.weirs();
    let sockets: Vec<_> = weirs
        .iter()
        .filter_map(|(container, cli)| match &cli.command {
            Command::Collector(args) => Mounts(at.0, container).on_host(&args.unix_socket),
            _ => None,
        })
        .collect();
    assert_eq!(
        sockets,
        std::slice::from_ref(&install.socket),
        "{}",
        at.0.origin
    );
}

fn mounted(at: &Mounts, args: &CollectorArgs) {
    let host = |path: &Path| at.host(path);
    assert_eq!(host(&args.pin_root).as_deref(), Some("/sys/fs/bpf"));
    if args.detach {
        return;
    }
    // Names of what is in the kernel must live as long as it does.
    assert!(host(&args.state_dir).is_some(), "{}", at.0.origin);
    assert!(at.writable(&args.unix_socket).is_some(), "{}", at.0.origin);
    if let Some(manifests) = &args.manifests {
        assert!(at.mount(manifests).is_some(), "{}", at.0.origin);
    }
}

/// A container's mounts.
struct Mounts<'a>(&'a Workload, &'a Container);

impl Mounts<'_> {
    fn mount(&self, path: &Path) -> Option<&VolumeMount> {
        let mounts = self.1.volume_mounts.iter().flatten();
        mounts
            .filter(|mount| path.starts_with(&mount.mount_path))
            .max_by_key(|mount| mount.mount_path.len())
    }

    /// The node's directory that is mounted, writable, where a path leads.
    fn host(&self, path: &Path) -> Option<String> {
        let volume = &self.writable(path)?.name;
        let mut volumes = self.0.pod.volumes.iter().flatten();
        let volume = volumes.find(|found| found.name == *volume)?;
        Some(volume.host_path.as_ref()?.path.clone())
    }

    /// A path as the node sees it.
    fn on_host(&self, path: &Path) -> Option<PathBuf> {
        let inside = path.strip_prefix(&self.writable(path)?.mount_path).ok()?;
        Some(Path::new(&self.host(path)?).join(inside))
    }

    fn writable(&self, path: &Path) -> Option<&VolumeMount> {
        self.mount(path)
            .filter(|mount| mount.read_only != Some(true))
    }
}

#[test]
fn what_is_probed_is_listened_on() {
    for workload in super::sets().iter().flat_map(workloads) {
        for (container, cli) in workload.weirs() {
            let (api, metrics) = match &cli.command {
                Command::Aggregator(args) => (args.listen, args.metrics_listen),
                Command::Collector(args) if !args.detach => (args.listen, args.metrics_listen),
                _ => continue,
            };
            let probes = [
                &container.startup_probe,
                &container.liveness_probe,
                &container.readiness_probe,
            ];
            let mut probed = probes.into_iter().flatten().peekable();
            assert!(probed.peek().is_some(), "{}: no probes", workload.origin);
            for probe in probed {
                reaches(&workload, probe, api, metrics);
            }
            // What is not on loopback is declared, and the other way round.
            let mut open: Vec<i32> = [api, metrics]
                .iter()
                .filter(|address| !address.ip().is_loopback())
                .map(|address| i32::from(address.port()))
                .collect();
            let ports = container.ports.iter().flatten();
            let mut declared: Vec<i32> = ports.map(|port| port.container_port).collect();
            open.sort_unstable();
            declared.sort_unstable();
            assert_eq!(open, declared, "{}", workload.origin);
        }
    }
}

/// Whether the kubelet, which is on the node's network, gets an answer.
fn reaches(workload: &Workload, probe: &Probe, api: SocketAddr, metrics: SocketAddr) {
    let origin = &workload.origin;
    let (target, port, host) = match (&probe.grpc, &probe.http_get) {
        (Some(grpc), None) => (api, IntOrString::Int(grpc.port), None),
        (None, Some(http)) => (metrics, http.port.clone(), http.host.as_deref()),
        _ => {
            assert!(probe.exec.is_some(), "{origin}");
            return;
        }
    };
    assert_eq!(port, IntOrString::Int(i32::from(target.port())), "{origin}");
    let on_the_node = workload.pod.host_network == Some(true) && host == Some("127.0.0.1");
    assert!(on_the_node || !target.ip().is_loopback(), "{origin}");
}

#[test]
fn collectors_push_to_a_service_that_leads_to_the_aggregator() {
    let mut pushing = 0;
    for set in super::sets() {
        for workload in workloads(&set) {
            for (_, cli) in workload.weirs() {
                let Command::Collector(args) = &cli.command else {
                    continue;
                };
                let Some(url) = &args.aggregator else {
                    continue;
                };
                pushing += 1;
                let (_, address) = url.split_once("://").expect("a URL");
                let (host, port) = address.rsplit_once(':').expect("a port");
                let mut host = host.split('.');
                let (name, namespace) = (host.next(), host.next());
                assert_eq!(namespace, Some(&*workload.namespace));
                let port = port.parse().expect("a number");
                assert_leads_to_aggregator(&set, name.unwrap_or_default(), port);
            }
        }
        if set
            .of_kind("StatefulSet")
            .any(|found| found.name() == "weir-aggregator")
        {
            let port = if super::tls::is_encrypted(&set) {
                443
            } else {
                80
            };
            assert_leads_to_aggregator(&set, "hubble-relay", port);
        }
    }
    assert!(pushing > 0);
}

fn assert_leads_to_aggregator(set: &Set, service: &str, port: i32) {
    let found = set.of_kind("Service").find(|found| found.name() == service);
    let service: Service = found.expect(service).typed();
    let spec = service.spec.expect("a spec");
    let mut ports = spec.ports.into_iter().flatten();
    let port = ports.find(|found| found.port == port).expect("the port");
    let workload = workloads(set)
        .into_iter()
        .find(|workload| workload.name == "weir-aggregator")
        .expect("an aggregator");
    let weirs = workload.weirs();
    let (container, cli) = weirs.first().expect("weir");
    let Command::Aggregator(args) = &cli.command else {
        panic!("{}: {:?}", workload.origin, cli.command);
    };
    let target = number(container, &port.target_port.expect("a target port"));
    assert_eq!(target, Some(i32::from(args.listen.port())));
}

#[test]
fn what_is_selected_is_there() {
    for set in super::sets() {
        let workloads = workloads(&set);
        for workload in &workloads {
            let selector = workload.selector.iter();
            for selector in selector {
                assert!(matches(selector, &workload.labels), "{}", workload.origin);
            }
        }
        for object in set.of_kind("Service") {
            let spec = object.typed::<Service>().spec.expect("a spec");
            let selector = LabelSelector {
                match_labels: spec.selector,
                match_expressions: None,
            };
            let target = selected(&workloads, &selector, &object.origin);
            for port in spec.ports.iter().flatten() {
                let port = port.target_port.as_ref().expect("a target port");
                assert!(has_port(&target.pod, port), "{}: {port:?}", object.origin);
            }
        }
        for object in set.of_kind("PodDisruptionBudget") {
            let spec = object.typed::<PodDisruptionBudget>().spec.expect("a spec");
            let selector = spec.selector.expect("a selector");
            selected(&workloads, &selector, &object.origin);
        }
        for object in set.of_kind("NetworkPolicy") {
            policy(&workloads, &object.typed(), &object.origin);
        }
        for object in set.of_kind("ServiceMonitor") {
            monitor(&set, &object.typed(), &object.origin);
        }
    }
}

fn policy(workloads: &[Workload], policy: &NetworkPolicy, origin: &str) {
    let spec = policy.spec.as_ref().expect("a spec");
    let selector = spec.pod_selector.clone().unwrap_or_default();
    let target = selected(workloads, &selector, origin);
    for rule in spec.ingress.iter().flatten() {
        for port in rule.ports.iter().flatten() {
            let port = port.port.as_ref().expect("a port");
            assert!(has_port(&target.pod, port), "{origin}: {port:?}");
        }
    }
}

fn monitor(set: &Set, monitor: &ServiceMonitor, origin: &str) {
    let services = set
        .of_kind("Service")
        .map(|object| object.typed::<Service>());
    let selected: Vec<Service> = services
        .filter(|service| {
            service.metadata.namespace == monitor.metadata.namespace
                && matches(
                    &monitor.spec.selector,
                    service
                        .metadata
                        .labels
                        .as_ref()
                        .unwrap_or(&Default::default()),
                )
        })
        .collect();
    assert_eq!(selected.len(), 1, "{origin}: every target once");
    let ports = selected[0]
        .spec
        .as_ref()
        .and_then(|spec| spec.ports.as_ref());
    for endpoint in &monitor.spec.endpoints {
        let name = Some(&endpoint.port);
        let mut ports = ports.into_iter().flatten();
        assert!(ports.any(|port| port.name.as_ref() == name), "{origin}");
    }
}

fn selected<'a>(workloads: &'a [Workload], selector: &LabelSelector, origin: &str) -> &'a Workload {
    let mut workloads = workloads.iter();
    let found = workloads.find(|workload| matches(selector, &workload.labels));
    found.unwrap_or_else(|| panic!("{origin} selects nothing"))
}

fn matches(selector: &LabelSelector, labels: &std::collections::BTreeMap<String, String>) -> bool {
    assert_eq!(selector.match_expressions, None, "we use labels only");
    let mut wanted = selector.match_labels.iter().flatten();
    wanted.all(|(key, value)| labels.get(key) == Some(value))
}

fn has_port(pod: &PodSpec, port: &IntOrString) -> bool {
    pod.containers
        .iter()
        .any(|container| number(container, port).is_some())
}

/// The number of a container's port.
fn number(container: &Container, wanted: &IntOrString) -> Option<i32> {
    let mut ports = container.ports.iter().flatten();
    let port = ports.find(|port| match wanted {
        IntOrString::Int(number) => port.container_port == *number,
        IntOrString::String(name) => port.name.as_ref() == Some(name),
    });
    port.map(|port| port.container_port)
}
