//! Everything that ever reached an aggregator, read from its Parquet files with nothing of Weir's own.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::Path;

use arrow_array::{Array, RecordBatch, StringArray, UInt64Array};
use arrow_schema::DataType;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::files_with;

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tally {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

/// What was counted at one pod, as it sees directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) egress: Tally,
    pub(crate) ingress: Tally,
    pub(crate) egress_dropped: Tally,
    pub(crate) ingress_dropped: Tally,
}

/// One record of a flow or a denial.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) number: u64,
    pub(crate) kind: String,
    pub(crate) verdict: String,
    pub(crate) reason: String,
    /// Name of the pod.
    pub(crate) local: String,
    /// Name of the other side.
    pub(crate) remote: String,
    pub(crate) counts: Counts,
}

/// One loss record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Loss {
    pub(crate) place: String,
    /// `namespace/name`, or empty.
    pub(crate) endpoint: String,
    pub(crate) records: u64,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

/// All records.
#[derive(Debug, Default)]
pub(crate) struct Lake {
    pub(crate) rows: u64,
    /// By flow id; each flow's in order of their numbers.
    pub(crate) flows: HashMap<(u64, u64), Vec<Row>>,
    pub(crate) losses: Vec<Loss>,
}

impl std::ops::Add for Tally {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self {
            packets: self.packets + more.packets,
            bytes: self.bytes + more.bytes,
        }
    }
}

impl std::ops::Sub for Tally {
    type Output = Self;

    fn sub(self, less: Self) -> Self {
        let minus = |from: u64, less: u64| {
            from.checked_sub(less)
                .unwrap_or_else(|| panic!("{from} is less than {less}"))
        };
        Self {
            packets: minus(self.packets, less.packets),
            bytes: minus(self.bytes, less.bytes),
        }
    }
}

impl std::iter::Sum for Tally {
    fn sum<I: Iterator<Item = Self>>(tallies: I) -> Self {
        tallies.fold(Self::default(), |sum, tally| sum + tally)
    }
}

impl Counts {
    fn all(self) -> [Tally; 4] {
        [
            self.egress,
            self.ingress,
            self.egress_dropped,
            self.ingress_dropped,
        ]
    }

    fn add(&mut self, more: Self) {
        self.egress = self.egress + more.egress;
        self.ingress = self.ingress + more.ingress;
        self.egress_dropped = self.egress_dropped + more.egress_dropped;
        self.ingress_dropped = self.ingress_dropped + more.ingress_dropped;
    }

    /// Whether no count is smaller than in `before`.
    fn has_not_shrunk_since(self, before: Self) -> bool {
        let pairs = self.all().into_iter().zip(before.all());
        pairs
            .into_iter()
            .all(|(now, before)| now.packets >= before.packets && now.bytes >= before.bytes)
    }
}

impl Lake {
    /// What the flows' last records say together, by pod, other side and reason, and all losses: for messages.
    pub(crate) fn summary(&self) -> (BTreeMap<String, Counts>, &[Loss]) {
        let mut sums: BTreeMap<String, Counts> = BTreeMap::new();
        for row in self.last() {
            let key = format!("{:?} <-> {:?}: {}", row.local, row.remote, row.reason);
            sums.entry(key).or_default().add(row.counts);
        }
        (sums, &self.losses)
    }

    /// Reads all files below an aggregator's data directory.
    pub(crate) fn read(data: &Path) -> Self {
        let mut lake = Self::default();
        for path in files_with(data, "parquet") {
            let file = File::open(&path).expect("readable");
            let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet");
            for batch in reader.build().expect("reader") {
                lake.add(&batch.expect("batch"));
            }
        }
        for rows in lake.flows.values_mut() {
            rows.sort_by_key(|row| row.number);
        }
        lake
    }

    /// The counts of a pod: the last record of each of its flows and denials.
    pub(crate) fn of_pod(&self, name: &str) -> Counts {
        let mut counts = Counts::default();
        for row in self.last().filter(|row| row.local == name) {
            counts.add(row.counts);
        }
        counts
    }

    /// The last record of each flow and denial.
    pub(crate) fn last(&self) -> impl Iterator<Item = &Row> {
        self.flows.values().filter_map(|rows| rows.last())
    }

