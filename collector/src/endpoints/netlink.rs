//! rtnetlink: changes as they happen, whole dumps, and the question which pod answers to an address.

use std::io;
use std::net::IpAddr;

use futures::channel::mpsc::UnboundedReceiver;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use rtnetlink::packet_core::{ErrorMessage, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::neighbour::{NeighbourFlags, NeighbourState};
use rtnetlink::packet_route::nsid::{NsidAttribute, NsidMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::sys::{AsyncSocket as _, SocketAddr};
use rtnetlink::{Handle, MulticastGroup, RouteMessageBuilder, new_multicast_connection};
use tokio::task::JoinHandle;

use super::network::Network;

/// Receive buffer: a burst of some thousand changes fits while an interface is being attached.
const RECEIVE_BUFFER: usize = 4 << 20;

const GROUPS: [MulticastGroup; 6] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Neigh,
];

/// What the watch reports.
#[derive(Debug)]
pub(super) enum Heard {
    /// Something changed.
    Message(RouteNetlinkMessage),
    /// Messages were lost, or the socket broke: only a dump helps.
    Lost,
}

/// A watch of the network namespace in which it was opened.
pub(super) struct Netlink {
    handle: Handle,
    messages: UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>,
    connection: JoinHandle<()>,
}

/// rtnetlink did not answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum NetlinkError {
    #[error("opening an rtnetlink socket: {0}")]
    Open(#[from] io::Error),
    #[error("asking rtnetlink: {0}")]
    Request(#[from] rtnetlink::Error),
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Netlink {
    pub(super) fn open() -> Result<Self, NetlinkError> {
        let (mut connection, handle, messages) = new_multicast_connection(&GROUPS)?;
        connection
            .socket_mut()
            .socket_mut()
            .set_rx_buf_sz(RECEIVE_BUFFER)?;
        let connection = tokio::spawn(connection);
        Ok(Self {
            handle,
            messages,
            connection,
        })
    }

    /// The next change. Cancel-safe.
    pub(super) async fn next(&mut self) -> Heard {
        loop {
            match self
                .messages
                .next()
                .await
                .map(|(message, _)| message.payload)
            {
                Some(NetlinkPayload::InnerMessage(message)) => return Heard::Message(message),
                Some(NetlinkPayload::Overrun(_)) | None => return Heard::Lost,
                Some(_) => {}
            }
        }
    }

    /// The namespace as it is now. Changes that happen meanwhile are still to come as messages.
    pub(super) async fn dump(&self) -> Result<Network, NetlinkError> {
        let mut network = Network::default();
        hear_all(
            &mut network,
            self.handle.link().get().execute(),
            RouteNetlinkMessage::NewLink,
        )
        .await?;
        hear_all(
            &mut network,
            self.handle.address().get().execute(),
            RouteNetlinkMessage::NewAddress,
        )
        .await?;
        for route in [
            RouteMessageBuilder::<std::net::Ipv4Addr>::new().build(),
            RouteMessageBuilder::<std::net::Ipv6Addr>::new().build(),
        ] {
            hear_all(
                &mut network,
                self.handle.route().get(route).execute(),
                RouteNetlinkMessage::NewRoute,
            )
            .await?;
        }
        for family in [
            AddressFamily::Inet,
            AddressFamily::Inet6,
            AddressFamily::Bridge,
        ] {
            let request = self.handle.neighbours().get().set_address_family(family);
            hear_all(
                &mut network,
                request.execute(),
                RouteNetlinkMessage::NewNeighbour,
            )
            .await?;
        }
        Ok(network)
    }

    /// An interface, as a message like those of [`Netlink::next`]; `None` if there is none of that number.
    pub(super) async fn link(
        &self,
        ifindex: u32,
    ) -> Result<Option<RouteNetlinkMessage>, NetlinkError> {
        let mut links = self.handle.link().get().match_index(ifindex).execute();
        match links.try_next().await {
            Ok(link) => Ok(link.map(RouteNetlinkMessage::NewLink)),
            Err(rtnetlink::Error::NetlinkError(message)) if is_no_device(&message) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The number that this namespace has given to that of a process; `None` if it has none, as for its own.
    pub(super) async fn namespace_of(&self, process: u32) -> Result<Option<i32>, NetlinkError> {
        let mut question = NsidMessage::default();
        question.attributes.push(NsidAttribute::Pid(process));
        let mut question = NetlinkMessage::from(RouteNetlinkMessage::GetNsId(question));
        question.header.flags = NLM_F_REQUEST;
        let mut answers = self.handle.clone().request(question)?;
        while let Some(answer) = answers.next().await {
            match answer.payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNsId(answer)) => {
                    let id = answer
                        .attributes
                        .iter()
                        .find_map(|attribute| match attribute {
                            NsidAttribute::Id(id) => Some(*id),
                            _ => None,
                        });
                    return Ok(id.filter(|id| *id >= 0));
                }
                NetlinkPayload::Error(error) => {
                    return Err(rtnetlink::Error::NetlinkError(error).into());
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// Has the kernel ask who has `address` on an interface (ARP, neighbour solicitation), as it would before sending;
    /// no packet of ours goes to the pod. The answer comes as a neighbour message, and teaches the bridge the port.
    pub(super) async fn solicit(
        &self,
        interface: u32,
        address: IpAddr,
    ) -> Result<(), NetlinkError> {
        let request = self.handle.neighbours().add(interface, address).replace();
        Ok(request
            .state(NeighbourState::None)
            .flags(NeighbourFlags::Use)
            .execute()
            .await?)
    }
}

fn is_no_device(message: &ErrorMessage) -> bool {
    message.raw_code() == -(nix::errno::Errno::ENODEV as i32)
}

async fn hear_all<M>(
    network: &mut Network,
    messages: impl Stream<Item = Result<M, rtnetlink::Error>>,
    wrap: impl Fn(M) -> RouteNetlinkMessage,
) -> Result<(), NetlinkError> {
    let mut messages = std::pin::pin!(messages);
    while let Some(message) = messages.try_next().await? {
        network.hear(&wrap(message));
    }
    Ok(())
}
