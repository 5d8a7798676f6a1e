//! The CNI plugin: the last of a chain, it lets a pod start once the programs are at its interface.
//!
//! <https://www.cni.dev/docs/spec/>: the verb and whose sandbox it is come in the environment, the network's
//! configuration on stdin with what the plugins before have done, and the answer is JSON on stdout.

mod collector;
mod config;
mod environment;
mod error;
mod install;
mod link;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::io::{self, Read, Write as _};
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};

use collector::Answer;
use config::Network;
use environment::{Environment, Sandbox, Verb};
use error::CniError;
use weir_proto::weir::v1::{AttachRequest, CheckRequest};

pub(crate) use install::{install, uninstall};

/// The name under which runtimes call the plugin; also its `type` in a network's configuration.
pub(crate) const PLUGIN: &str = "weir-cni";
/// The specification's versions with the same results, newest last.
const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
const NEWEST: &str = "1.1.0";
/// More than any runtime sends.
const MAX_INPUT: u64 = 4 << 20;

/// Whether a program started under this name is the plugin.
pub(crate) fn is_plugin(program: Option<&OsStr>) -> bool {
    program.is_some_and(|program| Path::new(program).file_name() == Some(OsStr::new(PLUGIN)))
}

/// Does what the environment asks for, and says on stdout what came of it.
pub(crate) fn run() -> ExitCode {
    let variable = |name: &str| std::env::var(name).ok();
    let (said, code) = match answer(variable, io::stdin().lock()) {
        Ok(said) => (said, ExitCode::SUCCESS),
        Err(error) => (Some(error), ExitCode::FAILURE),
    };
    match said.map(|said| writeln!(io::stdout().lock(), "{said}")) {
        // Without an answer the runtime must not take it for done.
        Some(Err(_)) => ExitCode::FAILURE,
        _ => code,
    }
}

/// What is to be said; an error in the configuration's version of the specification, where it is known.
fn answer(
    variable: impl Fn(&str) -> Option<String>,
    input: impl Read,
) -> Result<Option<Value>, Value> {
    let newest = |error: CniError| error.to_json(NEWEST);
    let environment = Environment::read(variable).map_err(newest)?;
    let mut text = Vec::new();
    let read = input.take(MAX_INPUT).read_to_end(&mut text);
    read.map_err(|source| newest(CniError::Input { source }))?;
    if environment.verb == Verb::Version {
        return Ok(Some(version(&text)));
    }
    let network = Network::parse(&text).map_err(newest)?;
    perform(environment, &network).map_err(|error| error.to_json(&network.cni_version))
}

fn version(input: &[u8]) -> Value {
    let asked: Option<Value> = serde_json::from_slice(input).ok();
    let asked = asked
        .as_ref()
        .and_then(|asked| asked["cniVersion"].as_str());
    json!({ "cniVersion": asked.unwrap_or(NEWEST), "supportedVersions": VERSIONS })
}

fn perform(environment: Environment, network: &Network) -> Result<Option<Value>, CniError> {
    match environment.verb {
        Verb::Add => add(&environment.sandbox()?, network).map(Some),
        Verb::Check => check(&environment.sandbox()?, network).map(|()| None),
        Verb::Status => collector::status(network).map(|()| None),
        // An endpoint ends with its interface, which a plugin before this one removes: until then it stays enforced.
        Verb::Del | Verb::Gc | Verb::Version => Ok(None),
    }
}

fn add(sandbox: &Sandbox, network: &Network) -> Result<Value, CniError> {
    let (result, before) = network.before()?;
    let host = link::host_end(
        &sandbox.netns,
        &sandbox.interface,
        &before.host_interfaces(),
    )?;
    let request = AttachRequest {
        namespace: sandbox.namespace.clone(),
        pod: sandbox.pod.clone(),
        uid: sandbox.uid.clone(),
        container_id: sandbox.container_id.clone(),
        netns: sandbox.netns.display().to_string(),
        interface: sandbox.interface.clone(),
        host_interface: host.name,
        host_ifindex: host.ifindex,
        addresses: before.addresses(&sandbox.interface)?,
        policy_wait_ms: network.policy_wait_ms(),
    };
    let pod = sandbox.describe();
    // Runtimes log what plugins say on stderr.
    match collector::attach(network, &pod, request)? {
        Answer::InForce(answer) if answer.programmed_at.is_none() => {
            let (state, posture) = (answer.state, answer.posture);
            eprintln!(
                "{PLUGIN}: {pod} starts {state}: posture {posture} until its policies are known"
            );
        }
        Answer::InForce(_) => {}
        Answer::Absent(why) => eprintln!("{PLUGIN}: {pod} starts without Weir: {why}"),
    }
    Ok(result.clone())
}

fn check(sandbox: &Sandbox, network: &Network) -> Result<(), CniError> {
    let (_, before) = network.before()?;
    let host = link::host_end(
        &sandbox.netns,
        &sandbox.interface,
        &before.host_interfaces(),
    )?;
    let request = CheckRequest {
        host_interface: host.name,
        host_ifindex: host.ifindex,
    };
    collector::check(network, &sandbox.describe(), request).map(drop)
}
