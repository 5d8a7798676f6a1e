//! A cluster on one kernel: nodes and pods are network namespaces, wired as CNI plugins wire them.
//!
//! Integration tests, the benchmark and `weir demo` all run on it. [`Cluster::create`] makes what a [`ClusterSpec`] describes;
//! dropping the [`Cluster`] removes it, and after a crash the next one does. Each part has a [`NetNs`] in which programs run
//! and from which traffic is sent ([`Dial`], [`TcpServer`], [`UdpServer`], [`FrameSender`]) or watched ([`Capture`]).
//!
//! ```no_run
//! use weir_testkit::{Cluster, ClusterSpec, Dial, Outcome, TcpServer, Topology};
//!
//! # fn main() -> Result<(), weir_testkit::Error> {
//! let cluster = Cluster::create(&ClusterSpec::uniform(Topology::Ptp, 2, 1))?;
//! let client = cluster.pod("default", "pod-1-1")?;
//! let target = cluster.pod("default", "pod-2-1")?;
//! let server = TcpServer::start(&target.netns, 1234)?;
//! assert_eq!(Dial::to((target.addresses.v4, 1234)).tcp(&client.netns)?, Outcome::Connected);
//! assert_eq!(server.connections_seen(), 1);
//! # Ok(())
//! # }
//! ```
//!
//! It needs root, and the programs `ip` (iproute2), `nsenter` (util-linux) and, for Services, `nft` (nftables).

pub mod api;
pub mod cases;
mod cluster;
pub mod cni;
mod error;
mod lifetime;
mod manifest_dir;
mod manifests;
mod netns;
mod packet;
mod plan;
mod process;
mod program;
mod services;
mod spec;
mod traffic;
mod wiring;

pub use cluster::{Cluster, Family, Host, Node, Pod, Service};
pub use error::Error;
pub use lifetime::{Swept, Teardown};
pub use manifest_dir::ManifestDir;
pub use netns::NetNs;
pub use packet::{Extension, Packet, Tcp, TcpFlags, Transport};
pub use plan::{Addresses, MacAddr, PodCidrs};
pub use process::RunningProcess;
pub use spec::{
    ClusterSpec, ContainerPort, Hairpin, NodeSpec, Owner, PodSpec, Protocol, ServicePort,
    ServiceSpec, Topology,
};
pub use traffic::{
    Arrival, Arrivals, Capture, CapturedFrame, Dial, Direction, FrameSender, InterfaceCounters,
    Outcome, Syn, TcpServer, TcpSession, UdpServer,
};
