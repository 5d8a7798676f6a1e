//! Where records go.

use std::sync::Arc;

use weir_flow::Item;

use crate::export::otlp::OtlpSink;
use crate::recent::Recent;
use crate::telemetry::FlowMetrics;
use crate::uplink::{Position, Uplink};

/// All receivers of records.
pub struct Sinks {
    /// Memory, for `GetFlows`.
    pub recent: Recent,
    /// Metrics of flows and denials.
    pub metrics: FlowMetrics,
    /// OTLP logs.
    pub otlp: Option<OtlpSink>,
    /// The aggregator.
    pub uplink: Option<Uplink>,
}

impl Sinks {
    /// Hands items over. When this returns they survive a crash of the collector, as far as there is a spool.
    pub fn deliver(&mut self, items: &mut Vec<Item>) {
        if items.is_empty() {
            return;
        }
        if let Some(uplink) = &self.uplink {
            if items.iter().any(is_last) {
                uplink.append(&*items);
            } else {
                uplink.push(&*items);
            }
        }
        self.show(items);
    }

    /// Hands losses over. `before` hears in which batch the aggregator is told of them, if there is one.
    pub(super) fn deliver_losses(&mut self, losses: &mut Vec<Item>, before: impl FnOnce(Position)) {
        if losses.is_empty() {
            return;
        }
        if let Some(uplink) = &self.uplink {
            uplink.append_apart(&*losses, before);
        }
        self.show(losses);
    }

    /// Hands items to those who do not keep them on disk.
    fn show(&mut self, items: &mut Vec<Item>) {
        let items: Vec<Arc<Item>> = items.drain(..).map(Arc::new).collect();
        for item in &items {
            self.metrics.observe(item);
            if let Some(otlp) = &self.otlp {
                otlp.send(item);
            }
        }
        self.recent.append(items);
    }
}

/// Whether the kernel forgets what an item tells: then it must be on disk first. All else can be read there again.
fn is_last(item: &Item) -> bool {
    match item {
        Item::Flow(record) => record.end.is_some(),
        Item::Loss(_) => true,
    }
}
