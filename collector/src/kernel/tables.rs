//! The tables that the programs count in: whole-table reads, and the end of an entry (retire, read, delete).

use std::io;
use std::os::fd::AsFd as _;

use aya::maps::{HashMap, IterableMap as _, Map, MapData, MapError};
use aya::programs::ProgramFd;
use aya::{Ebpf, Pod};
use weir_datapath::abi::{
    Denial, DenialKey4, DenialKey6, Flow, FlowKey4, FlowKey6, maps, programs, retire,
};

use super::KernelError;
use super::error::{io_error, map_error};
use super::load::{program_fd, take};
use super::sys::{self, BatchReader};

type Hash<K, V> = HashMap<MapData, K, V>;

/// Entries read by one system call: below 256 a call costs more than its entries, above 1024 nothing is gained.
const CHUNK: usize = 1024;

/// Handles of the flow and denial tables.
pub struct FlowTables {
    flows4: Hash<FlowKey4, Flow>,
    flows6: Hash<FlowKey6, Flow>,
    denials4: Hash<DenialKey4, Denial>,
    denials6: Hash<DenialKey6, Denial>,
    retire: ProgramFd,
}

/// The key type of one of the four tables.
pub trait TableKey: Pod + Default + sealed::Table {
    /// What an entry holds.
    type Value: Pod + Default;
}

mod sealed {
    use super::{FlowTables, Hash, TableKey};

    #[expect(unnameable_types, reason = "seals TableKey: there are four tables")]
    pub trait Table {
        /// The map's name.
        const MAP: &'static str;
        /// The map's number in the input of the retire program.
        const NUMBER: u8;
        /// The map's handle.
        fn table(tables: &FlowTables) -> &Hash<Self, <Self as TableKey>::Value>
        where
            Self: TableKey;
        /// The same, to delete.
        fn table_mut(tables: &mut FlowTables) -> &mut Hash<Self, <Self as TableKey>::Value>
        where
            Self: TableKey;
    }
}

macro_rules! table_key {
    ($key:ty => $value:ty, $field:ident, $map:expr, $number:expr) => {
        impl TableKey for $key {
            type Value = $value;
        }
        impl sealed::Table for $key {
            const MAP: &'static str = $map;
            const NUMBER: u8 = $number;
            fn table(tables: &FlowTables) -> &Hash<Self, $value> {
                &tables.$field
            }
            fn table_mut(tables: &mut FlowTables) -> &mut Hash<Self, $value> {
                &mut tables.$field
            }
        }
    };
}

table_key!(FlowKey4 => Flow, flows4, maps::FLOWS4, retire::TABLE_FLOWS4);
table_key!(FlowKey6 => Flow, flows6, maps::FLOWS6, retire::TABLE_FLOWS6);
table_key!(DenialKey4 => Denial, denials4, maps::DENIALS4, retire::TABLE_DENIALS4);
table_key!(DenialKey6 => Denial, denials6, maps::DENIALS6, retire::TABLE_DENIALS6);

impl FlowTables {
    pub(super) fn open(ebpf: &mut Ebpf) -> Result<Self, KernelError> {
        Ok(Self {
            flows4: take(ebpf, maps::FLOWS4)?,
            flows6: take(ebpf, maps::FLOWS6)?,
            denials4: take(ebpf, maps::DENIALS4)?,
            denials6: take(ebpf, maps::DENIALS6)?,
            retire: program_fd(ebpf, programs::RETIRE)?,
        })
    }

    /// Another handle of a table, for its entries that are made in advance.
    pub(super) fn another<K: TableKey>(&self) -> Result<Hash<K, K::Value>, KernelError> {
        let fd = K::table(self).map().fd().as_fd().try_clone_to_owned();
        let fd = fd.map_err(|source| io_error("opening", K::MAP, source))?;
        let opening = |error| map_error("opening", K::MAP, error);
        Map::HashMap(MapData::from_fd(fd).map_err(opening)?)
            .try_into()
            .map_err(opening)
    }

