//! Flags as Hubble's filters: values of one flag are alternatives, different flags all have to hold.

use anyhow::bail;
use weir_proto::flow::{FlowFilter, TrafficDirection, Verdict};

use crate::args::{DirectionArg, ObserveArgs, ProtocolArg, VerdictArg};

/// The filters of which one must match; none if there is no flag.
///
/// # Errors
/// Flags that contradict each other.
pub(super) fn whitelist(args: &ObserveArgs) -> anyhow::Result<Vec<FlowFilter>> {
    let base = base(args);
    let mut filters = vec![base];
    for either in eithers(args)? {
        filters = filters
            .iter()
            .flat_map(|filter| either.sides(filter))
            .collect();
    }
    filters.retain(|filter| *filter != FlowFilter::default());
    Ok(filters)
}

/// What has to hold in any case.
fn base(args: &ObserveArgs) -> FlowFilter {
    FlowFilter {
        source_pod: pods(&args.from_namespace, &args.from_pod),
        destination_pod: pods(&args.to_namespace, &args.to_pod),
        source_ip: args.from_ip.clone(),
        destination_ip: args.to_ip.clone(),
        source_label: args.from_label.clone(),
        destination_label: args.to_label.clone(),
        source_port: ports(&args.from_port),
        destination_port: ports(&args.to_port),
        verdict: args
            .verdict
            .iter()
            .map(|verdict| self::verdict(*verdict) as i32)
            .collect(),
        protocol: args
            .protocol
            .iter()
            .map(|protocol| self::protocol(*protocol).to_owned())
            .collect(),
        traffic_direction: args
            .traffic_direction
            .iter()
            .map(|direction| self::direction(*direction) as i32)
            .collect(),
        node_name: args.node_name.clone(),
        ..FlowFilter::default()
    }
}

/// A list of a filter.
type Field = fn(&mut FlowFilter) -> &mut Vec<String>;

/// A flag that is about either side.
struct Either {
    values: Vec<String>,
    source: Field,
    destination: Field,
}

impl Either {
    /// The filter with the values at the source, and with the values at the destination.
    fn sides(&self, filter: &FlowFilter) -> [FlowFilter; 2] {
        [self.source, self.destination].map(|field| {
            let mut side = filter.clone();
            field(&mut side).clone_from(&self.values);
            side
        })
    }
}

fn eithers(args: &ObserveArgs) -> anyhow::Result<Vec<Either>> {
    let directed = |lists: &[bool]| lists.iter().any(|used| *used);
    let sided = [
        (
            "--pod or --namespace",
            pods(&args.namespace, &args.pod),
            directed(&[
                !args.from_pod.is_empty(),
                !args.to_pod.is_empty(),
                !args.from_namespace.is_empty(),
                !args.to_namespace.is_empty(),
            ]),
        ),
        (
            "--ip",
            args.ip.clone(),
            directed(&[!args.from_ip.is_empty(), !args.to_ip.is_empty()]),
        ),
        (
            "--label",
            args.label.clone(),
            directed(&[!args.from_label.is_empty(), !args.to_label.is_empty()]),
        ),
        (
            "--port",
            ports(&args.port),
            directed(&[!args.from_port.is_empty(), !args.to_port.is_empty()]),
        ),
    ];
    let fields: [[Field; 2]; 4] = [
        [
            |filter| &mut filter.source_pod,
            |filter| &mut filter.destination_pod,
        ],
        [
            |filter| &mut filter.source_ip,
            |filter| &mut filter.destination_ip,
        ],
        [
            |filter| &mut filter.source_label,
            |filter| &mut filter.destination_label,
        ],
        [
            |filter| &mut filter.source_port,
            |filter| &mut filter.destination_port,
        ],
    ];
    let mut eithers = Vec::new();
    for ((flag, values, is_directed), [source, destination]) in sided.into_iter().zip(fields) {
        if values.is_empty() {
            continue;
        }
        if is_directed {
            bail!(
                "{flag} is about either side: it cannot be combined with --from-... or --to-... of the same kind"
            );
        }
        eithers.push(Either {
            values,
            source,
            destination,
        });
    }
    Ok(eithers)
}

/// Pods, in the namespaces if they name none; `namespace/` stands for all pods of a namespace.
fn pods(namespaces: &[String], pods: &[String]) -> Vec<String> {
    if pods.is_empty() {
        return namespaces
            .iter()
            .map(|namespace| format!("{namespace}/"))
            .collect();
    }
    let qualified = pods.iter().flat_map(|pod| {
        if pod.contains('/') || namespaces.is_empty() {
            return vec![pod.clone()];
        }
        namespaces
            .iter()
            .map(|namespace| format!("{namespace}/{pod}"))
            .collect()
    });
    qualified.collect()
}

fn ports(ports: &[u16]) -> Vec<String> {
    ports.iter().map(u16::to_string).collect()
}

fn verdict(verdict: VerdictArg) -> Verdict {
    match verdict {
        VerdictArg::Forwarded => Verdict::Forwarded,
        VerdictArg::Dropped => Verdict::Dropped,
        VerdictArg::Audit => Verdict::Audit,
    }
}

fn protocol(protocol: ProtocolArg) -> &'static str {
    match protocol {
        ProtocolArg::Tcp => "tcp",
        ProtocolArg::Udp => "udp",
        ProtocolArg::Sctp => "sctp",
        ProtocolArg::Icmp => "icmp",
        ProtocolArg::Icmpv4 => "icmpv4",
        ProtocolArg::Icmpv6 => "icmpv6",
    }
}

fn direction(direction: DirectionArg) -> TrafficDirection {
    match direction {
        DirectionArg::Ingress => TrafficDirection::Ingress,
        DirectionArg::Egress => TrafficDirection::Egress,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn filters(flags: &[&str]) -> anyhow::Result<Vec<FlowFilter>> {
        let cli = Cli::try_parse_from(["weir", "observe"].iter().chain(flags))?;
        match cli.command {
            Command::Observe(args) => whitelist(&args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn without_flags_everything_passes() {
        assert!(filters(&[]).unwrap().is_empty());
    }

    #[test]
    fn either_side_flags_become_alternatives_that_all_hold_the_rest() {
        let filters =
            filters(&["--pod", "shop/web", "--port", "80", "--verdict", "dropped"]).unwrap();
        assert_eq!(filters.len(), 4);
        for filter in &filters {
            assert_eq!(filter.verdict, [Verdict::Dropped as i32]);
            assert_eq!(filter.source_pod.len() + filter.destination_pod.len(), 1);
            assert_eq!(filter.source_port.len() + filter.destination_port.len(), 1);
        }
    }

    #[test]
    fn a_namespace_qualifies_pods_and_stands_for_all_of_its_own() {
        let qualified = filters(&["--from-namespace", "shop", "--from-pod", "web"]).unwrap();
        assert_eq!(qualified[0].source_pod, ["shop/web"]);
        let whole = filters(&["-n", "shop"]).unwrap();
        assert_eq!(whole[1].destination_pod, ["shop/"]);
    }

    #[test]
    fn contradictory_flags_are_refused() {
        let error = filters(&["--pod", "a", "--to-pod", "b"])
            .unwrap_err()
            .to_string();
        assert!(error.contains("--pod"), "{error}");
    }
}
