//! What the collector would have in the kernel: the same compiler, and every single write of its updates.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use weir_policy::compile::{Catalogue, Change, Compiler, RuleEntry};
use weir_policy::model::{Cluster, Direction, Name, ObjectChange, Protocol};
use weir_policy::tables::{Origin, ProtocolClass, Query, Reason, Tables};

use crate::support::NODE;

/// A connection as a pod of this node sees it.
pub(crate) type Row = (Name, Query);
/// What is said of it: whether it may be, why, and by which rule.
pub(crate) type Said = (bool, Reason, Option<RuleEntry>);

/// The maps, and who fills them.
pub(crate) struct Kernel {
    compiler: Compiler,
    tables: Tables,
    /// What is told to the compiler with the first changes.
    first: Option<Change>,
}

impl Kernel {
    /// Nothing, for a collector that starts for the first time.
    pub(crate) fn new() -> Self {
        Self::adopted(Catalogue::default(), Tables::default())
    }

    /// A node that starts now, and knows this cluster.
    pub(crate) fn fresh(cluster: &Cluster) -> Self {
        let mut kernel = Self::new();
        let changes = Cluster::default().changes_to(cluster);
        kernel.take(changes, |_| {});
        kernel
    }

    /// The collector starts again. What the kernel has stays in force.
    pub(crate) fn restart(&mut self) {
        let catalogue = self.compiler.catalogue().clone();
        *self = Self::adopted(catalogue, std::mem::take(&mut self.tables));
    }

    /// Brings changes into force, write by write; `look` sees the maps after each.
    pub(crate) fn take(&mut self, changes: Vec<ObjectChange>, mut look: impl FnMut(&Tables)) {
        let changes = changes.into_iter().map(Change::from);
        let update = self
            .compiler
            .apply(changes.chain(self.first.take()).collect());
        for write in update.writes() {
            self.tables.apply(write);
            look(&self.tables);
        }
        self.tables.revision = update.revision;
    }

    /// Whether a connection may be; none if the pod is not there.
    pub(crate) fn allows(tables: &Tables, (pod, query): &Row) -> Option<bool> {
        Some(tables.verdict(pod, query)?.allowed)
    }

    /// The rows that are denied.
    pub(crate) fn denied(&self) -> BTreeSet<usize> {
        let rows = rows().into_iter().enumerate();
        rows.filter(|(_, row)| Self::allows(&self.tables, row) == Some(false))
            .map(|(number, _)| number)
            .collect()
    }

    /// All rows, by pods, with the names of the rules that decide.
    pub(crate) fn says(&self) -> BTreeMap<usize, Said> {
        let catalogue = self.compiler.catalogue();
        let rows = rows().into_iter().enumerate();
        rows.filter_map(|(number, (pod, query))| {
            let judgement = self.tables.verdict(&pod, &query)?;
            let rule = catalogue.rule(judgement.rule).cloned();
            Some((number, (judgement.allowed, judgement.reason, rule)))
        })
        .collect()
    }

    fn adopted(catalogue: Catalogue, tables: Tables) -> Self {
        let mut compiler = Compiler::new(NODE, catalogue);
        compiler.adopt(tables.clone());
        let own = IpAddr::from(Ipv4Addr::new(192, 168, 0, 1));
        Self {
            compiler,
            tables,
            first: Some(Change::LocalAddresses(BTreeSet::from([own]))),
        }
    }
}

/// An address that a pod of the schedule may have.
pub(crate) fn address(place: usize, number: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 5 + place as u8, number as u8 + 1)
}

/// The namespaces of the schedule.
pub(crate) const PLACES: [&str; 2] = ["shop", "bank"];
/// Pods and policies of each.
pub(crate) const NUMBERS: usize = 5;

/// The connections that are looked at: of each pod that may be on this node, with all pods and with the world.
pub(crate) fn rows() -> Vec<Row> {
    let pods = (0..PLACES.len()).flat_map(|place| (0..NUMBERS).map(move |pod| (place, pod)));
    let mut remotes: Vec<IpAddr> = pods
        .clone()
        .map(|(place, pod)| address(place, pod).into())
        .collect();
    remotes.push(Ipv4Addr::new(8, 8, 8, 8).into());
    let mut rows = Vec::new();
    for (place, pod) in pods {
        let name = Name::new(PLACES[place], format!("o{pod}"));
        for remote in &remotes {
            for direction in [Direction::Ingress, Direction::Egress] {
                for port in [80, 443] {
                    let query = Query {
                        direction,
                        local: address(place, pod).into(),
                        remote: *remote,
                        protocol: ProtocolClass::Named(Protocol::Tcp),
                        port,
                        origin: Origin::Forwarded,
                    };
                    rows.push((name.clone(), query));
                }
            }
        }
    }
    rows
}
