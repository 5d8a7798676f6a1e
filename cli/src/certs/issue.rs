//! The CA, and what it signs.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use tracing::warn;

use super::bundle::{Identity, is_old};
use super::error::CertsError;
use super::role::Role;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * DAY.as_secs());
const LEAF_LIFE: Duration = Duration::from_secs(365 * DAY.as_secs());
/// Others' clocks may be behind.
const SKEW: Duration = Duration::from_secs(60 * 60);

/// A CA that can sign.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    identity: Identity,
    until: SystemTime,
}

impl Authority {
    /// A new one.
    pub(super) fn new(now: SystemTime) -> Result<Self, CertsError> {
        let until = now + AUTHORITY_LIFE;
        let mut params = params(Role::Authority, &BTreeSet::new(), now, until)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(failed(Role::Authority))?;
        let certificate = params
            .self_signed(&key)
            .map_err(failed(Role::Authority))?
            .pem();
        let identity = Identity {
            key: key.serialize_pem(),
            authority: certificate.clone(),
            certificate,
        };
        Ok(Self {
            issuer: Issuer::new(params, key),
            identity,
            until,
        })
    }

    /// One that is there. It is used until its end: replacing it would cut everybody off.
    pub(super) fn open(
        identity: Identity,
        place: &str,
        now: SystemTime,
    ) -> Result<Self, CertsError> {
        let unusable = |reason: &str| CertsError::Authority {
            place: place.to_owned(),
            reason: reason.to_owned(),
        };
        let facts = identity.facts();
        let facts = facts.ok_or_else(|| unusable("tls.crt or tls.key is damaged"))?;
        if facts.not_after < now + SKEW {
            return Err(unusable("it has expired"));
        }
        if is_old(&facts, now) {
            warn!(place, "the CA is past two thirds of its life");
        }
        let opened = KeyPair::from_pem(&identity.key)
            .and_then(|key| Issuer::from_ca_cert_pem(&identity.certificate, key));
        Ok(Self {
            issuer: opened.map_err(|error| unusable(&error.to_string()))?,
            identity,
            until: facts.not_after,
        })
    }

    /// As it is stored.
    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The end of its life.
    pub(super) fn until(&self) -> SystemTime {
        self.until
    }

    /// A new certificate with a new key.
    pub(super) fn issue(
        &self,
        role: Role,
        names: &BTreeSet<String>,
        now: SystemTime,
    ) -> Result<Identity, CertsError> {
        let mut params = params(role, names, now, (now + LEAF_LIFE).min(self.until))?;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let usages = [
            (role.serves(), ExtendedKeyUsagePurpose::ServerAuth),
            (role.asks(), ExtendedKeyUsagePurpose::ClientAuth),
        ];
        let usages = usages.into_iter().filter(|(applies, _)| *applies);
        params.extended_key_usages = usages.map(|(_, usage)| usage).collect();
        let key = KeyPair::generate().map_err(failed(role))?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed(role))?;
        Ok(Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            authority: self.identity.certificate.clone(),
        })
    }
}

fn params(
    role: Role,
    names: &BTreeSet<String>,
    now: SystemTime,
    until: SystemTime,
) -> Result<CertificateParams, CertsError> {
    let names: Vec<String> = names.iter().cloned().collect();
    let mut params = CertificateParams::new(names).map_err(failed(role))?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, role.common_name());
    params.not_before = (now - SKEW).into();
    params.not_after = until.into();
    Ok(params)
}

fn failed(role: Role) -> impl Fn(rcgen::Error) -> CertsError {
    move |source| CertsError::Issue {
        whose: role.common_name(),
        source,
    }
}
