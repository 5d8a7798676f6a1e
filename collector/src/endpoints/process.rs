//! Whose an interface is, by what runs behind it: the network namespace at the other end of the link is that of some
//! processes, and the kubelet names their cgroup after the pod's uid. For nodes where no route or bridge leads to a pod's
//! address alone. It needs to see the node's processes (`hostPID`); no further capability: every user may read
//! `/proc/PID/cgroup`, and rtnetlink answers anybody which namespace a process is in (`RTM_GETNSID`).

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use tracing::debug;
use weir_policy::model::Name;

use super::claim::Claim;
use super::manager::Manager;
use super::netlink::Netlink;
use super::network::LinkKind;
use crate::config::{PodMapping, Scope};

const PROC: &str = "/proc";
const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(30);

/// Looks at the node's processes while an interface without a pod may be that of a pod without an interface; more seldom
/// the longer that brings nothing.
#[derive(Debug)]
pub(super) struct Looks {
    next: Instant,
    delay: Duration,
}

impl Default for Looks {
    fn default() -> Self {
        Self {
            next: Instant::now(),
            delay: FIRST,
        }
    }
}

impl Looks {
    /// Looks, if it is time for it and there is something to find out.
    pub(super) async fn look(&mut self, manager: &mut Manager, netlink: &Netlink) {
        if manager.config.mapping != PodMapping::Cgroup || manager.config.scope != Scope::Node {
            return;
        }
        let open = Open::of(manager);
        if open.interfaces.is_empty() || open.pods.is_empty() {
            *self = Self::default();
            return;
        }
        if Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + self.delay;
        self.delay = (self.delay * 2).min(LONGEST);
        let wanted = open.pods.keys().map(String::as_str).collect();
        let mut claims = Vec::new();
        for (uid, process) in processes(Path::new(PROC), &wanted) {
            match netlink.namespace_of(process).await {
                Ok(Some(namespace)) => claims.extend(open.claim(namespace, &uid)),
                Ok(None) => {} // none that a link of ours leads to
                Err(error) => debug!(process, %error, "a process' network namespace is not known"),
            }
        }
        manager.learn(claims);
    }
}

/// What is not known yet.
struct Open {
    /// Interfaces without a pod, by the namespace at their other end, as this one numbers it.
    interfaces: HashMap<i32, (u32, String)>,
    /// Pods without an interface, by uid.
    pods: HashMap<String, Name>,
}

impl Open {
    fn of(manager: &Manager) -> Self {
        let unmapped = manager.interfaces.values();
        let unmapped = unmapped.filter(|interface| interface.pod.is_none());
        let interfaces = unmapped.filter_map(|interface| {
            let ifindex = interface.spec.ifindex;
            let link = manager.network.links.get(&ifindex)?;
            match link.kind {
                LinkKind::VethTo(namespace) => Some((namespace, (ifindex, link.name.clone()))),
                LinkKind::Other => None,
            }
        });
        let pods = manager.unmapped_pods().filter(|pod| !pod.uid.is_empty());
        Self {
            interfaces: interfaces.collect(),
            pods: pods
                .map(|pod| (pod.uid.clone(), pod.name.clone()))
                .collect(),
        }
    }

    fn claim(&self, namespace: i32, uid: &str) -> Option<Claim> {
        let (ifindex, interface) = self.interfaces.get(&namespace)?;
        Some(Claim {
            ifindex: *ifindex,
            interface: interface.clone(),
            pod: self.pods.get(uid).cloned(),
            uid: uid.to_owned(),
            addresses: Vec::new(),
        })
    }
}

/// One process of each of the pods whose uid is wanted: (uid, process id).
fn processes(proc: &Path, wanted: &HashSet<&str>) -> HashMap<String, u32> {
    let mut found = HashMap::new();
    for entry in fs::read_dir(proc).into_iter().flatten().flatten() {
        let process = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let Some(process) = process else {
            continue;
        };
        // It may have ended since.
        let cgroups = fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        if let Some(uid) = pod_uid(&cgroups, wanted) {
            found.entry(uid).or_insert(process);
        }
    }
    found
}

/// The uid of the pod that a process belongs to, from its `/proc/PID/cgroup` (cgroups(7)), if it is one of those wanted. A
/// pod's cgroup is `pod<uid>` below `kubepods`, or `kubepods-<class>-pod<uid with underscores>.slice` where systemd keeps
/// them (kubelet, pkg/kubelet/cm/pod_container_manager_linux.go and cgroup_manager_linux.go).
fn pod_uid(cgroups: &str, wanted: &HashSet<&str>) -> Option<String> {
    let paths = cgroups
        .lines()
        .filter_map(|line| line.splitn(3, ':').nth(2));
    let mut names = paths.flat_map(|path| path.split('/'));
    names.find_map(|name| {
        let (_, uid) = name.rsplit_once("pod")?;
        let uid = uid.strip_suffix(".slice").unwrap_or(uid).replace('_', "-");
        wanted.contains(uid.as_str()).then_some(uid)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "8d1c6b1e-2f7a-4c55-9a3e-0d6f1b2c3d4e";

    #[test]
    fn a_pods_uid_is_found_in_the_cgroup_names_of_both_drivers() {
        let wanted = HashSet::from([UID]);
        let underscored = UID.replace('-', "_");
        for cgroups in [
            format!("0::/kubepods/burstable/pod{UID}/0123456789abcdef\n"),
            format!("0::/kubepods/pod{UID}\n"),
            format!(
                "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{underscored}.slice/cri-containerd-01.scope\n"
            ),
            format!("12:cpu:/x\n1:name=systemd:/kubepods/pod{UID}/01\n"),
            format!("0::/../../kubepods-pod{underscored}.slice/crio-01.scope\n"),
        ] {
            assert_eq!(
                pod_uid(&cgroups, &wanted).as_deref(),
                Some(UID),
                "{cgroups}"
            );
        }
        for cgroups in [
            "0::/system.slice/kubelet.service\n".to_owned(),
            "0::/kubepods/podffffffff-2f7a-4c55-9a3e-0d6f1b2c3d4e/01\n".to_owned(),
            format!("0::/{UID}\n"),
            "nonsense".to_owned(),
            String::new(),
        ] {
            assert_eq!(pod_uid(&cgroups, &wanted), None, "{cgroups}");
        }
    }

    #[test]
    fn of_a_directory_of_processes_one_of_each_wanted_pod_is_found() {
        let proc = tempfile::tempdir().unwrap();
        for (process, pod) in [("7", UID), ("8", UID), ("9", "other"), ("self", UID)] {
            let directory = proc.path().join(process);
            fs::create_dir(&directory).unwrap();
            let cgroup = format!("0::/kubepods/pod{pod}/01\n");
            fs::write(directory.join("cgroup"), cgroup).unwrap();
        }
        fs::create_dir(proc.path().join("10")).unwrap();
        let found = processes(proc.path(), &HashSet::from([UID]));
        assert_eq!(found.len(), 1);
        assert!([7, 8].contains(&found[UID]));
    }
}
