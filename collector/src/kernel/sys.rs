//! The `bpf(2)` commands that aya does not offer: batch reads, program runs by file descriptor, a link's interface,
//! the programs on a hook. Layouts are those of `union bpf_attr` in the kernel's `include/uapi/linux/bpf.h`.
#![expect(
    unsafe_code,
    reason = "system calls and plain-data views that aya does not offer"
)]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use aya::Pod;

const OBJ_GET: libc::c_int = 7;
const PROG_TEST_RUN: libc::c_int = 10;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const PROG_QUERY: libc::c_int = 16;
const MAP_LOOKUP_BATCH: libc::c_int = 24;

/// Bytes that the kernel reads or writes as one `union bpf_attr`.
///
/// # Safety
///
/// `A` must be the layout of `command`, and the addresses in it must be valid for what the command does with them.
unsafe fn bpf<A>(command: libc::c_int, attr: &mut A) -> io::Result<libc::c_long> {
    // SAFETY: `attr` is a live, writable value of the size that is handed over; the caller answers for its contents.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attr, size_of::<A>()) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

// === impl batch ===

#[repr(C)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Reads whole maps, many entries to a system call. Keeps its buffers.
#[derive(Debug)]
pub(super) struct BatchReader<K, V> {
    keys: Vec<K>,
    values: Vec<V>,
}

/// Longest position token: the longest key of a map that is read in batches.
const TOKEN: usize = 64;

impl<K: Pod + Default, V: Pod + Default> BatchReader<K, V> {
    /// A reader that takes `chunk` entries at a time.
    pub(super) fn new(chunk: usize) -> Self {
        Self {
            keys: vec![K::default(); chunk],
            values: vec![V::default(); chunk],
        }
    }

    /// Calls `visit` for every entry. Entries inserted or removed meanwhile may or may not be seen.
    /// The map's key and value sizes must be those of `K` and `V`; the maps of this module are checked at open.
    pub(super) fn read(
        &mut self,
        map: BorrowedFd<'_>,
        mut visit: impl FnMut(&K, &V),
    ) -> io::Result<usize> {
        const { assert!(size_of::<K>() <= TOKEN) };
        let (mut token, mut total, mut first) = ([0_u8; TOKEN], 0, true);
        loop {
            let mut next = [0_u8; TOKEN];
            let mut attr = BatchAttr {
                in_batch: if first { 0 } else { token.as_ptr() as u64 },
                out_batch: next.as_mut_ptr() as u64,
                keys: self.keys.as_mut_ptr() as u64,
                values: self.values.as_mut_ptr() as u64,
                count: self.keys.len() as u32,
                map_fd: map.as_raw_fd() as u32,
                elem_flags: 0,
                flags: 0,
            };
            // SAFETY: the layout is the batch commands'; both tokens hold the longest key, both vectors hold `count`
            // entries of the map's sizes, and all outlive the call.
            let result = unsafe { bpf(MAP_LOOKUP_BATCH, &mut attr) };
            let end = match result {
                Ok(_) => false,
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                    self.grow(); // one bucket holds more than a chunk: the same position again, with more room
                    continue;
                }
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => continue,
                Err(error) => return Err(error),
            };
            let count = (attr.count as usize).min(self.keys.len());
            for (key, value) in self.keys[..count].iter().zip(&self.values[..count]) {
                visit(key, value);
            }
            total += count;
            if end {
                return Ok(total);
            }
            (token, first) = (next, false);
        }
    }

    fn grow(&mut self) {
        let size = self.keys.len() * 2;
        self.keys.resize(size, K::default());
        self.values.resize(size, V::default());
    }
}

// === impl test run ===

#[repr(C)]
#[derive(Default)]
struct TestRunAttr {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    pad: u32,
}

/// Bytes of `struct __sk_buff` that a run accepts.
pub(super) const SK_BUFF: usize = 192;

