//! Running a chain of plugins as libcni does: each a process of its own, found by its type, with the network's
//! configuration on stdin and what the one before said as `prevResult`.

use std::{
    fs::Permissions,
    io,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::program::feed;
use crate::{Error, NetNs};

/// The type of the plugin that makes a pod's veth, as [`Topology::Ptp`](crate::Topology::Ptp) has it.
const PTP: &str = "testkit-ptp";
const PTP_SCRIPT: &str = include_str!("ptp.sh");

/// A network: a list of plugins, and the directory that has them.
#[derive(Debug)]
pub struct Chain {
    list: Map<String, Value>,
    plugins: Vec<Value>,
    bin_dir: TempDir,
}

/// What is joined to a network: the parameters of every call.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// The runtime's id for the sandbox.
    pub container_id: String,
    /// Its network namespace.
    pub netns: PathBuf,
    /// What its interface is to be called.
    pub interface: String,
    /// `CNI_ARGS`, in order.
    pub args: Vec<(String, String)>,
}

// === impl Chain ===

impl Chain {
    /// A network whose first plugin makes a veth and routes, followed by `more`: configurations of plugins, which
    /// [`Chain::provide`] has to bring.
    ///
    /// # Errors
    /// The directory for the plugins cannot be made.
    pub fn ptp(more: impl IntoIterator<Item = Value>) -> Result<Self, Error> {
        let bin_dir = tempfile::Builder::new()
            .prefix("weir-cni-bin-")
            .tempdir()
            .map_err(Error::io("make", "a directory for plugins"))?;
        let script = bin_dir.path().join(PTP);
        std::fs::write(&script, PTP_SCRIPT)
            .and_then(|()| std::fs::set_permissions(&script, Permissions::from_mode(0o755)))
            .map_err(Error::path("write", &script))?;
        let mut list = Map::new();
        list.insert("cniVersion".to_owned(), "1.0.0".into());
        list.insert("name".to_owned(), "testkit".into());
        let first = json!({ "type": PTP });
        Ok(Self {
            list,
            plugins: std::iter::once(first).chain(more).collect(),
            bin_dir,
        })
    }

    /// Makes a program known as the plugin of that type.
    ///
    /// # Errors
    /// There is one of that type.
    pub fn provide(&self, kind: &str, program: &Path) -> Result<(), Error> {
        let path = self.bin_dir.path().join(kind);
        symlink(program, &path).map_err(Error::path("link", path))
    }

    /// Where its plugins are.
    pub fn bin_dir(&self) -> &Path {
        self.bin_dir.path()
    }

    /// The network as a file that a runtime reads.
    pub fn conflist(&self) -> String {
        let mut list = self.list.clone();
        list.insert("plugins".to_owned(), self.plugins.clone().into());
        Value::Object(list).to_string()
    }

    /// Takes the network from such a file.
    ///
    /// # Errors
    /// It is none.
    pub fn set_conflist(&mut self, text: &str) -> Result<(), Error> {
        let wrong =
            |error: serde_json::Error| Error::io("read", "a conflist")(io::Error::from(error));
        let mut list: Map<String, Value> = serde_json::from_str(text).map_err(wrong)?;
        let plugins = list.remove("plugins").unwrap_or_default();
        self.plugins = serde_json::from_value(plugins).map_err(wrong)?;
        self.list = list;
        Ok(())
    }

    /// Joins: every plugin in order, on the node. Returns the last one's result.
    ///
    /// # Errors
    /// [`Error::Plugin`] from the first plugin that fails; those before it are not undone: see [`Chain::del`].
    pub fn add(&self, node: &NetNs, attachment: &Attachment) -> Result<Value, Error> {
        let mut result = None;
        for plugin in &self.plugins {
            result = self.call("ADD", node, plugin, attachment, result.as_ref())?;
        }
        Ok(result.unwrap_or_default())
    }

