//! What a network plugin says about an interface that it has just made: whose it is. Known before the pod's address is
//! in the API, and by who made the link, it goes before what routes and neighbours tell.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use weir_policy::model::Name;

use super::EndpointsError;
use super::actor::Command;
use super::manager::Manager;
use super::mapping::LocalPod;
use super::view::EndpointInfo;

/// An interface and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The node's end of the link.
    pub ifindex: u32,
    /// Its name, which must fit the number: the caller may be in another network namespace.
    pub interface: String,
    /// The pod, if the caller knows.
    pub pod: Option<Name>,
    /// The pod's uid; empty if the caller does not know.
    pub uid: String,
    /// The pod's addresses, until the API says them.
    pub addresses: Vec<IpAddr>,
}

/// Why an interface does not carry the programs.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Nothing of that number.
    #[error("the collector's network namespace has no interface {ifindex} ({interface})")]
    NoInterface {
        /// The number.
        ifindex: u32,
        /// The name that was given.
        interface: String,
    },
    /// Another interface has the number.
    #[error(
        "interface {ifindex} is {actual} in the collector's network namespace, not {interface}: they are not in the same one"
    )]
    OtherName {
        /// The number.
        ifindex: u32,
        /// The name that was given.
        interface: String,
        /// Its name here.
        actual: String,
    },
    /// It is no veth into another namespace, or leads to a network, or the collector is a sidecar.
    #[error(
        "{interface} is no pod's interface to this collector: it must be a veth whose other end is in another network namespace, without a subnet or default route"
    )]
    NotWanted {
        /// Its name.
        interface: String,
    },
    /// It carries another version's programs, which stay until the first policies of this one are in force.
    #[error("{interface} runs another version's programs until this collector knows the policies")]
    OtherVersion {
        /// Its name.
        interface: String,
    },
    /// It could not be looked up.
    #[error("{0}")]
    Look(String),
    /// The kernel refused.
    #[error(transparent)]
    Attach(#[from] EndpointsError),
    /// The endpoints' thread has ended.
    #[error("the collector is stopping")]
    Ended,
}

/// A way to have an interface carry the programs; clones are the same.
#[derive(Clone, Debug)]
pub struct Attaching(mpsc::WeakSender<Command>);

impl Attaching {
    pub(super) fn new(commands: mpsc::WeakSender<Command>) -> Self {
        Self(commands)
    }

    /// Attaches now, unless it is attached, and takes the word of `claim` for whose the interface is. The endpoint's
    /// posture is in force when this returns, or its policies are.
    ///
    /// # Errors
    ///
    /// [`ClaimError`].
    pub async fn attach(&self, claim: Claim) -> Result<Arc<EndpointInfo>, ClaimError> {
        let commands = self.0.upgrade().ok_or(ClaimError::Ended)?;
        let (done, result) = oneshot::channel();
        let sent = commands.send(Command::Attach(claim, done)).await;
        sent.map_err(|_| ClaimError::Ended)?;
        drop(commands);
        result.await.map_err(|_| ClaimError::Ended)?
    }
}

impl Claim {
    /// Whether it is about this pod, and not about one that had the name before.
    fn is_of(&self, pod: &LocalPod) -> bool {
        self.pod.as_ref() == Some(&pod.name) && (self.uid.is_empty() || self.uid == pod.uid)
    }

    fn same_pod(&self, other: &Self) -> bool {
        self.pod.is_some() && self.pod == other.pod
    }
}

/// Pods by interface: where there is a claim, it alone says whose the interface is. A pod that is not listed (yet) has
/// no policies to be bound to.
pub(super) fn overrule<'a>(
    by_address: BTreeMap<u32, &LocalPod>,
    claims: impl Iterator<Item = &'a Claim>,
    pods: &[LocalPod],
) -> HashMap<u32, LocalPod> {
    let cloned = |(ifindex, pod): (u32, &LocalPod)| (ifindex, pod.clone());
    let mut mapped: HashMap<u32, LocalPod> = by_address.into_iter().map(cloned).collect();
    for claim in claims.filter(|claim| claim.pod.is_some()) {
        mapped.remove(&claim.ifindex);
        let Some(pod) = pods.iter().find(|pod| claim.is_of(pod)) else {
            continue;
        };
        mapped.retain(|_, other| other.name != pod.name);
        let mut pod = pod.clone();
        if pod.addresses.is_empty() {
            pod.addresses.clone_from(&claim.addresses);
        }
        mapped.insert(claim.ifindex, pod);
    }
    mapped
}

