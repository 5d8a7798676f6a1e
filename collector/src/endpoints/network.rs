//! What this network namespace looks like: links, addresses, routes to single hosts, neighbours and bridges' tables.
//! Built from rtnetlink messages, those of a dump and those of changes alike.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

/// A hardware address.
pub(super) type Mac = [u8; 6];

/// What kind of interface it is, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkKind {
    /// A veth whose other end is in another network namespace, of this number here (`IFLA_LINK_NETNSID`): a pod's, perhaps.
    VethTo(i32),
    /// Anything else.
    Other,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) name: String,
    pub(super) kind: LinkKind,
}

/// What changed, in the order in which it must be acted upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing that matters.
    None,
    /// An interface appeared or changed.
    Link(u32),
    /// An interface has gone.
    LinkGone(u32),
    /// The addresses of the interfaces.
    Addresses,
    /// How pods' addresses are reached.
    Paths,
}

/// The namespace as the messages so far describe it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Network {
    pub(super) links: BTreeMap<u32, Link>,
    addresses: BTreeSet<(u32, IpNet)>,
    /// Routes to one address.
    host_routes: HashMap<IpAddr, u32>,
    /// Interfaces of default routes.
    default_routes: BTreeSet<(u32, IpVersion)>,
    neighbours: HashMap<(u32, IpAddr), Mac>,
    /// (bridge, hardware address) → port.
    forwarding: HashMap<(u32, Mac), u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum IpVersion {
    V4,
    V6,
}

/// Whether a message says that something is, or that it is no more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum News {
    Is,
    Gone,
}

impl Network {
    /// Takes in one message.
    pub(super) fn hear(&mut self, message: &RouteNetlinkMessage) -> Change {
        match message {
            RouteNetlinkMessage::NewLink(link) => self.link(link),
            RouteNetlinkMessage::DelLink(link) => self.link_gone(link),
            RouteNetlinkMessage::NewAddress(address) => self.address(address, News::Is),
            RouteNetlinkMessage::DelAddress(address) => self.address(address, News::Gone),
            RouteNetlinkMessage::NewRoute(route) => self.route(route, News::Is),
            RouteNetlinkMessage::DelRoute(route) => self.route(route, News::Gone),
            RouteNetlinkMessage::NewNeighbour(neighbour) => self.neighbour(neighbour, News::Is),
            RouteNetlinkMessage::DelNeighbour(neighbour) => self.neighbour(neighbour, News::Gone),
            _ => Change::None,
        }
    }

