//! The aggregator's own metrics.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use weir_flow::columns::Facts;

use crate::store::Sizes;

/// All of them. The names begin with `weir_aggregator_`.
#[derive(Debug)]
pub struct Metrics {
    /// Batches stored.
    pub batches: Counter,
    /// Rows stored.
    pub rows: Counter,
    /// Batches that were stored already.
    pub duplicates: Counter,
    /// Records that the stored loss records count.
    pub lost_records: Counter,
    /// Packets that the stored loss records count.
    pub lost_packets: Counter,
    /// Bytes of batch frames received.
    pub received_bytes: Counter,
    /// Batches or streams refused because they could not be understood.
    pub refused: Counter,
    /// Bytes written to logs.
    pub wal_bytes: Counter,
    /// Failed writes of a log.
    pub write_errors: Counter,
    /// Seconds that the log's fsync took.
    pub fsync_seconds: Histogram,
    /// Parquet files written.
    pub sealed_files: Counter,
    /// Rows in them.
    pub sealed_rows: Counter,
    /// Failed attempts to seal a log.
    pub seal_errors: Counter,
    /// Bytes of writes that a crash cut off.
    pub torn_bytes: Counter,
    /// Damaged places found in logs.
    pub damaged: Counter,
    /// Parquet files that could not be read for a query.
    pub unreadable_files: Counter,
    /// Rows that followers were too slow for.
    pub followers_missed: Counter,
    /// Clients that follow.
    pub followers: Gauge,
    recent_bytes: Gauge,
    recent_rows: Gauge,
    files: Gauge,
    file_bytes: Gauge,
    connected_nodes: Gauge,
}

impl Metrics {
    /// Makes and registers them.
    pub fn new(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("weir_aggregator");
        let fsync_seconds = Histogram::new(exponential_buckets(0.000_1, 2.0, 16));
        registry.register_with_unit(
            "log_fsync",
            "Time that the log's fsync took",
            Unit::Seconds,
            fsync_seconds.clone(),
        );
        Self {
            batches: counter(registry, "batches", "Batches stored"),
            rows: counter(registry, "rows", "Rows stored"),
            duplicates: counter(
                registry,
                "duplicate_batches",
                "Batches that were stored already",
            ),
            lost_records: counter(
                registry,
                "lost_records",
                "Records that stored loss records count",
            ),
            lost_packets: counter(
                registry,
                "lost_packets",
                "Packets that stored loss records count",
            ),
            received_bytes: counter(registry, "received_bytes", "Bytes of batch frames received"),
            refused: counter(
                registry,
                "refused_batches",
                "Batches and streams that could not be understood",
            ),
            wal_bytes: counter(registry, "log_written_bytes", "Bytes written to logs"),
            write_errors: counter(registry, "log_write_errors", "Failed writes of a log"),
            fsync_seconds,
            sealed_files: counter(registry, "sealed_files", "Parquet files written"),
            sealed_rows: counter(registry, "sealed_rows", "Rows in the Parquet files written"),
            seal_errors: counter(registry, "seal_errors", "Failed attempts to seal a log"),
            torn_bytes: counter(
                registry,
                "log_torn_bytes",
                "Bytes of writes that a crash cut off",
            ),
            damaged: counter(registry, "log_damages", "Damaged places found in logs"),
            unreadable_files: counter(
                registry,
                "unreadable_files",
                "Parquet files that a query could not read",
            ),
            followers_missed: counter(
                registry,
                "followers_missed_rows",
                "Rows that followers were too slow for",
            ),
            followers: gauge(registry, "followers", "Clients that follow live"),
            recent_bytes: gauge(registry, "recent_bytes", "Memory of recent batches"),
            recent_rows: gauge(registry, "recent_rows", "Rows in memory"),
            files: gauge(registry, "files", "Parquet files"),
            file_bytes: gauge(registry, "file_bytes", "Bytes of the Parquet files"),
            connected_nodes: gauge(registry, "connected_nodes", "Collectors that are connected"),
        }
    }

    /// Counts a stored batch.
    pub(crate) fn stored(&self, facts: &Facts) {
        self.batches.inc();
        self.rows.inc_by(facts.rows);
        self.lost_records.inc_by(facts.lost_records);
        self.lost_packets.inc_by(facts.lost_packets);
    }

    /// Sets the gauges, before they are read.
    pub(crate) fn observe(&self, sizes: &Sizes, connected_nodes: usize) {
        self.recent_bytes.set(signed(sizes.recent_bytes));
        self.recent_rows.set(signed(sizes.recent_rows));
        self.files.set(signed(sizes.files));
        self.file_bytes.set(signed(sizes.file_bytes));
        self.connected_nodes.set(signed(connected_nodes as u64));
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}

fn gauge(registry: &mut Registry, name: &str, help: &str) -> Gauge {
    let gauge = Gauge::default();
    registry.register(name, help, gauge.clone());
    gauge
}