    /// Calls `visit` for every entry of a table, and says how many there were. 0.2 µs an entry. Entries that come or
    /// go meanwhile may or may not be seen.
    ///
    /// # Errors
    ///
    /// [`KernelError::Map`].
    pub fn sweep<K: TableKey>(
        &self,
        visit: impl FnMut(&K, &K::Value),
    ) -> Result<usize, KernelError> {
        let map = K::table(self).map().fd().as_fd();
        BatchReader::new(CHUNK)
            .read(map, visit)
            .map_err(|source| io_error("reading", K::MAP, source))
    }

    /// How many entries a table can hold.
    ///
    /// # Errors
    ///
    /// [`KernelError::Map`].
    pub fn capacity<K: TableKey>(&self) -> Result<u32, KernelError> {
        let info = K::table(self).map().info();
        info.map(|info| info.max_entries())
            .map_err(|error| map_error("reading", K::MAP, error))
    }

    /// One entry.
    ///
    /// # Errors
    ///
    /// [`KernelError::Map`].
    pub fn read<K: TableKey>(&self, key: &K) -> Result<Option<K::Value>, KernelError> {
        match K::table(self).get(key, 0) {
            Ok(value) => Ok(Some(value)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(map_error("reading", K::MAP, error)),
        }
    }

    /// Marks entries of one endpoint as retired, after which the programs count nothing more in them, save packets
    /// that are past the check right now: let [`FlowTables::GRACE`] pass before [`FlowTables::read`] and
    /// [`FlowTables::delete`]. `slot` is the endpoint's while it exists, `None` once it is gone and its slot may be
    /// another's.
    ///
    /// # Errors
    ///
    /// [`KernelError::Run`].
    pub fn retire<K: TableKey>(&self, slot: Option<u32>, keys: &[K]) -> Result<u32, KernelError> {
        let slot = slot
            .and_then(|slot| u16::try_from(slot).ok())
            .unwrap_or(u16::MAX);
        let mut retired = 0;
        for keys in keys.chunks(usize::from(retire::MAX_KEYS)) {
            let input = retire_input(slot, keys);
            let count = sys::test_run(self.retire.as_fd(), &input, None)
                .map_err(|error| run_error(&error))?;
            if count == retire::MALFORMED {
                return Err(run_error(&io::Error::other("it could not read its input")));
            }
            retired += count;
        }
        Ok(retired)
    }

    /// How long a packet may still be counted in an entry after it was retired: a program runs for microseconds, a
    /// preempted one for milliseconds.
    pub const GRACE: std::time::Duration = std::time::Duration::from_millis(50);

    /// Deletes an entry that was retired and read.
    ///
    /// # Errors
    ///
    /// [`KernelError::Map`].
    pub fn delete<K: TableKey>(&mut self, key: &K) -> Result<(), KernelError> {
        match K::table_mut(self).remove(key) {
            Err(MapError::SyscallError(error))
                if error.io_error.raw_os_error() == Some(libc::ENOENT) =>
            {
                Ok(())
            }
            other => other.map_err(|error| map_error("writing", K::MAP, error)),
        }
    }
}

/// The packet that the retire program reads.
fn retire_input<K: TableKey>(slot: u16, keys: &[K]) -> Vec<u8> {
    let mut input = vec![0; 12];
    input.extend(retire::ETHERTYPE.to_be_bytes());
    let header = retire::Header {
        table: K::NUMBER,
        count: keys.len() as u8,
        slot,
    };
    input.extend_from_slice(sys::as_bytes(&header));
    keys.iter()
        .for_each(|key| input.extend_from_slice(sys::as_bytes(key)));
    input
}

fn run_error(error: &io::Error) -> KernelError {
    KernelError::Run {
        program: programs::RETIRE,
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_retire_program_gets_its_header_and_keys_back_to_back() {
        let key = DenialKey4 {
            remote: 1,
            ..DenialKey4::default()
        };
        let input = retire_input(7, &[key, key]);
        assert_eq!(
            input.len(),
            retire::KEYS_OFFSET + 2 * size_of::<DenialKey4>()
        );
        assert_eq!(input[12..14], [0x88, 0xb5]);
        assert_eq!(input[14..16], [retire::TABLE_DENIALS4, 2]);
        assert_eq!(u16::from_ne_bytes([input[16], input[17]]), 7);
    }
}
