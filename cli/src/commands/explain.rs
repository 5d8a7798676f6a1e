//! `weir explain`: from manifests, or from the policies in force, of a collector or by way of the aggregator.

use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use weir_policy::explain::{self, Party, Request};
use weir_policy::manifest;
use weir_policy::model::{Direction, Name, Protocol};
use weir_proto::weir::v1::{
    ExplainRequest, ExplainResponse, aggregator_client::AggregatorClient,
    collector_client::CollectorClient,
};

use super::policy::read;
use crate::args::{ExplainArgs, ReportFormat, ServerAddress};
use crate::{client, output};

/// The aggregator's usual place.
const DEFAULT_SERVER: &str = "localhost:4245";

/// Runs the command: 0 if the connection is allowed, 1 if it is denied. With one side only, what isolates that pod.
///
/// # Errors
/// Parties that do not exist, manifests with errors, a server that does not answer.
pub(crate) async fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let protocol = Protocol::parse(&args.protocol.to_uppercase())
        .ok_or_else(|| anyhow!("`{}` is no protocol: tcp, udp or sctp", args.protocol))?;
    let asked = asked(args, protocol)?;
    let allowed = if args.files.is_empty() {
        let text = |party: &Option<String>| party.clone().unwrap_or_default();
        let request = ExplainRequest {
            from: text(&args.from),
            to: text(&args.to),
            port: args.port.map(u32::from).unwrap_or_default(),
            protocol: protocol.as_str().to_owned(),
        };
        ask(args, request).await?
    } else {
        from_files(args, &asked)?
    };
    Ok(if allowed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What is asked.
enum Asked {
    /// A connection.
    Connection(Request),
    /// A pod's isolation.
    Pod(Name, Direction),
}

fn asked(args: &ExplainArgs, protocol: Protocol) -> anyhow::Result<Asked> {
    let party = |text: &str| text.parse::<Party>().map_err(|wrong| anyhow!(wrong));
    let pod = |text: &str| text.parse::<Name>().map_err(|wrong| anyhow!("{wrong}"));
    Ok(match (&args.from, &args.to) {
        (None, None) => bail!(
            "whose connection to whom? give --from and --to, e.g. --from shop/frontend --to shop/backend --port 8080; \
             with one of them, what isolates that pod is told"
        ),
        (Some(from), None) => Asked::Pod(pod(from)?, Direction::Egress),
        (None, Some(to)) => Asked::Pod(pod(to)?, Direction::Ingress),
        (Some(from), Some(to)) => Asked::Connection(Request {
            from: party(from)?,
            to: party(to)?,
            protocol,
            port: args.port.context("which port? give --port")?,
        }),
    })
}

fn from_files(args: &ExplainArgs, asked: &Asked) -> anyhow::Result<bool> {
    let loaded = manifest::load(read(&args.files)?);
    if loaded.has_errors() {
        let errors: Vec<String> = loaded.errors().map(ToString::to_string).collect();
        bail!("the manifests have errors:\n{}", errors.join("\n"));
    }
    match asked {
        Asked::Connection(request) => {
            let explanation = explain::explain(&loaded.cluster, request)?;
            match args.output {
                ReportFormat::Text => output::text(&explain::to_text(&explanation))?,
                ReportFormat::Json => output::json(&explanation)?,
            }
            Ok(explanation.allowed)
        }
        Asked::Pod(name, direction) => {
            let description = explain::describe(&loaded.cluster, name, *direction)?;
            match args.output {
                ReportFormat::Text => output::text(&description.to_text())?,
                ReportFormat::Json => output::json(&description)?,
            }
            Ok(true)
        }
    }
}

async fn ask(args: &ExplainArgs, request: ExplainRequest) -> anyhow::Result<bool> {
    let server = match &args.server {
        Some(server) => server.clone(),
        None => DEFAULT_SERVER
            .parse::<ServerAddress>()
            .map_err(|wrong| anyhow!(wrong))?,
    };
    let channel = client::connect(&server, &args.tls)
        .await
        .context("no manifests were given with -f, and no server answers")?;
    let answer = match CollectorClient::new(channel.clone())
        .explain(request.clone())
        .await
    {
        Err(status) if status.code() == tonic::Code::Unimplemented => {
            AggregatorClient::new(channel).explain(request).await
        }
        answer => answer,
    };
    let answer: ExplainResponse = answer
        .map_err(|status| client::refusal(&server, &status))?
        .into_inner();
    match args.output {
        ReportFormat::Text => output::text(&format!(
            "{}\n(policy revision {} on {})\n",
            answer.text, answer.revision, answer.node
        ))?,
        ReportFormat::Json => output::text(&format!("{}\n", answer.json))?,
    }
    Ok(answer.allowed)
}
