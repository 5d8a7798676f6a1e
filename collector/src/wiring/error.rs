//! What may keep a collector from starting, or end it.

use std::io;

use weir_tls::TlsError;

use crate::endpoints::EndpointsError;
use crate::export::otlp::OtlpError;
use crate::kernel::KernelError;
use crate::policy_state::PolicyStateError;
use crate::privileges::PrivilegesError;
use crate::serve::ListenError;
use crate::source::{ConnectError, Refusal};
use crate::state::StateError;
use crate::telemetry::OtelError;
use crate::uplink::UplinkError;

/// Why a collector cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum CollectorError {
    /// An address is not to be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The certificates of the listener.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The first manifests.
    #[error("{0}")]
    Manifests(#[from] Refusal),
    /// The way to the API server.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A sidecar needs manifests.
    #[error(
        "--sidecar needs --manifests DIR: a pod's own rights do not let it see the peers of its policies"
    )]
    SidecarByApi,
    /// The owner of the policy ended by itself.
    #[error("the owner of the policy has ended; what is in force stays")]
    PolicyEnded,
    /// The state directory.
    #[error(transparent)]
    State(#[from] StateError),
    /// This machine, or its bpffs.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// Its capabilities.
    #[error(transparent)]
    Privileges(#[from] PrivilegesError),
    /// The endpoints.
    #[error(transparent)]
    Endpoints(#[from] EndpointsError),
    /// The first policies.
    #[error(transparent)]
    Policy(#[from] PolicyStateError),
    /// The way to the aggregator.
    #[error(transparent)]
    Uplink(#[from] UplinkError),
    /// OTLP logs.
    #[error(transparent)]
    Otlp(#[from] OtlpError),
    /// OTLP metrics.
    #[error(transparent)]
    Otel(#[from] OtelError),
    /// The thread of the pipeline, or of the kernel log.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
    /// A server ended.
    #[error("serving gRPC: {0}")]
    Grpc(#[from] tonic::transport::Error),
    /// The metrics server ended.
    #[error("serving metrics: {0}")]
    Metrics(#[source] io::Error),
}
