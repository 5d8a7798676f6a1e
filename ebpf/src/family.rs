//! IPv4 and IPv6: keys and maps of each, so that everything else is written once.

use crate::maps::{
    DENIALS4, DENIALS6, FLOWS4, FLOWS6, FRAGMENTS4, FRAGMENTS6, FRONTENDS4, FRONTENDS6, NETWORKS4,
    NETWORKS6, PEERS4, PEERS6,
};
use crate::scratch::{self, Workspace};
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::maps::{HashMap, LruHashMap};
use weir_datapath::abi::{
    Denial, DenialKey4, DenialKey6, Endpoint, Flow, FlowKey4, FlowKey6, Fragment, FragmentKey4,
    FragmentKey6, FrontendKey4, FrontendKey6, Peer,
};
use weir_datapath::address::{Address, Address4, Address6};
use weir_datapath::packet::{Packet, Parsed, Result};
use weir_datapath::{ipv4, ipv6, transport};

/// The fields that flow keys of both families share.
pub(crate) trait FlowKey: Copy {
    type Address;
    fn new(
        local: Self::Address,
        remote: Self::Address,
        local_port: u16,
        remote_port: u16,
        endpoint_protocol: u32,
    ) -> Self;
    fn local(&self) -> Self::Address;
    fn remote(&self) -> Self::Address;
    fn local_port(&self) -> u16;
    fn remote_port(&self) -> u16;
    fn protocol(&self) -> u8;
}

/// A denial key without its addresses.
#[derive(Clone, Copy)]
pub(crate) struct DenialKind {
    pub(crate) port: u16,
    pub(crate) reason: u8,
    pub(crate) direction: u8,
    pub(crate) endpoint_protocol: u32,
    pub(crate) ethertype: u32,
}

/// An IP version.
pub(crate) trait Family: Sized {
    const NUMBER: u8;
    const ICMP: transport::Icmp;
    type Address: Address + Default;
    type FlowKey: FlowKey<Address = Self::Address> + 'static;
    type DenialKey: Copy + 'static;
    type FragmentKey: 'static;

    fn parse<P: Packet>(packet: &P, out: &mut Parsed<Self::Address>) -> Result;
    fn parse_usual<P: Packet>(packet: &P) -> Option<Parsed<Self::Address>>;
    fn parse_quoted<P: Packet>(
        packet: &P,
        at: usize,
        out: &mut Parsed<Self::Address>,
    ) -> Option<()>;

    fn flows() -> &'static HashMap<Self::FlowKey, Flow>;
    fn denials() -> &'static HashMap<Self::DenialKey, Denial>;
    fn fragments() -> &'static LruHashMap<Self::FragmentKey, Fragment>;

    /// Where an irregular packet of this family is taken apart.
    fn workspace() -> Option<*mut Workspace<Self>>;
    fn denial_key(local: Self::Address, remote: Self::Address, kind: DenialKind)
    -> Self::DenialKey;
    fn fragment_key(parsed: &Parsed<Self::Address>, endpoint: u32) -> Self::FragmentKey;
    fn own_address(endpoint: &Endpoint) -> Self::Address;
    fn from_address6(address: Address6) -> Option<Self::Address>;
    fn peer(address: Self::Address) -> Option<&'static Peer>;
    fn network(address: Self::Address) -> Option<&'static Peer>;
    fn frontend(address: Self::Address, protocol: u8, port: u16) -> Option<u32>;
}

pub(crate) struct V4;
pub(crate) struct V6;

macro_rules! flow_key {
    ($key:ty, $address:ty, $pack:expr, $unpack:expr) => {
        impl FlowKey for $key {
            type Address = $address;

            #[inline(always)]
            fn new(
                local: $address,
                remote: $address,
                local_port: u16,
                remote_port: u16,
                endpoint_protocol: u32,
            ) -> Self {
                Self {
                    remote: $pack(remote),
                    local: $pack(local),
                    local_port,
                    remote_port,
                    endpoint_protocol,
                }
            }

            #[inline(always)]
            fn local(&self) -> $address {
                $unpack(self.local)
            }

            #[inline(always)]
            fn remote(&self) -> $address {
                $unpack(self.remote)
            }

            #[inline(always)]
            fn local_port(&self) -> u16 {
                self.local_port
            }

            #[inline(always)]
            fn remote_port(&self) -> u16 {
                self.remote_port
            }

            #[inline(always)]
            fn protocol(&self) -> u8 {
                self.endpoint_protocol as u8
            }
        }
    };
}

flow_key!(FlowKey4, Address4, |a: Address4| a.0, Address4);
flow_key!(
    FlowKey6,
    Address6,
    |a: Address6| a.to_bytes(),
    Address6::from_bytes
);