    /// What was lost at a place, over all pods.
    pub(crate) fn lost_at(&self, place: &str) -> Tally {
        let losses = self.losses.iter().filter(|loss| loss.place == place);
        losses.map(Loss::tally).sum()
    }

    /// Packets of a pod that loss records tell of.
    pub(crate) fn lost_of(&self, endpoint: &str) -> Tally {
        let losses = self.losses.iter().filter(|loss| loss.endpoint == endpoint);
        losses.map(Loss::tally).sum()
    }

    /// Fails if a record came twice, or if a flow's cumulative counts went back.
    pub(crate) fn assert_consistent(&self) {
        for (id, rows) in &self.flows {
            for pair in rows.windows(2) {
                assert_ne!(pair[0].number, pair[1].number, "{id:?} twice: {pair:#?}");
                assert!(
                    pair[1].counts.has_not_shrunk_since(pair[0].counts),
                    "the counts of {id:?} shrank: {rows:#?}"
                );
            }
        }
    }

    fn add(&mut self, batch: &RecordBatch) {
        let columns = Columns(batch);
        let (kinds, places) = (columns.texts("record_kind"), columns.texts("loss_place"));
        let [boot, serial, number] =
            ["flow_boot", "flow_serial", "record_number"].map(|name| columns.numbers(name));
        let [verdict, reason, local, remote, endpoint] = [
            "verdict",
            "reason",
            "local_name",
            "remote_name",
            "loss_endpoint",
        ]
        .map(|name| columns.texts(name));
        let [records, packets, bytes] =
            ["loss_records", "loss_packets", "loss_bytes"].map(|name| columns.numbers(name));
        let tallies: BTreeMap<&str, (UInt64Array, UInt64Array)> =
            ["egress", "ingress", "egress_dropped", "ingress_dropped"]
                .map(|name| (name, columns.tally(name)))
                .into();
        self.rows += batch.num_rows() as u64;
        for row in 0..batch.num_rows() {
            if kinds.value(row) == "loss" {
                self.losses.push(Loss {
                    place: places.value(row).to_owned(),
                    endpoint: text(&endpoint, row),
                    records: records.value(row),
                    packets: packets.value(row),
                    bytes: bytes.value(row),
                });
                continue;
            }
            let tally = |name: &str| {
                let (packets, bytes) = &tallies[name];
                Tally {
                    packets: packets.value(row),
                    bytes: bytes.value(row),
                }
            };
            let id = (boot.value(row), serial.value(row));
            self.flows.entry(id).or_default().push(Row {
                number: number.value(row),
                kind: text(&kinds, row),
                verdict: text(&verdict, row),
                reason: text(&reason, row),
                local: text(&local, row),
                remote: text(&remote, row),
                counts: Counts {
                    egress: tally("egress"),
                    ingress: tally("ingress"),
                    egress_dropped: tally("egress_dropped"),
                    ingress_dropped: tally("ingress_dropped"),
                },
            });
        }
    }
}

impl Loss {
    fn tally(&self) -> Tally {
        Tally {
            packets: self.packets,
            bytes: self.bytes,
        }
    }
}

fn text(column: &StringArray, row: usize) -> String {
    if column.is_null(row) {
        return String::new();
    }
    column.value(row).to_owned()
}

/// A batch's columns by name.
struct Columns<'b>(&'b RecordBatch);

impl Columns<'_> {
    fn cast<T: Clone + 'static>(&self, name: &str, kind: &DataType) -> T {
        let column = self.0.column_by_name(name);
        let column = column.unwrap_or_else(|| panic!("no column {name}"));
        let cast = arrow_cast::cast(column, kind).expect("castable");
        cast.as_any().downcast_ref::<T>().expect("cast").clone()
    }

    fn texts(&self, name: &str) -> StringArray {
        self.cast(name, &DataType::Utf8)
    }

    fn numbers(&self, name: &str) -> UInt64Array {
        self.cast(name, &DataType::UInt64)
    }

    fn tally(&self, name: &str) -> (UInt64Array, UInt64Array) {
        let part = |part: &str| self.numbers(&format!("{name}_{part}"));
        (part("packets"), part("bytes"))
    }
}