/// Runs a classifier on `packet` and gives its return value. `context` is a `struct __sk_buff`.
pub(super) fn test_run(
    program: BorrowedFd<'_>,
    packet: &[u8],
    context: Option<&[u8; SK_BUFF]>,
) -> io::Result<u32> {
    let mut attr = TestRunAttr {
        prog_fd: program.as_raw_fd() as u32,
        data_size_in: packet.len() as u32,
        data_in: packet.as_ptr() as u64,
        repeat: 1,
        ctx_size_in: context.map_or(0, |_| SK_BUFF as u32),
        ctx_in: context.map_or(0, |context| context.as_ptr() as u64),
        ..TestRunAttr::default()
    };
    // SAFETY: the layout is the run command's; the packet and the context are readable for the sizes given, and no
    // output buffers are named.
    unsafe { bpf(PROG_TEST_RUN, &mut attr) }?;
    Ok(attr.retval)
}

// === impl links ===

#[repr(C)]
struct ObjAttr {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

#[repr(C)]
struct InfoAttr {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// The head of `struct bpf_link_info` as a tcx link fills it.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    pad: u32,
    /// Of a tcx link: its interface, 0 once that is gone.
    ifindex: u32,
    attach_type: u32,
    rest: [u64; 8],
}

const LINK_TYPE_TCX: u32 = 11;

/// The interface that a pinned tcx link sits on; `None` if the interface is gone, or it is no tcx link.
pub(super) fn pinned_link_device(path: &Path) -> io::Result<Option<u32>> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = ObjAttr {
        pathname: path.as_ptr() as u64,
        bpf_fd: 0,
        file_flags: 0,
    };
    // SAFETY: the layout is OBJ_GET's; the path is a NUL-terminated string that outlives the call.
    let fd = unsafe { bpf(OBJ_GET, &mut attr) }?;
    // SAFETY: a successful OBJ_GET returns a new descriptor that nobody else owns.
    let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    let mut info = LinkInfo::default();
    let mut attr = InfoAttr {
        bpf_fd: fd.as_raw_fd() as u32,
        info_len: size_of::<LinkInfo>() as u32,
        info: (&raw mut info) as u64,
    };
    // SAFETY: the layout is OBJ_GET_INFO_BY_FD's; `info` is writable for `info_len` bytes.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut attr) }?;
    Ok((info.kind == LINK_TYPE_TCX && info.ifindex != 0).then_some(info.ifindex))
}

#[repr(C)]
struct QueryAttr {
    target_ifindex: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    count: u32,
    pad: u32,
    prog_attach_flags: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
}

/// The most programs on one hook (`BPF_MPROG_MAX` in the kernel).
const HOOK_PROGRAMS: usize = 64;

/// The ids of the programs on a tcx hook, in running order. `attach_type`: 46 ingress, 47 egress.
pub(super) fn hook_programs(ifindex: u32, attach_type: u32) -> io::Result<Vec<u32>> {
    let mut ids = [0_u32; HOOK_PROGRAMS];
    let mut attr = QueryAttr {
        target_ifindex: ifindex,
        attach_type,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr() as u64,
        count: HOOK_PROGRAMS as u32,
        pad: 0,
        prog_attach_flags: 0,
        link_ids: 0,
        link_attach_flags: 0,
        revision: 0,
    };
    // SAFETY: the layout is PROG_QUERY's; `ids` is writable for `count` numbers.
    match unsafe { bpf(PROG_QUERY, &mut attr) } {
        Ok(_) => Ok(ids[..(attr.count as usize).min(HOOK_PROGRAMS)].to_vec()),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

// === plain data ===

/// The value whose bytes these are; `None` if there are too few.
pub(super) fn from_bytes<T: Pod>(bytes: &[u8]) -> Option<T> {
    if bytes.len() < size_of::<T>() {
        return None;
    }
    // SAFETY: enough bytes are readable, any alignment will do, and every bit pattern is a valid `T: Pod`.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// The bytes of a value.
pub(super) fn as_bytes<T: Pod>(value: &T) -> &[u8] {
    // SAFETY: the value is readable for its size; border types have no padding, so every byte is initialised.
    unsafe { std::slice::from_raw_parts((&raw const *value).cast::<u8>(), size_of::<T>()) }
}
