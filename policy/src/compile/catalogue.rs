//! What every number means: rules, sets and identities, across restarts.
//!
//! The catalogue is to be on disk before the kernel gets a number that is new in it. Numbers only grow.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::model::{Direction, Labels, Name, NamedPort, Protocol};
use crate::tables::{IdentityId, RuleId, SetId, Tables};

/// What a rule id stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RuleEntry {
    /// The NetworkPolicy.
    pub policy: Name,
    /// Which of its two lists.
    pub direction: Direction,
    /// Index in that list, from 0.
    pub index: u32,
}

/// What a set id stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SetEntry {
    /// Direction it judges.
    pub direction: Direction,
    /// The policies that isolate its endpoints, by name.
    pub policies: Vec<Name>,
    /// How the named ports of its rules resolve on its own endpoints (ingress): name, protocol, number if declared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<(Arc<str>, Protocol, Option<u16>)>,
    /// Addresses of the one endpoint it is for, that reaches itself through a Service (egress).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hairpin: Vec<IpAddr>,
}

/// What an identity id stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum IdentityEntry {
    /// Pods that policies cannot tell apart.
    Pods {
        /// Their namespace.
        namespace: Arc<str>,
        /// Its labels.
        namespace_labels: Labels,
        /// Their labels.
        labels: Labels,
        /// The ports they declare by name: name, protocol, number.
        ports: Vec<(Arc<str>, Protocol, u16)>,
        /// The policy CIDRs that cover their addresses, widest first.
        cidrs: Vec<IpNet>,
    },
    /// Addresses of nodes.
    Node {
        /// The policy CIDRs that cover them, widest first.
        cidrs: Vec<IpNet>,
    },
    /// Any other address under these policy CIDRs.
    Cidr {
        /// Widest first.
        cidrs: Vec<IpNet>,
    },
    /// One port of a Service, with its backends of the time.
    Service {
        /// The Service.
        service: Name,
        /// Name of the port; empty if it has none.
        port: Arc<str>,
        /// Protocol.
        protocol: Protocol,
        /// The backends as identities see them, in words.
        backends: Vec<String>,
    },
    /// Front end that was one of a Service and leads to this node itself.
    OwnNode,
}

/// The meaning of all numbers. Serialises to one JSON document; [`Catalogue::added`] gives what is new since a mark,
/// for appending.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct Catalogue {
    stored: Stored,
    rules: HashMap<RuleEntry, RuleId, RandomState>,
}

/// Entries of a catalogue: all of them, or those after a mark.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Rules by number.
    pub rules: BTreeMap<RuleId, RuleEntry>,
    /// Sets by number.
    pub sets: BTreeMap<SetId, SetEntry>,
    /// Identities by number.
    pub identities: BTreeMap<IdentityId, IdentityEntry>,
    /// The next free numbers.
    pub next: Mark,
}

/// How far numbering has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Next rule.
    pub rule: RuleId,
    /// Next set.
    pub set: SetId,
    /// Next identity.
    pub identity: IdentityId,
    /// Revision of the last compiled state.
    pub revision: u64,
}

impl Default for Mark {
    fn default() -> Self {
        Self {
            rule: RuleId::FIRST,
            set: SetId::FIRST,
            identity: IdentityId::FIRST,
            revision: 0,
        }
    }
}

impl From<Stored> for Catalogue {
    fn from(stored: Stored) -> Self {
        let rules = stored
            .rules
            .iter()
            .map(|(id, entry)| (entry.clone(), *id))
            .collect();
        Self { stored, rules }
    }
}

impl From<Catalogue> for Stored {
    fn from(catalogue: Catalogue) -> Self {
        catalogue.stored
    }
}

impl Default for Catalogue {
    fn default() -> Self {
        Stored::default().into()
    }
}

impl Catalogue {
    /// What a rule id stands for.
    pub fn rule(&self, id: RuleId) -> Option<&RuleEntry> {
        self.stored.rules.get(&id)
    }

    /// What a set id stands for.
    pub fn set(&self, id: SetId) -> Option<&SetEntry> {
        self.stored.sets.get(&id)
    }

    /// What an identity id stands for.
    pub fn identity(&self, id: IdentityId) -> Option<&IdentityEntry> {
        self.stored.identities.get(&id)
    }

    /// How far numbering has come.
    pub fn mark(&self) -> Mark {
        self.stored.next
    }

