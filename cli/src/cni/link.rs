//! The node's end of a sandbox's interface: the peer that the kernel names, not a name that looks like one.

use std::fs::File;
use std::path::Path;
use std::thread;

use futures::TryStreamExt as _;
use nix::sched::{CloneFlags, setns};
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};

use super::error::CniError;

/// The node's end of a veth.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct HostEnd {
    pub(crate) name: String,
    pub(crate) ifindex: u32,
}

/// Which interface is asked for.
#[derive(Clone, Copy)]
enum Which<'a> {
    Named(&'a str),
    Numbered(u32),
}

/// What the kernel says about an interface.
struct Seen {
    index: u32,
    name: String,
    /// The other end's number, in its own namespace.
    peer: Option<u32>,
    /// Whether the other end is in another namespace.
    leads_elsewhere: bool,
}

/// Finds the other end of `interface` in `netns`. If the plugins before name interfaces of the node, it must be one of
/// them.
///
/// # Errors
/// [`CniError::Netns`], or [`CniError::Link`] with what does not fit.
pub(crate) fn host_end(netns: &Path, interface: &str, named: &[&str]) -> Result<HostEnd, CniError> {
    let place = format!("{interface} in {}", netns.display());
    let inside = in_namespace(netns, || look(Which::Named(interface)))??;
    let inside = inside.ok_or_else(|| CniError::Link(format!("there is no {place}")))?;
    let peer = inside
        .peer
        .filter(|_| inside.leads_elsewhere)
        .ok_or_else(|| CniError::Link(format!("{place} is no veth from another namespace")))?;
    let outside = look(Which::Numbered(peer))?
        .filter(|outside| outside.leads_elsewhere && outside.peer == Some(inside.index))
        .ok_or_else(|| {
            CniError::Link(format!(
                "the other end of {place}, interface {peer}, is not in this network namespace"
            ))
        })?;
    if !named.is_empty() && !named.contains(&outside.name.as_str()) {
        return Err(CniError::Link(format!(
            "the other end of {place} is {}, and prevResult.interfaces has only {}",
            outside.name,
            named.join(", ")
        )));
    }
    Ok(HostEnd {
        name: outside.name,
        ifindex: outside.index,
    })
}

/// Runs `work` on a thread that has moved into a network namespace.
fn in_namespace<T: Send>(netns: &Path, work: impl FnOnce() -> T + Send) -> Result<T, CniError> {
    let failed = |source| CniError::Netns {
        path: netns.to_owned(),
        source,
    };
    let file = File::open(netns).map_err(failed)?;
    thread::scope(|scope| {
        let inside = scope.spawn(move || {
            setns(file, CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        });
        inside
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
    .map_err(|errno: nix::errno::Errno| failed(errno.into()))
}

/// Asks the kernel about an interface of this thread's namespace.
fn look(which: Which<'_>) -> Result<Option<Seen>, CniError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CniError::Start)?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(CniError::Start)?;
        let connection = tokio::spawn(connection);
        let request = handle.link().get();
        let request = match which {
            Which::Named(name) => request.match_name(name.to_owned()),
            Which::Numbered(index) => request.match_index(index),
        };
        let found = request.execute().try_next().await;
        connection.abort();
        match found {
            Ok(link) => Ok(link.map(seen)),
            Err(rtnetlink::Error::NetlinkError(error)) if is_no_device(error.raw_code()) => {
                Ok(None)
            }
            Err(error) => Err(CniError::Link(format!("asking the kernel: {error}"))),
        }
    })
}

fn is_no_device(code: i32) -> bool {
    code == -(nix::errno::Errno::ENODEV as i32)
}

fn seen(link: LinkMessage) -> Seen {
    let mut seen = Seen {
        index: link.header.index,
        name: String::new(),
        peer: None,
        leads_elsewhere: false,
    };
    for attribute in link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => seen.name = name,
            LinkAttribute::Link(peer) => seen.peer = Some(peer),
            LinkAttribute::LinkNetNsId(_) => seen.leads_elsewhere = true,
            _ => {}
        }
    }
    seen
}
