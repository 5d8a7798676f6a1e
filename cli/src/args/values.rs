//! Values with units, moments and addresses on the command line.

use std::str::FromStr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// A number of bytes: `4096`, `64KiB`, `256MiB`, `1GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no size: expected a number with KiB, MiB, GiB or nothing, e.g. 256MiB"
            )
        };
        let digits = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
        let unit = match &text[digits..] {
            "" | "B" => 1,
            "Ki" | "KiB" => 1 << 10,
            "Mi" | "MiB" => 1 << 20,
            "Gi" | "GiB" => 1 << 30,
            _ => return Err(wrong()),
        };
        number.checked_mul(unit).map(Self).ok_or_else(wrong)
    }
}

/// A positive length of time: `500ms`, `15s`, `5m`, `1h30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval(pub Duration);

impl FromStr for Interval {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no time: expected e.g. 500ms, 15s, 5m or 1h30m");
        let duration: SignedDuration = text.parse().map_err(|_| wrong())?;
        let duration = Duration::try_from(duration).map_err(|_| wrong())?;
        if duration.is_zero() {
            Err(wrong())
        } else {
            Ok(Self(duration))
        }
    }
}

/// A moment: RFC 3339, or how long ago (`5m`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment(pub Timestamp);

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(at) = text.parse::<Timestamp>() {
            return Ok(Self(at));
        }
        let ago: SignedDuration =
            text.parse().map_err(|_| format!("`{text}` is no moment: expected how long ago (5m) or RFC 3339 (2026-01-31T12:00:00Z)"))?;
        Timestamp::now()
            .checked_sub(ago)
            .map(Self)
            .map_err(|_| format!("`{text}` lies too far back"))
    }
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ServerAddress {
    /// `host:port`.
    Tcp(String),
    /// `tls://host:port`.
    Tls(String),
    /// A unix socket.
    Unix(std::path::PathBuf),
}

impl FromStr for ServerAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text
            .strip_prefix("unix://")
            .or_else(|| text.strip_prefix("unix:"))
        {
            return if path.is_empty() {
                Err("unix:// needs a path".into())
            } else {
                Ok(Self::Unix(path.into()))
            };
        }
        let encrypted = text
            .strip_prefix("tls://")
            .or_else(|| text.strip_prefix("https://"));
        let open = text
            .strip_prefix("tcp://")
            .or_else(|| text.strip_prefix("http://"));
        let rest = encrypted.or(open).unwrap_or(text);
        match rest.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                Ok(match encrypted {
                    Some(_) => Self::Tls(rest.to_owned()),
                    None => Self::Tcp(rest.to_owned()),
                })
            }
            _ => Err(format!(
                "`{text}` is no address: expected host:port, tls://host:port or unix:///path"
            )),
        }
    }
}

impl std::fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Tls(address) => write!(f, "tls://{address}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!("256MiB".parse(), Ok(ByteSize(256 << 20)));
        assert_eq!("4096".parse(), Ok(ByteSize(4096)));
        assert!("4 potatoes".parse::<ByteSize>().is_err());
        assert!("99999999999GiB".parse::<ByteSize>().is_err());
    }

    #[test]
    fn intervals_are_positive() {
        assert_eq!("1m30s".parse(), Ok(Interval(Duration::from_secs(90))));
        assert!("0s".parse::<Interval>().is_err());
        assert!("-5s".parse::<Interval>().is_err());
        assert!("soon".parse::<Interval>().is_err());
    }

    #[test]
    fn a_moment_is_absolute_or_ago() {
        let five_minutes_ago: Moment = "5m".parse().expect("ago");
        assert!(five_minutes_ago.0 < Timestamp::now());
        assert!("2026-01-31T12:00:00Z".parse::<Moment>().is_ok());
        assert!("yesterday-ish".parse::<Moment>().is_err());
    }

    #[test]
    fn a_server_is_tcp_tls_or_unix() {
        assert_eq!(
            "localhost:4245".parse(),
            Ok(ServerAddress::Tcp("localhost:4245".into()))
        );
        let encrypted = Ok(ServerAddress::Tls("localhost:4245".into()));
        assert_eq!("tls://localhost:4245".parse(), encrypted);
        assert_eq!("https://localhost:4245".parse(), encrypted);
        assert_eq!(
            "unix:///run/weir/hubble.sock".parse(),
            Ok(ServerAddress::Unix("/run/weir/hubble.sock".into()))
        );
        assert!("localhost".parse::<ServerAddress>().is_err());
    }
}