    /// Parts: every plugin in reverse order, with what [`Chain::add`] returned.
    ///
    /// # Errors
    /// [`Error::Plugin`] from the first plugin that fails.
    pub fn del(
        &self,
        node: &NetNs,
        attachment: &Attachment,
        added: Option<&Value>,
    ) -> Result<(), Error> {
        self.plugins
            .iter()
            .rev()
            .try_for_each(|plugin| self.call("DEL", node, plugin, attachment, added).map(drop))
    }

    /// Asks every plugin in order whether all is as [`Chain::add`] left it.
    ///
    /// # Errors
    /// [`Error::Plugin`] from the first plugin that says it is not.
    pub fn check(&self, node: &NetNs, attachment: &Attachment, added: &Value) -> Result<(), Error> {
        self.plugins.iter().try_for_each(|plugin| {
            self.call("CHECK", node, plugin, attachment, Some(added))
                .map(drop)
        })
    }

    /// Asks every plugin in order whether it could join a sandbox.
    ///
    /// # Errors
    /// [`Error::Plugin`] from the first plugin that could not.
    pub fn status(&self, node: &NetNs) -> Result<(), Error> {
        let nobody = Attachment {
            container_id: String::new(),
            netns: PathBuf::new(),
            interface: String::new(),
            args: Vec::new(),
        };
        self.plugins
            .iter()
            .try_for_each(|plugin| self.call("STATUS", node, plugin, &nobody, None).map(drop))
    }

    /// One plugin's process, in the node's namespace. `None` if it has nothing to say.
    fn call(
        &self,
        verb: &'static str,
        node: &NetNs,
        plugin: &Value,
        attachment: &Attachment,
        before: Option<&Value>,
    ) -> Result<Option<Value>, Error> {
        let kind = plugin["type"].as_str().unwrap_or_default();
        let mut config = plugin.clone();
        for (key, value) in &self.list {
            config[key] = value.clone();
        }
        if let Some(before) = before {
            config["prevResult"] = before.clone();
        }
        let args: Vec<String> = attachment
            .args
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let mut command = Command::new(self.bin_dir.path().join(kind));
        command
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", &attachment.container_id)
            .env("CNI_NETNS", &attachment.netns)
            .env("CNI_IFNAME", &attachment.interface)
            .env("CNI_ARGS", args.join(";"))
            .env("CNI_PATH", self.bin_dir.path());
        // The child is born in the namespace of the thread that spawns it.
        let output = node
            .run(|| configure(&mut command, &config))?
            .map_err(Error::io("run plugin", kind))?;
        let failed = |said: String| Error::Plugin {
            verb,
            plugin: kind.to_owned(),
            said,
        };
        if !output.status.success() {
            let said = [output.stdout, output.stderr].concat();
            return Err(failed(String::from_utf8_lossy(&said).trim().to_owned()));
        }
        if output.stdout.is_empty() {
            return Ok(None);
        }
        let said = serde_json::from_slice(&output.stdout);
        said.map(Some).map_err(|error| failed(error.to_string()))
    }
}

// === impl Attachment ===

impl Attachment {
    /// A pod's sandbox, with the arguments that Kubernetes' runtimes give.
    pub fn of_pod(netns: &NetNs, namespace: &str, name: &str, uid: &str) -> Self {
        let container_id = format!("sandbox-{uid}");
        let args = [
            ("IgnoreUnknown", "1"),
            ("K8S_POD_NAMESPACE", namespace),
            ("K8S_POD_NAME", name),
            ("K8S_POD_INFRA_CONTAINER_ID", &container_id),
            ("K8S_POD_UID", uid),
        ];
        let args = args.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Self {
            netns: netns.path(),
            interface: "eth0".to_owned(),
            args: args.to_vec(),
            container_id,
        }
    }

    /// Adds to `CNI_ARGS`.
    pub fn arg(mut self, key: &str, value: impl ToString) -> Self {
        self.args.push((key.to_owned(), value.to_string()));
        self
    }
}

/// Runs a plugin. It need not read what it has no use for.
fn configure(command: &mut Command, config: &Value) -> io::Result<Output> {
    let (output, written) = feed(command, &config.to_string())?;
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(output),
    }
}
