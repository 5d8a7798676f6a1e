//! What the containers may do on their node.

use k8s_openapi::api::core::v1::Container;

use super::files;
use super::workload::{Workload, workloads};
use crate::args::{Cli, Command, MappingArg};

/// What the kernel side asks for (`collector/src/kernel/preflight.rs`).
const NEEDED: [&str; 3] = ["BPF", "NET_ADMIN", "PERFMON"];

#[test]
fn containers_have_the_capabilities_that_they_need_and_nothing_else() {
    for workload in super::sets().iter().flat_map(workloads) {
        let weirs = workload.weirs();
        for container in workload.containers() {
            let mut weirs = weirs.iter();
            let weir = weirs.find(|(weir, _)| weir.name == container.name);
            let (added, user) = match weir.map(|(_, cli)| &cli.command) {
                // Capabilities take effect for root only.
                Some(Command::Collector(_)) => (&NEEDED[..], User::Root),
                // It writes to the node's directories, which are root's.
                Some(Command::Cni(_)) => (&[][..], User::Root),
                _ => (&[][..], User::Other),
            };
            confined(&workload, container, added, user);
        }
        let pod = &workload.pod;
        assert_eq!(pod.host_ipc, None);
        assert_eq!(
            pod.host_pid == Some(true),
            sees_processes(&weirs),
            "{}",
            workload.origin
        );
        let seccomp = pod.security_context.as_ref().expect("a security context");
        let seccomp = seccomp.seccomp_profile.as_ref().expect("a seccomp profile");
        assert_eq!(seccomp.type_, "RuntimeDefault", "{}", workload.origin);
    }
}

/// Whether a collector among them looks at the pods' processes: nothing else needs the node's.
fn sees_processes(weirs: &[(&Container, Cli)]) -> bool {
    weirs.iter().any(|(_, cli)| {
        matches!(&cli.command, Command::Collector(args) if args.map_pods_by == MappingArg::Cgroup)
    })
}

/// Who a container runs as.
#[derive(Clone, Copy, PartialEq, Eq)]
enum User {
    Root,
    Other,
}

fn confined(workload: &Workload, container: &Container, added: &[&str], expected: User) {
    let place = format!("{}, container {}", workload.origin, container.name);
    let security = container.security_context.as_ref().expect(&place);
    assert_eq!(security.privileged, Some(false), "{place}");
    assert_eq!(security.allow_privilege_escalation, Some(false), "{place}");
    assert_eq!(security.read_only_root_filesystem, Some(true), "{place}");
    let capabilities = security.capabilities.as_ref().expect(&place);
    assert_eq!(
        capabilities.drop.as_deref(),
        Some(&["ALL".to_owned()][..]),
        "{place}"
    );
    let given = capabilities.add.as_deref().unwrap_or_default();
    assert_eq!(given, added, "{place}");
    let pod = workload.pod.security_context.as_ref().expect(&place);
    let user = security.run_as_user.or(pod.run_as_user).expect(&place);
    let unprivileged = security.run_as_non_root.or(pod.run_as_non_root) == Some(true);
    assert_eq!(user == 0, expected == User::Root, "{place}");
    assert_eq!(user != 0, unprivileged, "{place}");
    let resources = container.resources.as_ref().expect(&place);
    for (of, what) in [
        (&resources.requests, "cpu"),
        (&resources.requests, "memory"),
        (&resources.limits, "memory"),
    ] {
        let of = of.as_ref().expect(&place);
        assert!(of.contains_key(what), "{place}: {what}");
    }
}

#[test]
fn each_capability_is_given_with_its_reason() {
    let mut seen = 0;
    for path in files::yaml_files() {
        let text = std::fs::read_to_string(&path).expect("readable");
        let lines = text.lines().map(str::trim);
        for line in lines.skip_while(|line| *line != "add:") {
            let Some(name) = NEEDED
                .iter()
                .find(|name| line.starts_with(&format!("- {name}")))
            else {
                continue;
            };
            seen += 1;
            assert!(
                line.starts_with(&format!("- {name} # ")),
                "{}: {line}",
                path.display()
            );
        }
    }
    assert!(seen >= NEEDED.len());
}
