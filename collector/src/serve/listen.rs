//! Binding what the collector listens on, before anything else is touched.

use std::fs::{self, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, UnixListener};

const DIRECTORY: u32 = 0o755;
const SOCKET: u32 = 0o660;

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// TCP.
    #[error(
        "cannot listen on {address} for {what}: {source}; free it, or choose another with {flag}"
    )]
    Tcp {
        /// What for.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// The option that sets it.
        flag: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// Somebody answers on the socket.
    #[error(
        "unix socket {} is in use by another collector: stop it, or choose another with --unix-socket", .path.display()
    )]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// There is something at its place that is no socket.
    #[error("{} exists and is no socket: remove it, or choose another path with --unix-socket", .path.display())]
    NoSocket {
        /// What is in the way.
        path: PathBuf,
    },
    /// The socket, or its directory, cannot be made.
    #[error("cannot make unix socket {}: {source}; choose another path with --unix-socket", .path.display())]
    Unix {
        /// The socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Listens on a TCP address. `flag` is the option that would choose another.
///
/// # Errors
/// [`ListenError::Tcp`].
pub async fn tcp(
    what: &'static str,
    flag: &'static str,
    address: SocketAddr,
) -> Result<TcpListener, ListenError> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|source| ListenError::Tcp {
        what,
        address,
        flag,
        source,
    })
}

/// A unix socket; its file is removed with it.
#[derive(Debug)]
pub struct UnixSocket {
    listener: UnixListener,
    file: SocketFile,
}

/// The file of a socket, removed when this is dropped.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl UnixSocket {
    /// What accepts connections, and the file to keep meanwhile.
    pub fn into_parts(self) -> (UnixListener, SocketFile) {
        (self.listener, self.file)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Left behind, it would be taken for stale by the next start: nothing depends on this.
        let _already_gone = fs::remove_file(&self.0);
    }
}

/// Listens on a unix socket that root and its group may use. A socket file on which nobody listens is replaced.
///
/// # Errors
/// [`ListenError`].
pub fn unix(path: &Path) -> Result<UnixSocket, ListenError> {
    let failed = |source| ListenError::Unix {
        path: path.to_owned(),
        source,
    };
    if let Some(directory) = path.parent().filter(|directory| !directory.exists()) {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(DIRECTORY);
        builder.create(directory).map_err(failed)?;
    }
    clear(path)?;
    let listener = UnixListener::bind(path).map_err(failed)?;
    fs::set_permissions(path, Permissions::from_mode(SOCKET)).map_err(failed)?;
    Ok(UnixSocket {
        listener,
        file: SocketFile(path.to_owned()),
    })
}

/// Removes a stale socket file.
fn clear(path: &Path) -> Result<(), ListenError> {
    let failed = |source| ListenError::Unix {
        path: path.to_owned(),
        source,
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(failed(source)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(ListenError::NoSocket {
                path: path.to_owned(),
            });
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        Err(source) => Err(failed(source)),
        Ok(_) => Err(ListenError::InUse {
            path: path.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_living_one_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/hubble.sock");
        let socket = unix(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, SOCKET);
        let error = unix(&path).unwrap_err().to_string();
        assert!(error.contains("in use by another collector"), "{error}");
        drop(socket);
        assert!(!path.exists());
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        unix(&path).unwrap();
    }

    #[tokio::test]
    async fn a_file_in_the_way_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hubble.sock");
        fs::write(&path, "precious").unwrap();
        let error = unix(&path).unwrap_err().to_string();
        assert!(error.contains("is no socket"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[tokio::test]
    async fn a_port_in_use_is_named_with_what_to_do() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap();
        let error = tcp("Hubble's API", "--listen", address).await.unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains(&address.to_string()) && error.contains("--listen"),
            "{error}"
        );
    }
}