    /// The entries that were added after `mark`.
    pub fn added(&self, mark: Mark) -> Stored {
        let copy = |id, entry: &_| (id, Clone::clone(entry));
        Stored {
            rules: (self.stored.rules.range(mark.rule..))
                .map(|(id, e)| (*id, e.clone()))
                .collect(),
            sets: (self.stored.sets.range(mark.set..))
                .map(|(id, e)| (*id, e.clone()))
                .collect(),
            identities: self
                .stored
                .identities
                .range(mark.identity..)
                .map(|(id, entry)| copy(*id, entry))
                .collect(),
            next: self.stored.next,
        }
    }

    /// Takes in entries that [`Catalogue::added`] gave, in the same order.
    pub fn extend(&mut self, added: Stored) {
        for (id, entry) in added.rules {
            self.rules.insert(entry.clone(), id);
            self.stored.rules.insert(id, entry);
        }
        self.stored.sets.extend(added.sets);
        self.stored.identities.extend(added.identities);
        self.stored.next = added.next;
    }

    /// Forgets sets and identities that `keep_set` and `keep_identity` refuse: those that neither a table nor a flow,
    /// denial or unread record refers to. Their numbers are not used again.
    pub fn prune(
        &mut self,
        mut keep_set: impl FnMut(SetId) -> bool,
        mut keep_identity: impl FnMut(IdentityId) -> bool,
    ) {
        self.stored.sets.retain(|id, _| keep_set(*id));
        self.stored.identities.retain(|id, _| keep_identity(*id));
    }

    /// How many sets and identities it describes.
    pub fn len(&self) -> (usize, usize) {
        (self.stored.sets.len(), self.stored.identities.len())
    }

    /// Whether it describes nothing.
    pub fn is_empty(&self) -> bool {
        self.stored.rules.is_empty() && self.len() == (0, 0)
    }

    /// The number of a rule: the same for the same policy, direction and index, for ever.
    pub(crate) fn rule_id(&mut self, entry: RuleEntry) -> RuleId {
        if let Some(id) = self.rules.get(&entry) {
            return *id;
        }
        let id = self.stored.next.rule;
        self.stored.next.rule = RuleId(id.0 + 1);
        self.rules.insert(entry.clone(), id);
        self.stored.rules.insert(id, entry);
        id
    }

    /// A new set.
    pub(crate) fn new_set(&mut self, entry: SetEntry) -> SetId {
        let id = self.stored.next.set;
        self.stored.next.set = SetId(id.0 + 1);
        self.stored.sets.insert(id, entry);
        id
    }

    /// A new identity.
    pub(crate) fn new_identity(&mut self, entry: IdentityEntry) -> IdentityId {
        let id = self.stored.next.identity;
        self.stored.next.identity = IdentityId(id.0 + 1);
        self.stored.identities.insert(id, entry);
        id
    }

    /// The next revision.
    pub(crate) fn next_revision(&mut self) -> u64 {
        self.stored.next.revision += 1;
        self.stored.next.revision
    }

    /// Numbers that tables hold already are not given again, even if the catalogue on disk was lost.
    pub(crate) fn skip_past(&mut self, tables: &Tables) {
        let next = &mut self.stored.next;
        next.revision = next.revision.max(tables.revision);
        let places = (tables.peers.values())
            .chain(tables.networks.iter().map(|(_, peer)| peer))
            .map(|peer| peer.identity);
        let identities = places.chain(tables.frontends.values().copied()).chain(
            tables
                .verdicts
                .values()
                .flat_map(|entries| entries.keys().copied()),
        );
        let highest = identities.max().unwrap_or(IdentityId::WORLD);
        next.identity = next.identity.max(IdentityId(highest.0 + 1));
        let sets = (tables.verdicts.keys().copied()).chain(
            tables
                .endpoints
                .values()
                .flat_map(|sets| [sets.ingress, sets.egress]),
        );
        let highest = sets.max().unwrap_or(SetId::OPEN);
        next.set = next.set.max(SetId(highest.0 + 1));
        let rules = tables
            .verdicts
            .values()
            .flat_map(HashMap::values)
            .flat_map(|table| table.ranges());
        let highest = rules.map(|range| range.rule).max().unwrap_or(RuleId(0));
        next.rule = next.rule.max(RuleId(highest.0 + 1));
    }
}

/// The parts of a named port.
pub(crate) fn port_entry(port: &NamedPort) -> (Arc<str>, Protocol, u16) {
    (port.name.clone(), port.protocol, port.port)
}