impl Manager {
    /// Takes it as found out whose interfaces are that nobody has said anything of.
    pub(super) fn learn(&mut self, claims: Vec<Claim>) {
        let unsaid = |claim: &Claim| {
            let said = self.claims.get(&claim.ifindex);
            said.is_none_or(|said| said.pod.is_none())
        };
        let new: Vec<_> = claims.into_iter().filter(unsaid).collect();
        if new.is_empty() {
            return;
        }
        self.claims
            .extend(new.into_iter().map(|claim| (claim.ifindex, claim)));
        self.remap();
    }

    /// Attaches to an interface, and has it be whose it is said to be.
    pub(super) fn on_claim(&mut self, claim: Claim) -> Result<Arc<EndpointInfo>, ClaimError> {
        let (ifindex, interface) = (claim.ifindex, claim.interface.clone());
        match self.network.links.get(&ifindex) {
            None => return Err(ClaimError::NoInterface { ifindex, interface }),
            Some(link) if link.name != interface => {
                return Err(ClaimError::OtherName {
                    ifindex,
                    interface,
                    actual: link.name.clone(),
                });
            }
            Some(_) if !self.wanted().contains(&ifindex) => {
                return Err(ClaimError::NotWanted { interface });
            }
            Some(_) => {}
        }
        // A sandbox that is made again has another interface: the pod is where it was said to be last.
        self.claims.retain(|_, other| !other.same_pod(&claim));
        self.claims.insert(ifindex, claim);
        self.try_attach(ifindex)?;
        self.remap();
        match self.interfaces.get(&ifindex) {
            Some(attached) => Ok(attached.info()),
            None if self.uplinks.contains(&ifindex) => Err(ClaimError::NotWanted { interface }),
            None => Err(ClaimError::OtherVersion { interface }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, uid: &str, address: Option<&str>) -> LocalPod {
        LocalPod {
            name: Name::new("shop", name),
            uid: uid.to_owned(),
            addresses: address
                .map(|text| text.parse().unwrap())
                .into_iter()
                .collect(),
            more_sources: Vec::new(),
            mode: None,
        }
    }

    fn claim(ifindex: u32, name: &str, uid: &str) -> Claim {
        Claim {
            ifindex,
            interface: format!("veth{ifindex}"),
            pod: Some(Name::new("shop", name)),
            uid: uid.to_owned(),
            addresses: vec!["10.1.0.2".parse().unwrap()],
        }
    }

    fn names(mapped: &HashMap<u32, LocalPod>) -> Vec<(u32, &str)> {
        let mut names: Vec<_> = mapped
            .iter()
            .map(|(ifindex, pod)| (*ifindex, pod.name.name.as_ref()))
            .collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn a_pod_is_where_it_was_said_to_be_with_the_addresses_that_were_said_until_the_api_knows() {
        let pods = [pod("web", "u1", None)];
        let claims = [claim(7, "web", "u1")];
        let mapped = overrule(BTreeMap::new(), claims.iter(), &pods);
        assert_eq!(names(&mapped), [(7, "web")]);
        assert_eq!(mapped[&7].addresses, claims[0].addresses);
        let pods = [pod("web", "u1", Some("10.1.0.9"))];
        let mapped = overrule(BTreeMap::from([(5, &pods[0])]), claims.iter(), &pods);
        assert_eq!(names(&mapped), [(7, "web")], "not where its address leads");
        assert_eq!(mapped[&7].addresses, pods[0].addresses);
    }

    #[test]
    fn an_interface_that_was_said_to_be_a_new_pods_is_not_the_old_ones_of_that_address_or_name() {
        let old = [pod("old", "u0", Some("10.1.0.2")), pod("web", "u0", None)];
        let by_address = BTreeMap::from([(7, &old[0])]);
        let claims = [claim(7, "web", "u1")];
        assert_eq!(names(&overrule(by_address, claims.iter(), &old)), []);
    }

    #[test]
    fn without_a_uid_the_name_has_to_do_and_without_a_name_the_address() {
        let pods = [pod("web", "u1", None), pod("api", "u2", Some("10.1.0.3"))];
        let nameless = Claim {
            pod: None,
            ..claim(8, "", "")
        };
        let claims = [claim(7, "web", ""), nameless];
        let mapped = overrule(BTreeMap::from([(8, &pods[1])]), claims.iter(), &pods);
        assert_eq!(names(&mapped), [(7, "web"), (8, "api")]);
    }
}
