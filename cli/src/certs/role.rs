//! Whose certificates there are, and the names in them.

use std::collections::BTreeSet;

/// Whose a certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The CA of the others.
    Authority,
    /// The aggregator's, with which it serves.
    Aggregator,
    /// The collectors', with which they push, and serve where they are told to.
    Collector,
    /// Of people and their programs, who ask.
    Client,
}

impl Role {
    pub(super) const LEAVES: [Self; 3] = [Self::Aggregator, Self::Collector, Self::Client];

    /// Name of the Secret.
    pub(super) const fn secret(self) -> &'static str {
        match self {
            Self::Authority => "weir-ca",
            Self::Aggregator => "weir-aggregator-tls",
            Self::Collector => "weir-collector-tls",
            Self::Client => "weir-client-tls",
        }
    }

    /// Name of the directory.
    pub(super) const fn directory(self) -> &'static str {
        match self {
            Self::Authority => "ca",
            Self::Aggregator => "aggregator",
            Self::Collector => "collector",
            Self::Client => "client",
        }
    }

    /// The subject's common name.
    pub(super) const fn common_name(self) -> &'static str {
        match self {
            Self::Authority => "weir-ca",
            Self::Aggregator => "weir-aggregator",
            Self::Collector => "weir-collector",
            Self::Client => "weir-client",
        }
    }

    /// Whether it is for a server.
    pub(super) const fn serves(self) -> bool {
        matches!(self, Self::Aggregator | Self::Collector)
    }

    /// Whether it is for a client.
    pub(super) const fn asks(self) -> bool {
        matches!(self, Self::Collector | Self::Client)
    }
}

/// The aggregator's Services.
const SERVICES: [&str; 2] = ["weir-aggregator", "hubble-relay"];
/// How who forwards a port knows a server.
const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The names under which the servers are known.
#[derive(Clone, Debug)]
pub(super) struct ServerNames {
    aggregator: BTreeSet<String>,
}

impl ServerNames {
    /// Those of the Services in a namespace, and more.
    pub(super) fn new(namespace: &str, more: &[String]) -> Self {
        let suffixes = [
            String::new(),
            format!(".{namespace}"),
            format!(".{namespace}.svc"),
            format!(".{namespace}.svc.cluster.local"),
        ];
        let services = SERVICES.iter().flat_map(|service| {
            suffixes
                .iter()
                .map(move |suffix| format!("{service}{suffix}"))
        });
        let local = LOCAL.iter().map(ToString::to_string);
        Self {
            aggregator: services.chain(local).chain(more.iter().cloned()).collect(),
        }
    }

    /// Those of a role.
    pub(super) fn of(&self, role: Role) -> BTreeSet<String> {
        let own = [role.common_name().to_owned()].into_iter();
        match role {
            Role::Aggregator => self.aggregator.clone(),
            // The same on all nodes: those who ask give it as the server's name.
            Role::Collector => own.chain(LOCAL.iter().map(ToString::to_string)).collect(),
            Role::Authority | Role::Client => own.collect(),
        }
    }
}
