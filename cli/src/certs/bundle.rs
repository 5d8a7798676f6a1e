//! A certificate with its key and its CA, as it is stored, and what may be wrong with it.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{KeyPair, PublicKeyData as _};
use weir_tls::{Facts, certificates_in};

/// What is stored together, as PEM. Names as in Secrets of the type `kubernetes.io/tls`.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Identity {
    /// `tls.crt`.
    pub(super) certificate: String,
    /// `tls.key`.
    pub(super) key: String,
    /// `ca.crt`.
    pub(super) authority: String,
}

/// Why a certificate is made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// Certificate or key cannot be read, or they are of two pairs.
    Damaged,
    /// The CA is another one now.
    OtherAuthority,
    /// It has not the names that it must have, or others.
    OtherNames,
    /// It is past two thirds of its life.
    Old,
}

impl Identity {
    /// What is wrong with it, if anything is.
    pub(super) fn flaw(
        &self,
        authority: &str,
        names: &BTreeSet<String>,
        now: SystemTime,
    ) -> Option<Flaw> {
        let (Some(der), Some(ca)) = (der(&self.certificate), der(authority)) else {
            return Some(Flaw::Damaged);
        };
        let Some(facts) = self.facts() else {
            return Some(Flaw::Damaged);
        };
        if self.authority != authority || !Facts::is_signed_by(&der, &ca) {
            return Some(Flaw::OtherAuthority);
        }
        if facts.names.iter().cloned().collect::<BTreeSet<_>>() != *names {
            return Some(Flaw::OtherNames);
        }
        is_old(&facts, now).then_some(Flaw::Old)
    }

    /// What the certificate says; none if it is damaged, or the key is not its.
    pub(super) fn facts(&self) -> Option<Facts> {
        let facts = Facts::read(&der(&self.certificate)?).ok()?;
        let key = KeyPair::from_pem(&self.key).ok()?;
        (key.subject_public_key_info() == facts.public_key).then_some(facts)
    }

    /// The end of its life.
    pub(super) fn until(&self) -> Option<SystemTime> {
        Some(self.facts()?.not_after)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the key.
        f.debug_struct("Identity")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Damaged => "it was damaged",
            Self::OtherAuthority => "it was of another CA",
            Self::OtherNames => "it had other names",
            Self::Old => "it was past two thirds of its life",
        })
    }
}

/// Whether a certificate is past two thirds of its life, or not valid yet.
pub(super) fn is_old(facts: &Facts, now: SystemTime) -> bool {
    let life = facts.not_after.duration_since(facts.not_before);
    let age = now.duration_since(facts.not_before);
    age.map_or(true, |age| age > life.unwrap_or(Duration::ZERO) * 2 / 3)
}

/// The first certificate of a PEM text.
fn der(pem: &str) -> Option<Vec<u8>> {
    let certificates = certificates_in(pem.as_bytes(), Path::new("")).ok()?;
    Some(certificates.first()?.to_vec())
}
