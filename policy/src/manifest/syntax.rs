//! Names, labels, ports and CIDRs by the API's rules (`k8s.io/apimachinery` `pkg/util/validation`,
//! `pkg/apis/networking/validation`). Each says in words what is wrong.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// A name that is not as the API wants it: what it must be.
pub(super) type Wrong = String;

fn is_alphanumeric(text: &str, index: usize) -> bool {
    text.as_bytes()
        .get(index)
        .is_some_and(u8::is_ascii_alphanumeric)
}

/// RFC 1123 label.
pub(super) fn dns_label(text: &str) -> Result<(), Wrong> {
    let chars = text
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let ends = !text.is_empty() && !text.starts_with('-') && !text.ends_with('-');
    if chars && ends && text.len() <= 63 {
        return Ok(());
    }
    Err(format!(
        "`{text}` is no DNS label: lower case letters, digits and `-`, at most 63, beginning and ending with a letter or digit"
    ))
}

/// RFC 1123 subdomain.
pub(super) fn dns_subdomain(text: &str) -> Result<(), Wrong> {
    let part = |part: &str| {
        let chars = part
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        chars && !part.is_empty() && !part.starts_with('-') && !part.ends_with('-')
    };
    if text.len() <= 253 && text.split('.').all(part) {
        return Ok(());
    }
    Err(format!(
        "`{text}` is no DNS subdomain: lower case letters, digits, `-` and `.`, at most 253"
    ))
}

fn is_qualified_part(text: &str) -> bool {
    let chars = text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    chars && text.len() <= 63 && is_alphanumeric(text, 0) && is_alphanumeric(text, text.len() - 1)
}

/// A label key: `[prefix/]name`.
pub(super) fn label_key(text: &str) -> Result<(), Wrong> {
    let (prefix, name) = text
        .split_once('/')
        .map_or((None, text), |(prefix, name)| (Some(prefix), name));
    if is_qualified_part(name) && prefix.is_none_or(|prefix| dns_subdomain(prefix).is_ok()) {
        return Ok(());
    }
    Err(format!(
        "invalid label key `{text}`: letters, digits, `-`, `_` and `.`, at most 63, with an optional DNS prefix and `/`"
    ))
}

/// A label value; may be empty.
pub(super) fn label_value(text: &str) -> Result<(), Wrong> {
    if text.is_empty() || is_qualified_part(text) {
        return Ok(());
    }
    Err(format!(
        "invalid label value `{text}`: letters, digits, `-`, `_` and `.`, at most 63, beginning and ending with a letter or digit"
    ))
}

/// A port name (`IsValidPortName`, IANA service name).
pub(super) fn port_name(text: &str) -> Result<(), Wrong> {
    let wrong = |why: &str| Err(format!("`{text}` is not a valid port name: {why}"));
    if text.len() > 15 {
        return wrong("longer than 15 characters");
    }
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        return wrong("it must be lower case");
    }
    if !text
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    {
        return wrong("only letters, digits and `-`");
    }
    if !text.bytes().any(|b| b.is_ascii_lowercase()) {
        return wrong("it needs at least one letter; a number must not be in quotes");
    }
    if text.starts_with('-') || text.ends_with('-') || text.contains("--") {
        return wrong("`-` stands only between letters or digits");
    }
    Ok(())
}

/// A port number.
pub(super) fn port_number(number: i64) -> Result<u16, Wrong> {
    u16::try_from(number)
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(|| format!("{number} must be between 1 and 65535"))
}

/// A CIDR, and what about it is unusual but accepted.
pub(super) struct Cidr {
    pub(super) net: IpNet,
    pub(super) warning: Option<String>,
}

/// A CIDR as the API accepts it for this legacy field: leading zeros and host bits are let pass (`ParseCIDRSloppy`).
pub(super) fn cidr(text: &str) -> Result<Cidr, Wrong> {
    let wrong =
        |why: &str| format!("`{text}` is not a CIDR{why}, e.g. 10.0.0.0/8 or 2001:db8::/64");
    let (address, prefix) = text
        .split_once('/')
        .ok_or_else(|| wrong(if text.is_empty() { "" } else { " (no mask)" }))?;
    let (address, sloppy) = sloppy_address(address).ok_or_else(|| wrong(""))?;
    let digits =
        !prefix.is_empty() && prefix.len() <= 3 && prefix.bytes().all(|b| b.is_ascii_digit());
    let prefix = prefix
        .parse::<u8>()
        .ok()
        .filter(|_| digits)
        .ok_or_else(|| wrong(""))?;
    let net = IpNet::new(address, prefix).map_err(|_| wrong(""))?;
    let masked = net.trunc();
    let warning = if masked.addr() != address {
        Some(format!(
            "`{text}` has bits set beyond its mask; it means {masked}"
        ))
    } else if sloppy {
        Some(format!("`{text}` has leading zeros; it means {masked}"))
    } else {
        None
    };
    Ok(Cidr {
        net: masked,
        warning,
    })
}

/// An address; IPv4 octets with leading zeros are read as decimal (`ParseIPSloppy`). The flag says whether it had any.
fn sloppy_address(text: &str) -> Option<(IpAddr, bool)> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some((unmap(address), false));
    }
    let octets: Vec<u8> = text
        .split('.')
        .map(|octet| {
            octet
                .bytes()
                .all(|b| b.is_ascii_digit())
                .then(|| octet.parse().ok())
                .flatten()
        })
        .collect::<Option<_>>()?;
    let octets: [u8; 4] = octets.try_into().ok()?;
    Some((IpAddr::V4(Ipv4Addr::from(octets)), true))
}

fn unmap(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

/// An address of a pod, node or Service.
pub(super) fn address(text: &str) -> Result<IpAddr, Wrong> {
    let parsed = sloppy_address(text).map(|(address, _)| address);
    parsed
        .filter(|address| *address != IpAddr::V6(Ipv6Addr::UNSPECIFIED))
        .ok_or_else(|| format!("`{text}` is no IP address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_names_are_iana_service_names() {
        for good in ["http", "serve-80-tcp", "a1"] {
            assert_eq!(port_name(good), Ok(()), "{good}");
        }
        for bad in [
            "80",
            "",
            "-a",
            "a--b",
            "HTTP",
            "sixteen-letters-x",
            "a_b",
            "!@#$",
        ] {
            assert!(port_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn cidrs_are_masked_and_legacy_forms_pass_with_a_warning() {
        let plain = cidr("10.0.0.0/8").expect("valid");
        assert!(plain.warning.is_none());
        let host_bits = cidr("10.244.1.7/4").expect("legacy");
        assert_eq!(
            (
                host_bits.net.to_string().as_str(),
                host_bits.warning.is_some()
            ),
            ("0.0.0.0/4", true)
        );
        assert_eq!(
            cidr("010.1.0.0/16").expect("legacy").net.to_string(),
            "10.1.0.0/16"
        );
        for bad in [
            "",
            "10.0.0.0",
            "10.0.0.0/33",
            "300.1.1.1/8",
            "::/129",
            "10.0.0.0/+8",
            "10.0.0.0/ 8",
            "a/b",
        ] {
            assert!(cidr(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn labels_follow_the_qualified_name_rules() {
        for good in ["app", "k8s.io/name", "a_b.c-d", "A"] {
            assert_eq!(label_key(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "app@b",
            "/x",
            "a/b/c",
            "-a",
            "a-",
            "UPPER.io/",
            "Prefix/x",
        ] {
            assert!(label_key(bad).is_err(), "{bad}");
        }
        assert_eq!(label_value(""), Ok(()));
        assert!(label_value("a b").is_err());
    }
}
