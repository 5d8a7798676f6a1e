//! Certificates in a directory, as Kubernetes mounts Secrets: each in a directory of its own, which is replaced as a whole
//! by turning a link.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use super::bundle::Identity;
use super::error::CertsError;
use super::role::Role;

const DIRECTORY: u32 = 0o755;
const PUBLIC: u32 = 0o644;
const KEY: u32 = 0o600;

/// A directory for certificates.
pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub(super) fn place(&self, role: Role) -> String {
        self.0.join(role.directory()).display().to_string()
    }

    /// What is there. A missing file is empty.
    pub(super) fn load(&self, role: Role) -> Result<Option<Identity>, CertsError> {
        let directory = self.0.join(role.directory());
        if let Err(error) = fs::symlink_metadata(&directory)
            && error.kind() == ErrorKind::NotFound
        {
            return Ok(None);
        }
        Ok(Some(Identity {
            certificate: read(&directory.join("tls.crt"))?,
            key: read(&directory.join("tls.key"))?,
            authority: read(&directory.join("ca.crt"))?,
        }))
    }

    /// Puts it in the place of what is there.
    pub(super) fn put(&self, role: Role, identity: &Identity) -> Result<(), CertsError> {
        fs::create_dir_all(&self.0).map_err(failed("make", &self.0))?;
        let name = role.directory();
        let made = tempfile::Builder::new()
            .prefix(&format!(".{name}-"))
            .permissions(Permissions::from_mode(DIRECTORY))
            .tempdir_in(&self.0)
            .map_err(failed("make a directory in", &self.0))?;
        for (file, text, mode) in [
            ("tls.crt", &identity.certificate, PUBLIC),
            ("tls.key", &identity.key, KEY),
            ("ca.crt", &identity.authority, PUBLIC),
        ] {
            let path = made.path().join(file);
            write(&path, text, mode).map_err(failed("write", &path))?;
        }
        sync(made.path())?;
        self.turn(name, made)
    }

    /// Lets the link lead to a new directory, and removes the old one.
    fn turn(&self, name: &str, made: tempfile::TempDir) -> Result<(), CertsError> {
        let link = self.0.join(name);
        let old = fs::read_link(&link).ok();
        let target = made.path().file_name().unwrap_or_default();
        let next = made.path().with_extension("link");
        symlink(target, &next).map_err(failed("link", &next))?;
        if let Err(error) = fs::rename(&next, &link) {
            // The reason for the failure is worth more than what stays behind.
            fs::remove_file(&next).ok();
            return Err(failed("replace", &link)(error));
        }
        let _kept = made.keep();
        sync(&self.0)?;
        if let Some(old) = old {
            let old = self.0.join(old);
            fs::remove_dir_all(&old).map_err(failed("remove", &old))?;
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<String, CertsError> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        read => read.map_err(failed("read", path)),
    }
}

fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn sync(directory: &Path) -> Result<(), CertsError> {
    let synced = fs::File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(failed("write", directory))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CertsError {
    let path = path.to_owned();
    move |source| CertsError::File {
        action,
        path,
        source,
    }
}
