//! The network's configuration, and what the plugins before have done.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use serde_json::error::Category;

use super::VERSIONS;
use super::error::CniError;

/// The plugin's part of a network's configuration. Other keys are the runtime's.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Network {
    /// The specification's version.
    #[serde(default)]
    pub(crate) cni_version: String,
    /// The collector's unix socket.
    #[serde(default = "default_socket")]
    pub(crate) socket: PathBuf,
    /// How long ADD waits for the collector.
    #[serde(default = "default_timeout")]
    timeout_seconds: u64,
    /// How long ADD waits for the pod's policies, once the programs are at its interface.
    #[serde(default = "default_policy_wait")]
    policy_wait_seconds: u64,
    /// What ADD does without a collector.
    #[serde(default)]
    pub(crate) when_absent: WhenAbsent,
    #[serde(default)]
    prev_result: Option<Value>,
}

/// What ADD does without a collector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum WhenAbsent {
    /// It waits for one, and fails: the runtime tries again later.
    #[default]
    Fail,
    /// It lets the pod start.
    Pass,
}

/// What the plugins before have done, as far as it matters here.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Before {
    #[serde(default)]
    interfaces: Vec<Interface>,
    #[serde(default)]
    ips: Vec<Ip>,
}

#[derive(Debug, Deserialize)]
struct Interface {
    name: String,
    #[serde(default)]
    sandbox: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Ip {
    address: String,
    #[serde(default)]
    interface: Option<usize>,
}

fn default_socket() -> PathBuf {
    "/run/weir/hubble.sock".into()
}

fn default_timeout() -> u64 {
    10
}

fn default_policy_wait() -> u64 {
    1
}

impl Network {
    /// Reads it.
    ///
    /// # Errors
    /// It is no JSON, a key has no sense, or it is of another version of the specification.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, CniError> {
        let network: Self =
            serde_json::from_slice(text).map_err(|error| match error.classify() {
                Category::Data => CniError::Config(error.to_string()),
                _ => CniError::Json(error),
            })?;
        if !VERSIONS.contains(&network.cni_version.as_str()) {
            let asked = network.cni_version;
            return Err(CniError::Version { asked });
        }
        if network.timeout_seconds == 0 {
            let problem = "timeoutSeconds: 0 leaves no time to attach; give at least 1";
            return Err(CniError::Config(problem.to_owned()));
        }
        Ok(network)
    }

    /// How long ADD waits for the collector.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds)
    }

    /// How long ADD waits for the pod's policies, milliseconds: no longer than for the collector.
    pub(crate) fn policy_wait_ms(&self) -> u32 {
        let seconds = self.policy_wait_seconds.min(self.timeout_seconds);
        u32::try_from(seconds.saturating_mul(1000)).unwrap_or(u32::MAX)
    }

    /// What the plugins before have done: as it is, and read.
    ///
    /// # Errors
    /// There is none, or it is no result.
    pub(crate) fn before(&self) -> Result<(&Value, Before), CniError> {
        let Some(result) = &self.prev_result else {
            let problem = "no prevResult: this plugin makes no interface, it goes last in a chain";
            return Err(CniError::Config(problem.to_owned()));
        };
        let read = Before::deserialize(result);
        let read = read.map_err(|error| CniError::Config(format!("prevResult: {error}")))?;
        Ok((result, read))
    }
}

impl Before {
    /// The interfaces that are in no sandbox: the node's.
    pub(crate) fn host_interfaces(&self) -> Vec<&str> {
        let on_host = self
            .interfaces
            .iter()
            .filter(|interface| interface.sandbox.as_deref().unwrap_or_default().is_empty());
        on_host.map(|interface| interface.name.as_str()).collect()
    }

    /// The addresses of an interface of the sandbox, or all of them where the plugin does not say whose they are.
    ///
    /// # Errors
    /// One has no form of an address.
    pub(crate) fn addresses(&self, interface: &str) -> Result<Vec<String>, CniError> {
        let is_its = |ip: &&Ip| {
            let whose = ip.interface.and_then(|index| self.interfaces.get(index));
            whose.is_none_or(|whose| whose.name == interface)
        };
        let address = |ip: &Ip| {
            let bare = ip.address.split('/').next().unwrap_or_default();
            match bare.parse::<std::net::IpAddr>() {
                Ok(address) => Ok(address.to_string()),
                Err(error) => Err(CniError::Config(format!(
                    "prevResult.ips: `{}`: {error}",
                    ip.address
                ))),
            }
        };
        self.ips.iter().filter(is_its).map(address).collect()
    }
}
