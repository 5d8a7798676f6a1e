//! Source and destination of a flow, as its opener sees them.

use std::net::IpAddr;

use crate::{Direction, Endpoint, Record, ServiceRef};

/// One side of a flow.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// Who it is.
    pub endpoint: &'a Endpoint,
    /// Its address.
    pub ip: IpAddr,
    /// Its port; 0 if the protocol has none.
    pub port: u16,
    /// The Service whose front end this address is.
    pub service: Option<&'a ServiceRef>,
}

impl Record {
    /// The side that opened the flow.
    pub fn source(&self) -> Side<'_> {
        match self.direction {
            Direction::Egress => self.local_side(),
            Direction::Ingress => self.remote_side(),
        }
    }

    /// The side that was addressed.
    pub fn destination(&self) -> Side<'_> {
        match self.direction {
            Direction::Egress => self.remote_side(),
            Direction::Ingress => self.local_side(),
        }
    }

    /// TCP flags that the opener sent.
    pub fn opener_tcp_flags(&self) -> u8 {
        match self.direction {
            Direction::Egress => self.tcp_flags.egress,
            Direction::Ingress => self.tcp_flags.ingress,
        }
    }

    fn local_side(&self) -> Side<'_> {
        Side {
            endpoint: &self.local,
            ip: self.local_ip,
            port: self.local_port,
            service: None,
        }
    }

    // The Service is one that the pod addressed, hence always the other side's.
    fn remote_side(&self) -> Side<'_> {
        Side {
            endpoint: &self.remote,
            ip: self.remote_ip,
            port: self.remote_port,
            service: self.service.as_deref(),
        }
    }
}
