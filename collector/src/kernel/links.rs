//! Puts the two programs on an interface, adopts what an earlier run put there, and looks whether they still are.
//!
//! tcx links are pinned and replaced in place; on kernels without tcx the programs are clsact filters of a fixed
//! priority and handle, which outlive the process by themselves and are found by that handle.

use std::io;

use aya::Ebpf;
use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle};
use aya::programs::{LinkOrder, ProgramError, TcAttachType};
use aya::sys::SyscallError;
use nix::net::if_::{if_indextoname, if_nameindex};
use tracing::{info, warn};
use weir_datapath::abi::{Direction, programs};

use super::load::classifier;
use super::pins::{PinLock, PinRoot, remove_file};
use super::{KernelError, preflight, sys};

/// Which end of the pod's interface the programs sit on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The host's end of the veth: what arrives here left the pod.
    Host,
    /// The pod's own interface (sidecar mode): what arrives here goes to the pod.
    Pod,
}

/// How programs are attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttachMethod {
    /// tcx where the kernel has it, clsact elsewhere.
    #[default]
    Auto,
    /// tcx (Linux 6.6).
    Tcx,
    /// clsact filters (Linux 5.15).
    Clsact,
}

/// What [`Attacher::attach`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    /// Nothing of ours was there.
    Fresh,
    /// An earlier run's programs were replaced without a gap.
    Adopted,
}

/// Whether our programs are where they were put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Both, at the head of their chains.
    First,
    /// Both, but this many programs of others run before ours on one of the hooks: what they drop we do not see.
    Behind(u32),
    /// At least one is missing.
    Missing,
}

/// Reason text of an attach error whose interface has gone.
pub(super) const DEVICE_GONE: &str = "no such interface";

/// Filter priority and handle on clsact: first to run, and how we find our own again.
const PRIORITY: u16 = 1;
const HANDLE: TcHandle = TcHandle::new(0, 0x5e17);

/// Attaches the programs. Owns them, and the pin root's lock.
pub struct Attacher {
    ebpf: Ebpf,
    pins: Option<PinRoot>,
    _lock: Option<PinLock>,
    /// Links that are not pinned end with this value.
    unpinned: Vec<SchedClassifierLink>,
    clsact: bool,
    side: Side,
}

impl Attacher {
    pub(super) fn new(
        ebpf: Ebpf,
        pins: Option<PinRoot>,
        lock: Option<PinLock>,
        method: AttachMethod,
        side: Side,
    ) -> Self {
        let clsact = match method {
            AttachMethod::Auto => !preflight::has_tcx(),
            AttachMethod::Tcx => false,
            AttachMethod::Clsact => true,
        };
        Self {
            ebpf,
            pins,
            _lock: lock,
            unpinned: Vec::new(),
            clsact,
            side,
        }
    }

    /// Puts both programs on an interface of this thread's network namespace, or replaces an earlier run's in place.
    /// The direction towards the pod comes first. Takes about 25 ms where nothing was attached: the kernel waits twice
    /// for all packets in flight.
    ///
    /// # Errors
    ///
    /// [`KernelError::Attach`]; see [`KernelError::is_device_gone`].
    pub fn attach(&mut self, ifindex: u32) -> Result<Attached, KernelError> {
        let to_pod = self.attach_hook(ifindex, Direction::Ingress)?;
        let from_pod = self.attach_hook(ifindex, Direction::Egress)?;
        let adopted = to_pod == Attached::Adopted && from_pod == Attached::Adopted;
        Ok(if adopted {
            Attached::Adopted
        } else {
            Attached::Fresh
        })
    }

    fn attach_hook(&mut self, ifindex: u32, direction: Direction) -> Result<Attached, KernelError> {
        let name =
            interface_name(ifindex).ok_or_else(|| attach_error(ifindex, direction, DEVICE_GONE))?;
        let result = if self.clsact {
            self.attach_filter(&name, direction)
        } else {
            self.attach_link(&name, ifindex, direction)
        };
        result.map_err(|reason| attach_error(ifindex, direction, reason))
    }

    fn attach_link(
        &mut self,
        name: &str,
        ifindex: u32,
        direction: Direction,
    ) -> Result<Attached, String> {
        if self.replace_pinned(ifindex, direction)? {
            return Ok(Attached::Adopted);
        }
        let hook = self.hook(direction);
        let program = classifier(&mut self.ebpf, program_name(direction))
            .map_err(|error| error.to_string())?;
        let options = TcAttachOptions::TcxOrder(LinkOrder::first());
        let id = program
            .attach_with_options(name, hook, options)
            .map_err(|error| explain(&error))?;
        let link = program.take_link(id).map_err(|error| explain(&error))?;
        let Some(root) = &self.pins else {
            self.unpinned.push(link);
            return Ok(Attached::Fresh);
        };
        let link: FdLink = link
            .try_into()
            .map_err(|error: LinkError| error.to_string())?;
        let path = root.link(ifindex, direction);
        link.pin(&path)
            .map_err(|error| format!("pinning {}: {error}", path.display()))?;
        Ok(Attached::Fresh)
    }

