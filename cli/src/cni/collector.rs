//! The node's collector, as the plugin asks it.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tonic::transport::Channel;
use tonic::{Code, Status};
use weir_proto::weir::v1::collector_client::CollectorClient;
use weir_proto::weir::v1::node_client::NodeClient;
use weir_proto::weir::v1::{AttachRequest, AttachResponse, CheckRequest, StatusRequest};

use super::config::{Network, WhenAbsent};
use super::error::CniError;
use crate::args::{ClientTlsArgs, ServerAddress};
use crate::client;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(50);

/// What came of a question.
#[derive(Debug)]
pub(crate) enum Answer {
    /// What is in force.
    InForce(AttachResponse),
    /// Nobody listens, for this reason, and the configuration lets pods start without.
    Absent(String),
}

/// Why a try failed.
enum Failure {
    /// Nobody listens.
    Absent(String),
    Refused(Status),
}

/// Who asks, and what for.
struct Asking<'a> {
    network: &'a Network,
    pod: &'a str,
    interface: &'a str,
    awaited: &'static str,
}

/// Has the interface carry the programs. Tries until the timeout: a collector may just be being started.
///
/// # Errors
/// [`CniError::Refused`], [`CniError::TimedOut`].
pub(crate) fn attach(
    network: &Network,
    pod: &str,
    request: AttachRequest,
) -> Result<Answer, CniError> {
    let asking = Asking {
        network,
        pod,
        interface: &request.host_interface,
        awaited: "the collector's word that it is attached and its policies or posture are in force",
    };
    asking.insist(|channel| {
        let request = request.clone();
        async move { NodeClient::new(channel).attach(request).await }
    })
}

/// Asks whether the interface carries the programs.
///
/// # Errors
/// As [`attach`].
pub(crate) fn check(
    network: &Network,
    pod: &str,
    request: CheckRequest,
) -> Result<Answer, CniError> {
    let asking = Asking {
        network,
        pod,
        interface: &request.host_interface,
        awaited: "the collector's word on what is in force",
    };
    asking.insist(|channel| {
        let request = request.clone();
        async move { NodeClient::new(channel).check(request).await }
    })
}

/// Whether pods can be started.
///
/// # Errors
/// [`CniError::NotAvailable`].
pub(crate) fn status(network: &Network) -> Result<(), CniError> {
    if network.when_absent == WhenAbsent::Pass {
        return Ok(());
    }
    let ask = |channel| async move {
        let mut client = CollectorClient::new(channel);
        client.status(StatusRequest::default()).await
    };
    let asked = on_runtime(async {
        let end = Instant::now() + network.timeout();
        match timeout_at(end, attempt(network, ask)).await {
            Err(_) => Err("it does not answer".to_owned()),
            Ok(Err(Failure::Absent(why))) => Err(why),
            Ok(Err(Failure::Refused(status))) => Err(status.message().to_owned()),
            Ok(Ok(_)) => Ok(()),
        }
    })?;
    asked.map_err(|reason| CniError::NotAvailable {
        socket: network.socket.clone(),
        reason,
    })
}

impl Asking<'_> {
    fn insist<A>(&self, ask: impl Fn(Channel) -> A + Copy) -> Result<Answer, CniError>
    where
        A: Future<Output = Result<tonic::Response<AttachResponse>, Status>>,
    {
        on_runtime(async {
            let end = Instant::now() + self.network.timeout();
            let mut last = "no answer".to_owned();
            loop {
                match timeout_at(end, attempt(self.network, ask)).await {
                    Err(_) => return Err(self.timed_out(last)),
                    Ok(Ok(response)) => return Ok(Answer::InForce(response)),
                    Ok(Err(Failure::Absent(why))) => {
                        if self.network.when_absent == WhenAbsent::Pass {
                            return Ok(Answer::Absent(why));
                        }
                        last = why;
                    }
                    Ok(Err(Failure::Refused(status))) if is_final(status.code()) => {
                        return Err(self.refused(&status));
                    }
                    Ok(Err(Failure::Refused(status))) => last = status.message().to_owned(),
                }
                if timeout_at(end, sleep(PAUSE)).await.is_err() {
                    return Err(self.timed_out(last));
                }
            }
        })?
    }

    fn timed_out(&self, last: String) -> CniError {
        CniError::TimedOut {
            pod: self.pod.to_owned(),
            interface: self.interface.to_owned(),
            awaited: self.awaited,
            waited: self.network.timeout(),
            last,
        }
    }

    fn refused(&self, status: &Status) -> CniError {
        CniError::Refused {
            pod: self.pod.to_owned(),
            interface: self.interface.to_owned(),
            reason: status.message().to_owned(),
        }
    }
}

async fn attempt<T, A>(network: &Network, ask: impl Fn(Channel) -> A) -> Result<T, Failure>
where
    A: Future<Output = Result<tonic::Response<T>, Status>>,
{
    let server = ServerAddress::Unix(network.socket.clone());
    let channel = client::connect(&server, &ClientTlsArgs::default()).await;
    let channel = channel.map_err(|error| Failure::Absent(error.to_string()))?;
    let answered = ask(channel).await.map_err(Failure::Refused)?;
    Ok(answered.into_inner())
}

/// Whether another try would be answered alike. A connection that breaks has no code of its own.
fn is_final(code: Code) -> bool {
    matches!(
        code,
        Code::NotFound | Code::FailedPrecondition | Code::InvalidArgument | Code::Unimplemented
    )
}

fn on_runtime<T>(work: impl Future<Output = T>) -> Result<T, CniError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CniError::Start)?;
    Ok(runtime.block_on(work))
}