    fn link(&mut self, message: &LinkMessage) -> Change {
        if message.header.interface_family == AddressFamily::Bridge {
            return Change::None; // about a bridge's port, not about the interface
        }
        let (mut name, mut is_veth, mut elsewhere) = (String::new(), false, None);
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(text) => name.clone_from(text),
                LinkAttribute::LinkNetNsId(namespace) => elsewhere = Some(*namespace),
                LinkAttribute::LinkInfo(infos) => {
                    is_veth = infos
                        .iter()
                        .any(|info| matches!(info, LinkInfo::Kind(InfoKind::Veth)));
                }
                _ => {}
            }
        }
        let kind = match elsewhere {
            Some(namespace) if is_veth => LinkKind::VethTo(namespace),
            _ => LinkKind::Other,
        };
        let link = Link { name, kind };
        let index = message.header.index;
        if self.links.get(&index) == Some(&link) {
            return Change::None;
        }
        self.links.insert(index, link);
        Change::Link(index)
    }

    fn link_gone(&mut self, message: &LinkMessage) -> Change {
        if message.header.interface_family == AddressFamily::Bridge {
            return Change::None;
        }
        let index = message.header.index;
        self.links.remove(&index);
        self.addresses.retain(|(link, _)| *link != index);
        self.host_routes.retain(|_, link| *link != index);
        self.default_routes.retain(|(link, _)| *link != index);
        self.neighbours.retain(|(link, _), _| *link != index);
        self.forwarding
            .retain(|(bridge, _), port| *bridge != index && *port != index);
        Change::LinkGone(index)
    }

    fn address(&mut self, message: &AddressMessage, news: News) -> Change {
        // IFA_LOCAL is the interface's own address; IFA_ADDRESS is the peer's on point-to-point links.
        let local = message
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                AddressAttribute::Local(address) => Some(*address),
                _ => None,
            });
        let address = local.or_else(|| {
            message
                .attributes
                .iter()
                .find_map(|attribute| match attribute {
                    AddressAttribute::Address(address) => Some(*address),
                    _ => None,
                })
        });
        let net = address.and_then(|address| IpNet::new(address, message.header.prefix_len).ok());
        let Some(net) = net else { return Change::None };
        let entry = (message.header.index, net);
        let changed = match news {
            News::Is => self.addresses.insert(entry),
            News::Gone => self.addresses.remove(&entry),
        };
        if changed {
            Change::Addresses
        } else {
            Change::None
        }
    }

    fn route(&mut self, message: &RouteMessage, news: News) -> Change {
        let version = match message.header.address_family {
            AddressFamily::Inet => IpVersion::V4,
            AddressFamily::Inet6 => IpVersion::V6,
            _ => return Change::None,
        };
        let out = message
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                RouteAttribute::Oif(index) => Some(*index),
                _ => None,
            });
        let Some(out) = out.filter(|_| message.header.kind == RouteType::Unicast) else {
            return Change::None;
        };
        if message.header.destination_prefix_length == 0 {
            let changed = match news {
                News::Is => self.default_routes.insert((out, version)),
                News::Gone => self.default_routes.remove(&(out, version)),
            };
            return if changed { Change::Paths } else { Change::None };
        }
        let destination = message
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                RouteAttribute::Destination(RouteAddress::Inet(address)) => {
                    Some(IpAddr::V4(*address))
                }
                RouteAttribute::Destination(RouteAddress::Inet6(address)) => {
                    Some(IpAddr::V6(*address))
                }
                _ => None,
            });
        let bits = if version == IpVersion::V4 { 32 } else { 128 };
        let Some(host) = destination.filter(|_| message.header.destination_prefix_length == bits)
        else {
            return Change::None;
        };
        let changed = match news {
            News::Is => self.host_routes.insert(host, out) != Some(out),
            News::Gone if self.host_routes.get(&host) == Some(&out) => {
                self.host_routes.remove(&host).is_some()
            }
            News::Gone => false,
        };
        if changed { Change::Paths } else { Change::None }
    }

    fn neighbour(&mut self, message: &NeighbourMessage, news: News) -> Change {
        let (mut mac, mut address, mut bridge) = (None, None, None);
        for attribute in &message.attributes {
            match attribute {
                NeighbourAttribute::LinkLayerAddress(bytes) => {
                    mac = Mac::try_from(bytes.as_slice()).ok()
                }
                NeighbourAttribute::Destination(NeighbourAddress::Inet(found)) => {
                    address = Some(IpAddr::V4(*found))
                }
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(found)) => {
                    address = Some(IpAddr::V6(*found))
                }
                NeighbourAttribute::Controller(index) => bridge = Some(*index),
                _ => {}
            }
        }
        let index = message.header.ifindex;
        if message.header.family == AddressFamily::Bridge {
            return self.forwarding(index, bridge, mac, &message.header.state, news);
        }
        let Some(address) = address else {
            return Change::None;
        };
        let usable = news == News::Is
            && !matches!(
                message.header.state,
                NeighbourState::Failed | NeighbourState::Incomplete
            );
        let changed = match mac.filter(|_| usable) {
            Some(mac) => self.neighbours.insert((index, address), mac) != Some(mac),
            None => self.neighbours.remove(&(index, address)).is_some(),
        };
        if changed { Change::Paths } else { Change::None }
    }

    fn forwarding(
        &mut self,
        port: u32,
        bridge: Option<u32>,
        mac: Option<Mac>,
        state: &NeighbourState,
        news: News,
    ) -> Change {
        // Permanent entries are the ports' own addresses.
        let (Some(bridge), Some(mac), true) = (bridge, mac, *state != NeighbourState::Permanent)
        else {
            return Change::None;
        };
        let key = (bridge, mac);
        let changed = match news {
            News::Is => self.forwarding.insert(key, port) != Some(port),
            News::Gone if self.forwarding.get(&key) == Some(&port) => {
                self.forwarding.remove(&key).is_some()
            }
            News::Gone => false,
        };
        if changed { Change::Paths } else { Change::None }
    }

    /// The veths whose other end is elsewhere.
    pub(super) fn candidates(&self) -> impl Iterator<Item = u32> + '_ {
        let candidates = self
            .links
            .iter()
            .filter(|(_, link)| link.kind != LinkKind::Other);
        candidates.map(|(index, _)| *index)
    }

    /// The interface by which a pod's address is reached: a route to it alone, or a bridge's port.
    pub(super) fn interface_of(&self, address: IpAddr) -> Option<u32> {
        if let Some(link) = self.host_routes.get(&address) {
            return Some(*link);
        }
        self.bridges_of(address).find_map(|bridge| {
            let mac = self.neighbours.get(&(bridge, address))?;
            self.forwarding.get(&(bridge, *mac)).copied()
        })
    }

    /// The interfaces in whose subnets an address lies.
    pub(super) fn bridges_of(&self, address: IpAddr) -> impl Iterator<Item = u32> + '_ {
        let covering = self
            .addresses
            .iter()
            .filter(move |(_, net)| net.contains(&address));
        covering.map(|(link, _)| *link)
    }

    /// Whether an interface leads to a network, not to a pod: it has a subnet of its own, or a default route.
    /// (The ptp plugin gives the host's end an address too, but of a single host.)
    pub(super) fn is_uplink(&self, link: u32) -> bool {
        let subnet =
            |net: &IpNet| net.prefix_len() < net.max_prefix_len() && !is_link_local(net.addr());
        self.addresses
            .iter()
            .any(|(index, net)| *index == link && subnet(net))
            || self.default_routes.iter().any(|(index, _)| *index == link)
    }

    /// All addresses of this namespace's interfaces, the loopback's own excepted.
    pub(super) fn local_addresses(&self) -> BTreeSet<IpAddr> {
        let addresses = self.addresses.iter().map(|(_, net)| net.addr());
        addresses.filter(|address| !address.is_loopback()).collect()
    }

    /// The addresses of one interface, link-local ones excepted.
    pub(super) fn addresses_of(&self, link: u32) -> Vec<IpAddr> {
        let own = self
            .addresses
            .iter()
            .filter(|(index, _)| *index == link)
            .map(|(_, net)| net.addr());
        own.filter(|address| !is_link_local(*address)).collect()
    }

    /// An interface by name.
    pub(super) fn by_name(&self, name: &str) -> Option<u32> {
        self.links
            .iter()
            .find(|(_, link)| link.name == name)
            .map(|(index, _)| *index)
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}
