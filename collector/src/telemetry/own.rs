//! How the collector itself fares.

use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use weir_policy::model::Kind;

/// Which ring.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RingLabel {
    /// `flows` or `denials`.
    pub ring: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MapLabel {
    map: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NonFlowLabel {
    direction: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

/// Entries of a kernel map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapFill {
    /// The map.
    pub map: &'static str,
    /// Entries in it.
    pub used: u64,
    /// Entries it can hold.
    pub capacity: u64,
}

/// Gauges and counters of the collector's own work. Clones share them.
#[derive(Clone)]
pub struct OwnMetrics {
    /// Doorbells read from the rings.
    pub events: Counter,
    /// Doorbells that found a ring full; their records came with the sweep.
    pub ring_full: Family<RingLabel, Counter>,
    /// Time of one sweep of the tables, seconds.
    pub sweep_seconds: Histogram,
    /// Records made.
    pub records: Counter,
    /// Revision of the policy in force.
    pub policy_revision: Gauge<i64, AtomicI64>,
    /// Time from a compiled update to its epoch in the kernel, seconds.
    pub apply_seconds: Histogram,
    /// Time from the first change of a batch, as it came from the API server or the manifests, until all of the batch is
    /// in the kernel, seconds.
    pub change_seconds: Histogram,
    /// Time from when an interface can first have been heard of until it carries the programs, seconds.
    pub attach_seconds: Histogram,
    /// Time from when a pod's address is known until its policies are in force at its interface, seconds.
    pub program_seconds: Histogram,
    /// Policy states that were refused.
    pub policy_errors: Counter,
    /// Bytes kept for the aggregator.
    pub uplink_unacked_bytes: Gauge<i64, AtomicI64>,
    maps_used: Family<MapLabel, Gauge<i64, AtomicI64>>,
    maps_capacity: Family<MapLabel, Gauge<i64, AtomicI64>>,
    refused: Family<KindLabel, Counter>,
    watch_failures: Family<KindLabel, Counter>,
    pods_held: Gauge<i64, AtomicI64>,
    endpoints: Family<StateLabel, Gauge<i64, AtomicI64>>,
    non_flow: Family<NonFlowLabel, Gauge<u64, AtomicU64>>,
}

const SWEEP_BUCKETS: [f64; 8] = [0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 2.0];

impl OwnMetrics {
    #[expect(clippy::too_many_lines, reason = "one entry for each metric")]
    pub(super) fn register(registry: &mut Registry) -> Self {
        let own = Self {
            events: Counter::default(),
            ring_full: Family::default(),
            sweep_seconds: Histogram::new(SWEEP_BUCKETS),
            records: Counter::default(),
            policy_revision: Gauge::default(),
            apply_seconds: Histogram::new(SWEEP_BUCKETS),
            change_seconds: Histogram::new(SWEEP_BUCKETS),
            attach_seconds: Histogram::new(SWEEP_BUCKETS),
            program_seconds: Histogram::new(SWEEP_BUCKETS),
            policy_errors: Counter::default(),
            refused: Family::default(),
            watch_failures: Family::default(),
            pods_held: Gauge::default(),
            uplink_unacked_bytes: Gauge::default(),
            maps_used: Family::default(),
            maps_capacity: Family::default(),
            endpoints: Family::default(),
            non_flow: Family::default(),
        };
        registry.register(
            "ring_events",
            "Doorbells read from the kernel's rings",
            own.events.clone(),
        );
        registry.register(
            "ring_full",
            "Doorbells that found a ring full (their records come with the sweep)",
            own.ring_full.clone(),
        );
        registry.register_with_unit(
            "sweep",
            "Time of one sweep of the flow tables",
            Unit::Seconds,
            own.sweep_seconds.clone(),
        );
        registry.register("records", "Records made", own.records.clone());
        registry.register(
            "policy_revision",
            "Revision of the policy in force",
            own.policy_revision.clone(),
        );
        registry.register_with_unit(
            "policy_apply",
            "Time to write a compiled policy to the kernel",
            Unit::Seconds,
            own.apply_seconds.clone(),
        );
        registry.register_with_unit(
            "policy_change",
            "Time from a change of the cluster until it is in the kernel",
            Unit::Seconds,
            own.change_seconds.clone(),
        );
        own.register_source(registry);
        own.register_endpoints(registry);
        registry.register(
            "policy_errors",
            "Cluster states that were refused; the last good one stays in force",
            own.policy_errors.clone(),
        );
        registry.register_with_unit(
            "uplink_unacked",
            "Kept until the aggregator acknowledges",
            Unit::Bytes,
            own.uplink_unacked_bytes.clone(),
        );
        registry.register(
            "map_entries",
            "Entries in a kernel map",
            own.maps_used.clone(),
        );
        registry.register(
            "map_capacity",
            "Entries a kernel map can hold",
            own.maps_capacity.clone(),
        );
        registry.register(
            "endpoints",
            "Pod interfaces by state",
            own.endpoints.clone(),
        );
        registry.register(
            "non_flow_packets",
            "Packets that belong to no flow, by why (ARP, neighbour discovery, ...)",
            own.non_flow.clone(),
        );
        own
    }

    fn register_endpoints(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "endpoint_attach",
            "Time from a new interface until it carries the programs",
            Unit::Seconds,
            self.attach_seconds.clone(),
        );
        registry.register_with_unit(
            "endpoint_program",
            "Time from a pod's address until its policies are in force at its interface",
            Unit::Seconds,
            self.program_seconds.clone(),
        );
    }

    fn register_source(&self, registry: &mut Registry) {
        registry.register(
            "objects_refused",
            "Versions of objects that were refused; the last good one stays in force",
            self.refused.clone(),
        );
        registry.register(
            "watch_failures",
            "Lists and watches of the API server that failed",
            self.watch_failures.clone(),
        );
        registry.register(
            "pods_held",
            "Pods of this node that stay pending until their policies are known",
            self.pods_held.clone(),
        );
    }

    /// A version of an object was refused.
    pub fn refused(&self, kind: Kind) {
        let kind = kind.to_string();
        self.refused.get_or_create(&KindLabel { kind }).inc();
    }

    /// A list or a watch failed.
    pub fn watch_failed(&self, kind: Kind) {
        let kind = kind.to_string();
        self.watch_failures.get_or_create(&KindLabel { kind }).inc();
    }

    /// Sets how many pods are kept back.
    pub fn set_pods_held(&self, pods: usize) {
        self.pods_held.set(i64::try_from(pods).unwrap_or(i64::MAX));
    }

    /// Sets the fill of a kernel map.
    pub fn set_map(&self, fill: MapFill) {
        let label = MapLabel { map: fill.map };
        self.maps_used
            .get_or_create(&label)
            .set(i64::try_from(fill.used).unwrap_or(i64::MAX));
        self.maps_capacity
            .get_or_create(&label)
            .set(i64::try_from(fill.capacity).unwrap_or(i64::MAX));
    }

    /// Sets how many endpoints are in `state`.
    pub fn set_endpoints(&self, state: &'static str, count: usize) {
        self.endpoints
            .get_or_create(&StateLabel { state })
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Sets the packets of one non-flow line of the ledger.
    pub fn set_non_flow(&self, direction: &'static str, reason: &'static str, packets: u64) {
        self.non_flow
            .get_or_create(&NonFlowLabel { direction, reason })
            .set(packets);
    }
}
