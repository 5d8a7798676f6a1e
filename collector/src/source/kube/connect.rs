//! How the API server is reached.

use std::path::Path;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// Why the API server cannot be addressed. Whether it answers is not known by then.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A kubeconfig that was named.
    #[error("{path}: {source}")]
    Kubeconfig {
        /// The file.
        path: String,
        /// What is wrong with it.
        source: kube::config::KubeconfigError,
    },
    /// Neither a service account nor a kubeconfig.
    #[error(
        "no way to an API server: not in a pod with a service account, and no kubeconfig ({0}); give --kubeconfig FILE, or work on files without an API (a collector: --manifests DIR)"
    )]
    Nowhere(#[source] kube::config::InferConfigError),
    /// The client, e.g. its certificates.
    #[error("cannot make a client for the API server: {0}")]
    Client(#[source] kube::Error),
}

/// A client by a kubeconfig, or by what is there: `KUBECONFIG`, `~/.kube/config`, or the pod's service account.
///
/// # Errors
/// [`ConnectError`]; an API server that does not answer is none.
pub async fn connect(kubeconfig: Option<&Path>) -> Result<Client, ConnectError> {
    let mut config = match kubeconfig {
        Some(path) => from_file(path)
            .await
            .map_err(|source| ConnectError::Kubeconfig {
                path: path.display().to_string(),
                source,
            })?,
        None => Config::infer().await.map_err(ConnectError::Nowhere)?,
    };
    // Whoever asks decides how to go on. kube would ask again by itself after a 503, with pauses that grow to minutes: an
    // API server that is back would not be noticed for as long.
    config.default_retry = false;
    Client::try_from(config).map_err(ConnectError::Client)
}

async fn from_file(path: &Path) -> Result<Config, kube::config::KubeconfigError> {
    let kubeconfig = Kubeconfig::read_from(path)?;
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await
}