    /// Replaces the program behind a pinned link; false if there is none, or its interface has gone.
    fn replace_pinned(&mut self, ifindex: u32, direction: Direction) -> Result<bool, String> {
        let Some(root) = self.pins.clone() else {
            return Ok(false);
        };
        let links = root.pinned_links().map_err(|error| error.to_string())?;
        let Some(pin) = links
            .into_iter()
            .find(|pin| (pin.ifindex, pin.direction) == (ifindex, direction))
        else {
            return Ok(false);
        };
        let link: FdLink = match PinnedLink::from_pin(&pin.path) {
            Ok(link) => link.into(),
            Err(error) => return Err(format!("opening {}: {error}", pin.path.display())),
        };
        let link: SchedClassifierLink = link
            .try_into()
            .map_err(|error: LinkError| error.to_string())?;
        let program = classifier(&mut self.ebpf, program_name(direction))
            .map_err(|error| error.to_string())?;
        match program.attach_to_link(link) {
            Ok(id) => drop(program.take_link(id)), // the pin keeps it
            Err(error) if is_severed(&error) => {
                remove_file(&pin.path).map_err(|error| error.to_string())?;
                return Ok(false);
            }
            Err(error) => return Err(explain(&error)),
        }
        let path = root.link(ifindex, direction);
        if path != pin.path {
            std::fs::rename(&pin.path, &path)
                .map_err(|error| format!("moving {}: {error}", pin.path.display()))?;
        }
        Ok(true)
    }

    fn attach_filter(&mut self, name: &str, direction: Direction) -> Result<Attached, String> {
        match tc::qdisc_add_clsact(name) {
            Ok(()) => {}
            Err(tc::TcError::NetlinkError(error)) if error.raw_os_error() == Some(libc::EEXIST) => {
            }
            Err(error) => return Err(format!("adding the clsact qdisc: {error}")),
        }
        let hook = self.hook(direction);
        let program = classifier(&mut self.ebpf, program_name(direction))
            .map_err(|error| error.to_string())?;
        let ours = SchedClassifierLink::attached(name, hook, PRIORITY, HANDLE, None)
            .map_err(|error| error.to_string())?;
        let (id, attached) = match program.attach_to_link(ours) {
            Ok(id) => (id, Attached::Adopted),
            Err(_) => {
                let options = NlOptions {
                    priority: PRIORITY,
                    handle: HANDLE,
                    classid: None,
                };
                let id = program.attach_with_options(name, hook, TcAttachOptions::Netlink(options));
                (id.map_err(|error| explain(&error))?, Attached::Fresh)
            }
        };
        // A filter needs no owner: dropping the link would remove it.
        std::mem::forget(program.take_link(id).map_err(|error| explain(&error))?);
        Ok(attached)
    }

    /// Takes both programs off an interface.
    ///
    /// # Errors
    ///
    /// [`KernelError::Path`] if a pin cannot be removed.
    pub fn detach(&mut self, ifindex: u32) -> Result<(), KernelError> {
        for direction in [Direction::Ingress, Direction::Egress] {
            if let Some(root) = &self.pins {
                remove_file(&root.link(ifindex, direction))?;
            }
            if self.clsact {
                detach_filter(ifindex, self.hook(direction));
            }
        }
        Ok(())
    }

    /// Looks whether both programs are on their hooks, and first. About 10 µs.
    ///
    /// # Errors
    ///
    /// [`KernelError::Attach`] if the kernel does not answer; see [`KernelError::is_device_gone`].
    pub fn check(&mut self, ifindex: u32) -> Result<Presence, KernelError> {
        let mut before = 0;
        for direction in [Direction::Ingress, Direction::Egress] {
            if self.clsact {
                // Replacing in place is also the only question that clsact answers without a dump of all filters.
                if self.attach_hook(ifindex, direction)? == Attached::Fresh {
                    return Ok(Presence::Missing);
                }
                continue;
            }
            let ours = self.program_id(direction)?;
            let there = sys::hook_programs(ifindex, attach_number(self.hook(direction)))
                .map_err(|error| attach_error(ifindex, direction, hook_reason(&error)))?;
            match there.iter().position(|id| *id == ours) {
                Some(position) => before = before.max(position as u32),
                None => return Ok(Presence::Missing),
            }
        }
        Ok(if before == 0 {
            Presence::First
        } else {
            Presence::Behind(before)
        })
    }

    fn program_id(&mut self, direction: Direction) -> Result<u32, KernelError> {
        let name = program_name(direction);
        let info = classifier(&mut self.ebpf, name)?.info();
        let info = info.map_err(|source| KernelError::Program {
            program: name,
            source: Box::new(source),
        })?;
        Ok(info.id())
    }

