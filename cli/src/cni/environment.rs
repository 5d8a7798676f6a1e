//! The environment: what is to be done, and to whose sandbox.

use std::path::PathBuf;

use super::error::CniError;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Join a sandbox to the network.
    Add,
    /// Take it off.
    Del,
    /// See whether it is still as ADD left it.
    Check,
    /// Say whether ADD would work.
    Status,
    /// Say which versions are spoken.
    Version,
    /// Forget sandboxes that are gone.
    Gc,
}

/// What is to be done, and the variables about the sandbox as far as they are set.
#[derive(Debug)]
pub(crate) struct Environment {
    pub(crate) verb: Verb,
    container_id: Option<String>,
    netns: Option<String>,
    interface: Option<String>,
    args: Option<String>,
}

/// A pod's sandbox.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sandbox {
    pub(crate) container_id: String,
    pub(crate) netns: PathBuf,
    pub(crate) interface: String,
    /// Empty where the runtime is not Kubernetes', as the next two.
    pub(crate) namespace: String,
    pub(crate) pod: String,
    pub(crate) uid: String,
}

impl Environment {
    /// Reads the variables.
    ///
    /// # Errors
    /// `CNI_COMMAND` is not set, or no verb.
    pub(crate) fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, CniError> {
        const COMMAND: &str = "CNI_COMMAND";
        let verb = match variable(COMMAND).as_deref() {
            Some("ADD") => Verb::Add,
            Some("DEL") => Verb::Del,
            Some("CHECK") => Verb::Check,
            Some("STATUS") => Verb::Status,
            Some("VERSION") => Verb::Version,
            Some("GC") => Verb::Gc,
            Some(other) => return Err(wrong(COMMAND, format!("`{other}` is no command of CNI"))),
            None => {
                let problem = "not set: this is a CNI plugin, which container runtimes call";
                return Err(wrong(COMMAND, problem.to_owned()));
            }
        };
        let set = |name| variable(name).filter(|value| !value.is_empty());
        Ok(Self {
            verb,
            container_id: set("CNI_CONTAINERID"),
            netns: set("CNI_NETNS"),
            interface: set("CNI_IFNAME"),
            args: set("CNI_ARGS"),
        })
    }

    /// The sandbox, whole.
    ///
    /// # Errors
    /// A variable that ADD and CHECK need is not set.
    pub(crate) fn sandbox(self) -> Result<Sandbox, CniError> {
        let needed = |value: Option<String>, variable| {
            value.ok_or_else(|| wrong(variable, "not set".to_owned()))
        };
        let args = self.args.unwrap_or_default();
        let argument = |name: &str| {
            let mut pairs = args.split(';').filter_map(|pair| pair.split_once('='));
            let found = pairs.rfind(|(key, _)| *key == name);
            found.map_or_else(String::new, |(_, value)| value.to_owned())
        };
        Ok(Sandbox {
            container_id: needed(self.container_id, "CNI_CONTAINERID")?,
            netns: needed(self.netns, "CNI_NETNS")?.into(),
            interface: needed(self.interface, "CNI_IFNAME")?,
            namespace: argument("K8S_POD_NAMESPACE"),
            pod: argument("K8S_POD_NAME"),
            uid: argument("K8S_POD_UID"),
        })
    }
}

impl Sandbox {
    /// Who it is, for people.
    pub(crate) fn describe(&self) -> String {
        if self.pod.is_empty() {
            format!("container {}", self.container_id)
        } else {
            format!("pod {}/{}", self.namespace, self.pod)
        }
    }
}

fn wrong(variable: &'static str, problem: String) -> CniError {
    CniError::Environment { variable, problem }
}
