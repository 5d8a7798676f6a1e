//! Loads the object: maps pinned and adopted, or private; then every program.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;

use aya::maps::{Map, MapData};
use aya::programs::{ProgramFd, SchedClassifier};
use aya::{Ebpf, EbpfLoader};
use aya_obj::generated::bpf_map_type;
use tracing::warn;
use weir_datapath::abi::{maps, programs};

use super::error::map_error;
use super::pins::{PinRoot, path_error};
use super::{Flavour, KernelError, Limits};

/// Every map that user space opens, and thus pins.
pub(super) const MAPS: [&str; 24] = [
    maps::ENDPOINTS,
    maps::ENDPOINT_SETS,
    maps::ENDPOINT_USE,
    maps::SOURCES,
    maps::CONTROL,
    maps::FRONTENDS4,
    maps::FRONTENDS6,
    maps::PEERS4,
    maps::PEERS6,
    maps::NETWORKS4,
    maps::NETWORKS6,
    maps::VERDICTS,
    maps::PORTS,
    maps::FLOWS4,
    maps::FLOWS6,
    maps::DENIALS4,
    maps::DENIALS6,
    maps::FRAGMENTS4,
    maps::FRAGMENTS6,
    maps::LEDGER,
    maps::COUNTERS,
    maps::FLOW_EVENTS,
    maps::DENIAL_EVENTS,
    maps::CLOCK,
];

/// The programs of the object.
const PROGRAMS: [&str; 4] = [
    programs::FROM_POD,
    programs::TO_POD,
    programs::RETIRE,
    programs::CLOCK,
];

/// Whether the maps were there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapOrigin {
    /// Created just now, and empty.
    Fresh,
    /// An earlier run's, with everything in them.
    Adopted,
}

/// Loads `object`. With a pin root, maps that are pinned there are adopted after their layout was compared.
pub(super) fn load(
    object: &[u8],
    pins: Option<&PinRoot>,
    limits: &Limits,
    flavour: Flavour,
) -> Result<(Ebpf, MapOrigin), KernelError> {
    let expected = expected(object)?;
    let mut sizes = limits.sizes();
    let mut origin = MapOrigin::Fresh;
    let log_level = match flavour {
        Flavour::Plain => None,
        Flavour::Log(level) => Some(level.number()),
    };
    let mut loader = EbpfLoader::new();
    if let Some(level) = &log_level {
        loader.override_global(aya_log::LEVEL, level, true);
    }
    if let Some(root) = pins {
        for name in MAPS {
            let definition = expected.get(name).ok_or_else(|| missing("map", name))?;
            if let Some(pinned) = open_pinned(root, name)? {
                let entries = compare(root, name, definition, &pinned)?;
                if sizes
                    .insert(name, entries)
                    .is_some_and(|wanted| rounded(definition, wanted) != entries)
                {
                    warn!(
                        map = name,
                        entries,
                        "pinned map keeps its size; the new one holds after `weir collector --detach`"
                    );
                }
                origin = MapOrigin::Adopted;
            }
            loader.map_pin_path(name, Cow::Owned(root.map(name)));
        }
    }
    for (name, entries) in sizes {
        loader.map_max_entries(name, entries);
    }
    let mut ebpf = loader
        .load(object)
        .map_err(|error| KernelError::Load(Box::new(error)))?;
    for name in PROGRAMS {
        let program = classifier(&mut ebpf, name)?;
        program.load().map_err(|source| KernelError::Program {
            program: name,
            source: Box::new(source),
        })?;
    }
    Ok((ebpf, origin))
}

/// A ring's size is rounded up to a power of two pages by the loader.
fn rounded(definition: &aya_obj::Map, entries: u32) -> u32 {
    if definition.map_type() == bpf_map_type::BPF_MAP_TYPE_RINGBUF as u32 {
        return entries.next_multiple_of(4096).next_power_of_two();
    }
    entries
}

/// The maps as the object defines them.
fn expected(object: &[u8]) -> Result<BTreeMap<String, aya_obj::Map>, KernelError> {
    let object = aya_obj::Object::parse(object)
        .map_err(|error| KernelError::Load(Box::new(aya::EbpfError::ParseError(error))))?;
    Ok(object.maps.into_iter().collect())
}

fn open_pinned(root: &PinRoot, name: &'static str) -> Result<Option<MapData>, KernelError> {
    let path = root.map(name);
    match std::fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(path_error("opening", &path, source)),
        Ok(_) => {}
    }
    MapData::from_pin(&path)
        .map(Some)
        .map_err(|error| map_error("opening pinned", name, error))
}

/// aya takes a pinned map as it is; with other sizes the kernel would write past our buffers.
fn compare(
    root: &PinRoot,
    name: &'static str,
    expected: &aya_obj::Map,
    pinned: &MapData,
) -> Result<u32, KernelError> {
    let info = pinned
        .info()
        .map_err(|error| map_error("inspecting pinned", name, error))?;
    let kind = info
        .map_type()
        .map_err(|error| map_error("inspecting pinned", name, error))?;
    let fields = [
        ("type", kind as u32, expected.map_type()),
        ("key size", info.key_size(), expected.key_size()),
        ("value size", info.value_size(), expected.value_size()),
        ("flags", info.map_flags(), expected.map_flags()),
    ];
    for (field, found, expected) in fields {
        if found != expected {
            return Err(KernelError::Layout {
                path: root.map(name),
                field,
                found,
                expected,
            });
        }
    }
    Ok(info.max_entries())
}

/// Takes a map out of the object as the handle that it is.
pub(super) fn take<M>(ebpf: &mut Ebpf, name: &'static str) -> Result<M, KernelError>
where
    M: TryFrom<Map, Error = aya::maps::MapError>,
{
    let map = ebpf.take_map(name).ok_or_else(|| missing("map", name))?;
    M::try_from(map).map_err(|error| map_error("opening", name, error))
}

/// A program of the object.
pub(super) fn classifier<'a>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut SchedClassifier, KernelError> {
    let program = ebpf
        .program_mut(name)
        .ok_or_else(|| missing("program", name))?;
    program.try_into().map_err(|source| KernelError::Program {
        program: name,
        source: Box::new(source),
    })
}

/// A descriptor of a loaded program of its own.
pub(super) fn program_fd(ebpf: &mut Ebpf, name: &'static str) -> Result<ProgramFd, KernelError> {
    let program = classifier(ebpf, name)?;
    let fd = program.fd().map_err(|source| KernelError::Program {
        program: name,
        source: Box::new(source),
    })?;
    fd.try_clone().map_err(|source| KernelError::Run {
        program: name,
        reason: source.to_string(),
    })
}

pub(super) fn missing(what: &'static str, name: &str) -> KernelError {
    KernelError::Missing {
        what,
        name: name.to_owned(),
    }
}
