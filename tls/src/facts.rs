//! What a certificate says of itself.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// What a certificate says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// When its life begins.
    pub not_before: SystemTime,
    /// When its life ends.
    pub not_after: SystemTime,
    /// DNS names and addresses that it is for.
    pub names: Vec<String>,
    /// Its public key, as DER.
    pub public_key: Vec<u8>,
}

/// Where in its life a certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Age {
    NotYet,
    InForce,
    Expired,
}

impl Facts {
    /// Reads them from DER.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn read(der: &[u8]) -> Result<Self, String> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
        let validity = certificate.validity();
        let names = certificate
            .subject_alternative_name()
            .map_err(|error| error.to_string())?
            .map(|names| names.value.general_names.iter().filter_map(name).collect());
        Ok(Self {
            not_before: time(validity.not_before.timestamp()),
            not_after: time(validity.not_after.timestamp()),
            names: names.unwrap_or_default(),
            public_key: certificate.public_key().raw.to_vec(),
        })
    }

    /// Whether a certificate bears the signature of a CA's key, both DER.
    pub fn is_signed_by(certificate: &[u8], authority: &[u8]) -> bool {
        let certificate = X509Certificate::from_der(certificate);
        let authority = X509Certificate::from_der(authority);
        let (Ok((_, certificate)), Ok((_, authority))) = (certificate, authority) else {
            return false;
        };
        let key = authority.public_key();
        certificate.verify_signature(Some(key)).is_ok()
    }

    pub(crate) fn age(&self, now: SystemTime) -> Age {
        if now < self.not_before {
            Age::NotYet
        } else if now > self.not_after {
            Age::Expired
        } else {
            Age::InForce
        }
    }
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let address = v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
            address.ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

fn time(seconds: i64) -> SystemTime {
    match u64::try_from(seconds) {
        Ok(seconds) => UNIX_EPOCH + Duration::from_secs(seconds),
        Err(_) => UNIX_EPOCH,
    }
}
