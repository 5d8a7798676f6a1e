//! PEM files: certificates, keys, CAs.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{InconsistentKeys, RootCertStore};
use tracing::warn;

use crate::TlsError;
use crate::facts::{Age, Facts};

/// More than any bundle of CAs has; what is longer is cut, and then damaged.
const MAX_BYTES: u64 = 4 << 20;

/// A certificate with its chain, and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityFiles {
    /// PEM: the certificate, then those that lead to its CA.
    pub certificate: PathBuf,
    /// PEM: PKCS #8, PKCS #1 or SEC 1.
    pub key: PathBuf,
}

impl IdentityFiles {
    pub(crate) fn paths(&self) -> [PathBuf; 2] {
        [self.certificate.clone(), self.key.clone()]
    }

    /// A certificate that has expired is used all the same: who is asked says no with the better reason.
    pub(crate) fn load(&self) -> Result<Arc<SingleCertAndKey>, TlsError> {
        let path = &self.certificate;
        let chain = certificates(path)?;
        // There is at least one.
        if let Some(first) = chain.first() {
            warn_of_age(path, first)?;
        }
        let key = key(&self.key)?;
        let identity = CertifiedKey::from_der(chain, key, &crate::provider());
        let identity = identity.map_err(|source| match source {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                TlsError::KeyMismatch {
                    key: self.key.clone(),
                    certificate: path.clone(),
                }
            }
            rustls::Error::InvalidCertificate(error) => TlsError::Certificate {
                path: path.clone(),
                reason: error.to_string(),
            },
            source => TlsError::Key {
                path: self.key.clone(),
                source,
            },
        })?;
        Ok(Arc::new(SingleCertAndKey::from(identity)))
    }
}

/// All certificates of a PEM file; at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    certificates_in(&read(path)?, path)
}

/// All certificates of a PEM text; at least one. `path` is what errors name.
///
/// # Errors
/// [`TlsError`].
pub fn certificates_in(text: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>();
    let certificates = read.map_err(|source| TlsError::Pem {
        path: path.to_owned(),
        source,
    })?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate {
            path: path.to_owned(),
        });
    }
    Ok(certificates)
}

/// The CAs of files.
pub(crate) fn authorities(paths: &[PathBuf]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for path in paths {
        for certificate in certificates(path)? {
            warn_of_age(path, &certificate)?;
            let added = roots.add(certificate);
            added.map_err(|source| TlsError::Authority {
                path: path.clone(),
                source,
            })?;
        }
    }
    Ok(roots)
}

/// The system's CAs.
pub(crate) fn system_authorities() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let (added, _) =
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        return Err(TlsError::NoAuthorities);
    }
    Ok(roots)
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|source| {
        let path = path.to_owned();
        match source {
            pem::Error::NoItemsFound => TlsError::NoKey { path },
            source => TlsError::Pem { path, source },
        }
    })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut text));
    read.map_err(|source| TlsError::Read {
        path: path.to_owned(),
        source,
    })?;
    Ok(text)
}

fn warn_of_age(path: &Path, certificate: &[u8]) -> Result<(), TlsError> {
    let facts = Facts::read(certificate).map_err(|reason| TlsError::Certificate {
        path: path.to_owned(),
        reason,
    })?;
    let file = path.display();
    match facts.age(SystemTime::now()) {
        Age::InForce => {}
        Age::Expired => warn!(%file, "the certificate has expired"),
        Age::NotYet => warn!(%file, "the certificate is not valid yet"),
    }
    Ok(())
}
