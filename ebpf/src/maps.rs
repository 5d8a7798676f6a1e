//! The maps, under the names that `weir_datapath::abi::maps` lists. The sizes are defaults; the collector may override them.

use crate::scratch::Scratch;
use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, PerCpuHashMap, RingBuf};
use weir_datapath::abi::{
    COUNTER_ENTRIES, ClockPair, Control, Denial, DenialKey4, DenialKey6, ENDPOINT_SLOTS, Endpoint,
    EndpointSets, EndpointUse, Flow, FlowKey4, FlowKey6, Fragment, FragmentKey4, FragmentKey6,
    FrontendKey4, FrontendKey6, LedgerCount, LedgerKey, Peer, PortRange, PortTable, SourceKey,
    VerdictKey,
};

#[map]
pub(crate) static ENDPOINTS: Array<Endpoint> = Array::with_max_entries(ENDPOINT_SLOTS, 0);
// Mapped by the collector, which switches an entry by one aligned store; an update call would be a memcpy.
/// User space maps this one and `CONTROL` into its memory, to change them by single stores.
#[map]
pub(crate) static ENDPOINT_SETS: Array<EndpointSets> =
    Array::with_max_entries(ENDPOINT_SLOTS, BPF_F_MMAPABLE);
#[map]
pub(crate) static ENDPOINT_USE: Array<EndpointUse> = Array::with_max_entries(ENDPOINT_SLOTS, 0);
#[map]
pub(crate) static SOURCES: HashMap<SourceKey, u32> =
    HashMap::with_max_entries(4096, BPF_F_NO_PREALLOC);
// Mapped for the same reason.
#[map]
pub(crate) static CONTROL: Array<Control> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
pub(crate) static FRONTENDS4: HashMap<FrontendKey4, u32> =
    HashMap::with_max_entries(65_536, BPF_F_NO_PREALLOC);
#[map]
pub(crate) static FRONTENDS6: HashMap<FrontendKey6, u32> =
    HashMap::with_max_entries(16_384, BPF_F_NO_PREALLOC);
#[map]
pub(crate) static PEERS4: HashMap<u32, Peer> =
    HashMap::with_max_entries(131_072, BPF_F_NO_PREALLOC);
#[map]
pub(crate) static PEERS6: HashMap<[u8; 16], Peer> =
    HashMap::with_max_entries(65_536, BPF_F_NO_PREALLOC);
#[map]
pub(crate) static NETWORKS4: LpmTrie<[u8; 4], Peer> = LpmTrie::with_max_entries(16_384, 0);
#[map]
pub(crate) static NETWORKS6: LpmTrie<[u8; 16], Peer> = LpmTrie::with_max_entries(16_384, 0);
#[map]
pub(crate) static VERDICTS: HashMap<VerdictKey, PortTable> =
    HashMap::with_max_entries(262_144, BPF_F_NO_PREALLOC);
#[map]
pub(crate) static PORTS: Array<PortRange> = Array::with_max_entries(65_536, 0);

#[map]
pub(crate) static FLOWS4: HashMap<FlowKey4, Flow> = HashMap::with_max_entries(131_072, 0);
#[map]
pub(crate) static FLOWS6: HashMap<FlowKey6, Flow> = HashMap::with_max_entries(65_536, 0);
#[map]
pub(crate) static DENIALS4: HashMap<DenialKey4, Denial> = HashMap::with_max_entries(16_384, 0);
#[map]
pub(crate) static DENIALS6: HashMap<DenialKey6, Denial> = HashMap::with_max_entries(8_192, 0);
#[map]
pub(crate) static FRAGMENTS4: LruHashMap<FragmentKey4, Fragment> =
    LruHashMap::with_max_entries(4096, 0);
#[map]
pub(crate) static FRAGMENTS6: LruHashMap<FragmentKey6, Fragment> =
    LruHashMap::with_max_entries(4096, 0);
#[map]
pub(crate) static LEDGER: PerCpuHashMap<LedgerKey, LedgerCount> =
    PerCpuHashMap::with_max_entries(16_384, BPF_F_NO_PREALLOC);
#[map]
pub(crate) static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(COUNTER_ENTRIES, 0);

#[map]
pub(crate) static FLOW_EVENTS: RingBuf = RingBuf::with_byte_size(4 << 20, 0);
#[map]
pub(crate) static DENIAL_EVENTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);
#[map]
pub(crate) static CLOCK: Array<ClockPair> = Array::with_max_entries(1, 0);

/// Not user space's business: see `scratch.rs`.
#[map]
pub(crate) static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);