    /// Interfaces that still carry pinned links. Links whose interface has gone are removed.
    ///
    /// # Errors
    ///
    /// [`KernelError::Path`] if the pins cannot be listed.
    pub fn pinned_devices(&self) -> Result<Vec<u32>, KernelError> {
        let Some(root) = &self.pins else {
            return Ok(Vec::new());
        };
        let mut devices = Vec::new();
        for pin in root.pinned_links()? {
            match sys::pinned_link_device(&pin.path) {
                Ok(Some(ifindex)) if ifindex == pin.ifindex => devices.push(ifindex),
                Ok(_) => {
                    info!(
                        ifindex = pin.ifindex,
                        "interface has gone, removing its link"
                    );
                    remove_file(&pin.path)?;
                }
                Err(error) => {
                    warn!(pin = %pin.path.display(), %error, "cannot inspect a pinned link")
                }
            }
        }
        devices.sort_unstable();
        devices.dedup();
        Ok(devices)
    }

    /// Whether an interface still runs the programs of another schema, with maps of their own.
    ///
    /// # Errors
    ///
    /// [`KernelError::Path`] if the pins cannot be listed.
    pub fn runs_other_schema(&self, ifindex: u32) -> Result<bool, KernelError> {
        let Some(root) = &self.pins else {
            return Ok(false);
        };
        let links = root.pinned_links()?;
        Ok(links
            .iter()
            .any(|pin| pin.ifindex == ifindex && !pin.path.starts_with(root.links())))
    }

    /// Removes the maps of older schemas. To be called once every endpoint's links run the new programs.
    ///
    /// # Errors
    ///
    /// [`KernelError::Path`] if they cannot be removed.
    pub fn remove_other_schemas(&self) -> Result<(), KernelError> {
        self.pins
            .as_ref()
            .map_or(Ok(()), PinRoot::remove_other_schemas)
    }

    fn hook(&self, direction: Direction) -> TcAttachType {
        match (self.side, direction) {
            (Side::Host, Direction::Egress) | (Side::Pod, Direction::Ingress) => {
                TcAttachType::Ingress
            }
            (Side::Host, Direction::Ingress) | (Side::Pod, Direction::Egress) => {
                TcAttachType::Egress
            }
        }
    }
}

/// Removes every pin under `root` and our filters from the interfaces of this thread's network namespace: enforcement
/// ends.
///
/// # Errors
///
/// [`KernelError::Locked`] while a collector runs, [`KernelError::Path`].
pub fn detach_all(root: &PinRoot) -> Result<(), KernelError> {
    preflight::check()?;
    if !preflight::is_bpffs(root.path()) {
        return Ok(()); // nothing can be pinned there
    }
    let _lock = root.lock()?;
    for interface in if_nameindex().iter().flatten() {
        for hook in [TcAttachType::Ingress, TcAttachType::Egress] {
            detach_filter(interface.index(), hook);
        }
    }
    root.remove()
}

/// Removes our filter from a clsact hook, if it is there.
fn detach_filter(ifindex: u32, hook: TcAttachType) {
    let Some(name) = interface_name(ifindex) else {
        return;
    };
    if let Ok(link) = SchedClassifierLink::attached(&name, hook, PRIORITY, HANDLE, None) {
        drop(link); // detaches; an error means that nothing was there
    }
}

/// `None` if there is no such interface. (nix takes the null pointer that says so for success.)
fn interface_name(ifindex: u32) -> Option<String> {
    let name = if_indextoname(ifindex).ok()?;
    let name = name.to_string_lossy().into_owned();
    (!name.is_empty()).then_some(name)
}

fn program_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => programs::TO_POD,
        Direction::Egress => programs::FROM_POD,
    }
}

/// `BPF_TCX_INGRESS`, `BPF_TCX_EGRESS`.
fn attach_number(hook: TcAttachType) -> u32 {
    if hook == TcAttachType::Ingress {
        46
    } else {
        47
    }
}

fn attach_error(ifindex: u32, direction: Direction, reason: impl Into<String>) -> KernelError {
    KernelError::Attach {
        program: program_name(direction),
        ifindex,
        reason: reason.into(),
    }
}

fn hook_reason(error: &io::Error) -> String {
    if error.raw_os_error() == Some(libc::ENODEV) {
        DEVICE_GONE.to_owned()
    } else {
        error.to_string()
    }
}

/// The message of a program error, with a missing interface in our own words.
fn explain(error: &ProgramError) -> String {
    match error {
        ProgramError::SyscallError(SyscallError { io_error, .. }) => hook_reason(io_error),
        other => other.to_string(),
    }
}

/// `ENOLINK`: the link's interface was deleted; a new one of the same name or number does not revive it.
fn is_severed(error: &ProgramError) -> bool {
    matches!(error, ProgramError::SyscallError(SyscallError { io_error, .. })
        if io_error.raw_os_error() == Some(libc::ENOLINK))
}
