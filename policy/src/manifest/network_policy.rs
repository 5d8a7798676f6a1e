//! NetworkPolicy v1: strict reading, validation (`pkg/apis/networking/validation/validation.go`) and defaults
//! (`pkg/apis/networking/v1/defaults.go`).

use ipnet::IpNet;

use super::diagnostic::{Findings, Severity};
use super::meta::{self, NameRule};
use super::read::{At, Fields, Unknown};
use super::{selector, syntax};
use crate::model::{
    Direction, IpBlock, LabelSelector, NetworkPolicy, Peer, PolicyPort, PolicyTypes, Port,
    Protocol, Rule,
};

/// Reads a policy. `None` only if it has no name; errors are in the findings.
pub(super) fn read(root: &Fields<'_>, findings: &mut Findings) -> Option<NetworkPolicy> {
    root.only(
        findings,
        &["apiVersion", "kind", "metadata", "spec", "status"],
    );
    let meta = meta::read(root, NameRule::Subdomain, Unknown::Refuse, findings);
    let spec = root.object(findings, "spec");
    let (mut pod_selector, mut ingress, mut egress, mut types) =
        (LabelSelector::default(), Vec::new(), Vec::new(), None);
    if let Some(spec) = &spec {
        spec.only(
            findings,
            &["egress", "ingress", "podSelector", "policyTypes"],
        );
        pod_selector = spec
            .get("podSelector")
            .map(|at| selector::read(&at, findings))
            .unwrap_or_default();
        ingress = rules(spec, Direction::Ingress, findings);
        egress = rules(spec, Direction::Egress, findings);
        types = policy_types(spec, findings);
    }
    let types = types.unwrap_or(PolicyTypes {
        ingress: true,
        egress: !egress.is_empty(),
    });
    Some(NetworkPolicy {
        name: meta?.full_name(),
        pod_selector,
        types,
        ingress,
        egress,
    })
}

/// `None` where the field is absent or empty: then the defaults apply.
fn policy_types(spec: &Fields<'_>, findings: &mut Findings) -> Option<PolicyTypes> {
    let at = spec.get("policyTypes")?;
    let items = at.texts(findings);
    if items.len() > 2 {
        at.error(
            findings,
            "too-many",
            "may not specify more than two policyTypes",
        );
    }
    let mut types = PolicyTypes {
        ingress: false,
        egress: false,
    };
    for (at, text) in &items {
        match *text {
            "Ingress" => types.ingress = true,
            "Egress" => types.egress = true,
            other => at.error(
                findings,
                "not-supported",
                format!(
                    "unsupported value `{other}`: supported are Ingress and Egress, spelt like this"
                ),
            ),
        }
    }
    (!items.is_empty()).then_some(types)
}

fn rules(spec: &Fields<'_>, direction: Direction, findings: &mut Findings) -> Vec<Rule> {
    spec.list(findings, direction.as_str())
        .iter()
        .map(|at| rule(at, direction, findings))
        .collect()
}

fn rule(at: &At<'_>, direction: Direction, findings: &mut Findings) -> Rule {
    // `[null]` is one empty rule.
    let Some(fields) = (!at.is_null()).then(|| at.object(findings)).flatten() else {
        return Rule::default();
    };
    let peers_field = match direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    };
    fields.only(findings, &[peers_field, "ports"]);
    let peers = fields
        .list(findings, peers_field)
        .iter()
        .filter_map(|at| peer(at, findings))
        .collect();
    let ports = fields
        .list(findings, "ports")
        .iter()
        .filter_map(|at| port(at, findings))
        .collect();
    Rule { peers, ports }
}

fn peer(at: &At<'_>, findings: &mut Findings) -> Option<Peer> {
    if at.is_null() {
        at.error(findings, "required", "must specify a peer");
        return None;
    }
    let fields = at.object(findings)?;
    let before = findings.errors();
    fields.only(findings, &["ipBlock", "namespaceSelector", "podSelector"]);
    let pod_selector = fields
        .get("podSelector")
        .map(|at| selector::read(&at, findings));
    let namespace_selector = fields
        .get("namespaceSelector")
        .map(|at| selector::read(&at, findings));
    let block = fields.get("ipBlock");
    if block.is_some() && (pod_selector.is_some() || namespace_selector.is_some()) {
        at.error(
            findings,
            "forbidden",
            "may not specify both ipBlock and another peer",
        );
    }
    if let Some(block) = block {
        return ip_block(&block, findings).map(Peer::IpBlock);
    }
    if pod_selector.is_none() && namespace_selector.is_none() {
        // A misspelt selector has been reported already; the peer is no less empty without it.
        if findings.errors() == before {
            at.error(
                findings,
                "required",
                "must specify a peer; an empty peer is not everything, leave the list out for that",
            );
        }
        return None;
    }
    Some(Peer::Pods {
        namespace_selector,
        pod_selector,
    })
}

