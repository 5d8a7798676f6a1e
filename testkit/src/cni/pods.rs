//! A pod in the steps of its real start: scheduled, its sandbox made, joined to the network by a chain of plugins.

use serde_json::Value;

use super::{Attachment, Chain};
use crate::{Cluster, Error, NetNs, Pod, PodSpec, lifetime, program, wiring::switches};

/// A pod whose sandbox is there and has no interface yet.
#[derive(Debug)]
pub struct Sandbox {
    pod: Pod,
    node: NetNs,
    attachment: Attachment,
}

// === impl Sandbox ===

impl Sandbox {
    /// The pod, with the addresses that it is going to have.
    pub fn pod(&self) -> &Pod {
        &self.pod
    }

    /// What the plugins are told about it.
    pub fn attachment(&self) -> &Attachment {
        &self.attachment
    }

    /// Joins it to the network: from when this returns, a runtime starts its containers.
    ///
    /// # Errors
    /// [`Error::Plugin`].
    pub fn add(&self, chain: &Chain) -> Result<Value, Error> {
        chain.add(&self.node, &self.attachment)
    }

    /// Asks whether all is as [`Sandbox::add`] left it.
    ///
    /// # Errors
    /// [`Error::Plugin`].
    pub fn check(&self, chain: &Chain, added: &Value) -> Result<(), Error> {
        chain.check(&self.node, &self.attachment, added)
    }

    /// Parts it from the network.
    ///
    /// # Errors
    /// [`Error::Plugin`].
    pub fn del(&self, chain: &Chain, added: Option<&Value>) -> Result<(), Error> {
        chain.del(&self.node, &self.attachment, added)
    }

    /// As the API shows it from when it is scheduled until its network is there: without addresses.
    pub fn manifest(&self) -> String {
        self.pod.scheduled_manifest()
    }
}

// === impl Cluster ===

impl Cluster {
    /// Makes a pod's sandbox on a node, as a container runtime does before it calls the plugins. The pod is none of the
    /// cluster's own: [`Cluster::manifests`] does not have it, and its addresses are
    /// the next pod's too: one sandbox at a time on a node.
    ///
    /// # Errors
    /// An invalid specification, no such node, no address left, or the namespace cannot be made.
    pub fn sandbox(&mut self, node: &str, spec: &PodSpec) -> Result<Sandbox, Error> {
        let pod = self.plan_pod(node, spec)?;
        program::ip_batch(None, &[format!("netns add {}", pod.netns.name())])?;
        switches::set_host(&pod.netns)?;
        let attachment = Attachment::of_pod(&pod.netns, pod.namespace(), pod.name(), &pod.uid)
            .arg("IP4", pod.addresses.v4)
            .arg("IP6", pod.addresses.v6)
            .arg("HOST_IF", &pod.host_interface)
            .arg("HOST_MAC", pod.host_mac)
            .arg("POD_MAC", pod.mac);
        Ok(Sandbox {
            node: self.node(node)?.netns.clone(),
            attachment,
            pod,
        })
    }

    /// Removes a sandbox and the processes in it; the next one gets its addresses.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove_sandbox(&mut self, sandbox: Sandbox) -> Result<(), Error> {
        lifetime::remove_netns(self.cluster_id(), &sandbox.pod.netns.path())
    }
}
