//! `weir observe`: flows of a collector or of all nodes, as lines.

mod filter;
mod print;

use anyhow::bail;
use tonic::Request;
use tonic::metadata::MetadataValue;
use weir_flow::Timestamp;
use weir_flow::hubble::EXTENSION_HEADER;
use weir_proto::observer::GetFlowsRequest;
use weir_proto::observer::observer_client::ObserverClient;

use crate::args::{Moment, ObserveArgs, OutputArg};
use crate::client;
use print::Printer;

/// Flows shown when nothing says how many.
const LAST: u64 = 20;
/// The largest answer: one flow with its extension is some kilobytes.
const MAX_MESSAGE: usize = 16 << 20;

/// Shows flows until there are no more.
///
/// # Errors
/// The server cannot be reached or refuses, or stdout cannot be written.
pub(crate) async fn run(args: &ObserveArgs) -> anyhow::Result<()> {
    if args.follow && args.output == OutputArg::Table {
        bail!(
            "a table cannot be followed, its columns would not be known: use -o compact or -o json"
        );
    }
    if args.follow && args.first.is_some() {
        bail!("--first cannot be combined with --follow");
    }
    let request = request(args)?;
    let channel = client::connect(&args.server.server, &args.server.tls).await?;
    let mut client = ObserverClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
    let mut request = Request::new(request);
    request
        .metadata_mut()
        .insert(EXTENSION_HEADER, MetadataValue::from_static("1"));
    let answered = client.get_flows(request).await;
    let mut flows = answered
        .map_err(|status| client::refusal(&args.server.server, &status))?
        .into_inner();
    let mut printer = Printer::new(args);
    loop {
        match flows.message().await {
            Ok(Some(response)) => printer.print(response)?,
            Ok(None) => break,
            Err(status) => {
                printer.finish()?;
                return Err(client::refusal(&args.server.server, &status));
            }
        }
    }
    Ok(printer.finish()?)
}

fn request(args: &ObserveArgs) -> anyhow::Result<GetFlowsRequest> {
    let bounded = args.since.is_some() || args.until.is_some();
    let number = match (args.first, args.last) {
        (Some(number), _) | (None, Some(number)) => number,
        (None, None) if args.follow || bounded => 0,
        (None, None) => LAST,
    };
    Ok(GetFlowsRequest {
        number,
        first: args.first.is_some(),
        follow: args.follow,
        whitelist: filter::whitelist(args)?,
        since: args.since.map(timestamp),
        until: args.until.map(timestamp),
        ..GetFlowsRequest::default()
    })
}

fn timestamp(moment: Moment) -> weir_proto::types::Timestamp {
    let nanoseconds = moment.0.as_nanosecond();
    Timestamp(i64::try_from(nanoseconds).unwrap_or(i64::MAX)).into()
}