fn ip_block(at: &At<'_>, findings: &mut Findings) -> Option<IpBlock> {
    let fields = at.object(findings)?;
    fields.only(findings, &["cidr", "except"]);
    let Some(cidr_at) = fields.get("cidr") else {
        findings.add(
            Severity::Error,
            "required",
            at.mark,
            &format!("{}.cidr", at.path),
            "required",
        );
        return None;
    };
    let cidr = cidr(&cidr_at, findings);
    let mut except = Vec::new();
    for at in fields.list(findings, "except") {
        let Some(inner) = self::cidr(&at, findings) else {
            continue;
        };
        if let Some(outer) = cidr
            && (!outer.contains(&inner) || outer.prefix_len() >= inner.prefix_len())
        {
            at.error(
                findings,
                "not-a-subset",
                format!("must be a strict subset of cidr {outer}"),
            );
            continue;
        }
        except.push(inner);
    }
    Some(IpBlock {
        cidr: cidr?,
        except,
    })
}

fn cidr(at: &At<'_>, findings: &mut Findings) -> Option<IpNet> {
    let text = at.text(findings)?;
    match syntax::cidr(text) {
        Ok(cidr) => {
            if let Some(warning) = cidr.warning {
                at.warn(findings, "cidr-not-canonical", warning);
            }
            Some(cidr.net)
        }
        Err(wrong) => {
            at.error(findings, "invalid-cidr", wrong);
            None
        }
    }
}

fn port(at: &At<'_>, findings: &mut Findings) -> Option<PolicyPort> {
    // `[null]` is `{}`: all TCP ports.
    if at.is_null() {
        return Some(PolicyPort {
            protocol: Protocol::Tcp,
            port: Port::All,
        });
    }
    let fields = at.object(findings)?;
    fields.only(findings, &["endPort", "port", "protocol"]);
    let protocol = match fields.get("protocol") {
        Some(at) => protocol(&at, findings),
        None => Some(Protocol::Tcp),
    };
    let port = fields.get("port").map(|at| port_value(&at, findings));
    let end = fields.get("endPort");
    let port = match (port, end) {
        (None, None) => Some(Port::All),
        (None, Some(end)) => {
            end.error(
                findings,
                "forbidden",
                "may not be specified when port is not specified",
            );
            None
        }
        (Some(port), None) => port,
        (Some(port), Some(end)) => range(port, &end, findings),
    };
    Some(PolicyPort {
        protocol: protocol?,
        port: port?,
    })
}

fn range(port: Option<Port>, end: &At<'_>, findings: &mut Findings) -> Option<Port> {
    if matches!(port, Some(Port::Named(_))) {
        end.error(
            findings,
            "forbidden",
            "may not be specified when port is non-numeric (a name)",
        );
        return None;
    }
    let last = match syntax::port_number(end.integer(findings)?) {
        Ok(last) => last,
        Err(wrong) => {
            end.error(findings, "out-of-range", wrong);
            return None;
        }
    };
    let Some(Port::Range { first, .. }) = port else {
        return None;
    };
    if last < first {
        end.error(
            findings,
            "out-of-range",
            format!("{last} must be greater than or equal to port {first}"),
        );
        return None;
    }
    Some(Port::Range { first, last })
}

fn port_value(at: &At<'_>, findings: &mut Findings) -> Option<Port> {
    use super::yaml::Value;
    let wrong = match &at.node.value {
        Value::Int(number) => match syntax::port_number(*number) {
            Ok(port) => {
                return Some(Port::Range {
                    first: port,
                    last: port,
                });
            }
            Err(wrong) => ("out-of-range", wrong),
        },
        Value::Text(name) => match syntax::port_name(name) {
            Ok(()) => return Some(Port::Named(name.as_str().into())),
            Err(wrong) => ("invalid-port-name", wrong),
        },
        other => (
            "wrong-type",
            format!("must be an integer or a string, got {}", other.describe()),
        ),
    };
    at.error(findings, wrong.0, wrong.1);
    None
}

/// A protocol by its API spelling.
pub(super) fn protocol(at: &At<'_>, findings: &mut Findings) -> Option<Protocol> {
    let text = at.text(findings)?;
    let protocol = Protocol::parse(text);
    if protocol.is_none() {
        at.error(
            findings,
            "not-supported",
            format!("unsupported value `{text}`: supported are TCP, UDP and SCTP"),
        );
    }
    protocol
}