/// What both families say in the same words.
macro_rules! common {
    ($parser:ident, $flows:ident, $denials:ident, $fragments:ident, $workspace:ident) => {
        #[inline(always)]
        fn parse<P: Packet>(packet: &P, out: &mut Parsed<Self::Address>) -> Result {
            $parser::parse(packet, out)
        }

        #[inline(always)]
        fn parse_usual<P: Packet>(packet: &P) -> Option<Parsed<Self::Address>> {
            $parser::parse_usual(packet)
        }

        #[inline(always)]
        fn parse_quoted<P: Packet>(
            packet: &P,
            at: usize,
            out: &mut Parsed<Self::Address>,
        ) -> Option<()> {
            $parser::parse_quoted(packet, at, out)
        }

        #[inline(always)]
        fn flows() -> &'static HashMap<Self::FlowKey, Flow> {
            &$flows
        }

        #[inline(always)]
        fn denials() -> &'static HashMap<Self::DenialKey, Denial> {
            &$denials
        }

        #[inline(always)]
        fn fragments() -> &'static LruHashMap<Self::FragmentKey, Fragment> {
            &$fragments
        }

        #[inline(always)]
        fn workspace() -> Option<*mut Workspace<Self>> {
            // SAFETY: this CPU's working memory.
            scratch::get().map(|scratch| unsafe { scratch::$workspace(scratch) })
        }
    };
}

impl Family for V4 {
    const NUMBER: u8 = 4;
    const ICMP: transport::Icmp = transport::Icmp::V4;
    type Address = Address4;
    type FlowKey = FlowKey4;
    type DenialKey = DenialKey4;
    type FragmentKey = FragmentKey4;
    common!(ipv4, FLOWS4, DENIALS4, FRAGMENTS4, v4);

    #[inline(always)]
    fn denial_key(local: Address4, remote: Address4, kind: DenialKind) -> DenialKey4 {
        let DenialKind {
            port,
            reason,
            direction,
            endpoint_protocol,
            ethertype,
        } = kind;
        DenialKey4 {
            remote: remote.0,
            local: local.0,
            port,
            reason,
            direction,
            endpoint_protocol,
            ethertype,
        }
    }

    #[inline(always)]
    fn fragment_key(parsed: &Parsed<Address4>, endpoint: u32) -> FragmentKey4 {
        FragmentKey4 {
            source: parsed.source.0,
            destination: parsed.destination.0,
            identification: parsed.identification,
            endpoint_protocol: endpoint | u32::from(parsed.protocol),
        }
    }

    #[inline(always)]
    fn own_address(endpoint: &Endpoint) -> Address4 {
        Address4(endpoint.ipv4)
    }

    #[inline(always)]
    fn from_address6(_: Address6) -> Option<Address4> {
        None
    }

    #[inline(always)]
    fn peer(address: Address4) -> Option<&'static Peer> {
        // SAFETY: NO_PREALLOC: an entry that is removed now stays readable until this program has ended (RCU).
        unsafe { PEERS4.get(&address.0) }
    }

    #[inline(always)]
    fn network(address: Address4) -> Option<&'static Peer> {
        NETWORKS4.get(&Key::new(32, address.0.to_ne_bytes()))
    }

    #[inline(always)]
    fn frontend(address: Address4, protocol: u8, port: u16) -> Option<u32> {
        // SAFETY: as in `peer`.
        unsafe {
            FRONTENDS4.get(&FrontendKey4 {
                address: address.0,
                port,
                protocol,
                reserved: 0,
            })
        }
        .copied()
    }
}

impl Family for V6 {
    const NUMBER: u8 = 6;
    const ICMP: transport::Icmp = transport::Icmp::V6;
    type Address = Address6;
    type FlowKey = FlowKey6;
    type DenialKey = DenialKey6;
    type FragmentKey = FragmentKey6;
    common!(ipv6, FLOWS6, DENIALS6, FRAGMENTS6, v6);

    #[inline(always)]
    fn denial_key(local: Address6, remote: Address6, kind: DenialKind) -> DenialKey6 {
        let DenialKind {
            port,
            reason,
            direction,
            endpoint_protocol,
            ethertype,
        } = kind;
        DenialKey6 {
            remote: remote.to_bytes(),
            local: local.to_bytes(),
            port,
            reason,
            direction,
            endpoint_protocol,
            ethertype,
        }
    }

    #[inline(always)]
    fn fragment_key(parsed: &Parsed<Address6>, endpoint: u32) -> FragmentKey6 {
        FragmentKey6 {
            source: parsed.source.to_bytes(),
            destination: parsed.destination.to_bytes(),
            identification: parsed.identification,
            endpoint_protocol: endpoint,
        }
    }

    #[inline(always)]
    fn own_address(endpoint: &Endpoint) -> Address6 {
        Address6::from_bytes(endpoint.ipv6)
    }

    #[inline(always)]
    fn from_address6(address: Address6) -> Option<Address6> {
        Some(address)
    }

    #[inline(always)]
    fn peer(address: Address6) -> Option<&'static Peer> {
        // SAFETY: NO_PREALLOC: an entry that is removed now stays readable until this program has ended (RCU).
        unsafe { PEERS6.get(&address.to_bytes()) }
    }

    #[inline(always)]
    fn network(address: Address6) -> Option<&'static Peer> {
        NETWORKS6.get(&Key::new(128, address.to_bytes()))
    }

    #[inline(always)]
    fn frontend(address: Address6, protocol: u8, port: u16) -> Option<u32> {
        // SAFETY: as in `peer`.
        unsafe {
            FRONTENDS6.get(&FrontendKey6 {
                address: address.to_bytes(),
                port,
                protocol,
                reserved: 0,
            })
        }
        .copied()
    }
}
