//! A program that does nothing, at the hooks where Weir's programs sit: what the hooks themselves cost.

use aya::Ebpf;
use aya::programs::tc::TcAttachOptions;
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType};
use object::write::{Object, Symbol, SymbolSection};
use object::{Architecture, BinaryFormat, Endianness, SectionKind};
use object::{SymbolFlags, SymbolKind, SymbolScope};
use weir_testkit::NetNs;

const NAME: &str = "empty";
/// `r0 = -1` (`TCX_NEXT`, as Weir's programs say of what passes); `exit`.
const PROGRAM: [u8; 16] = [
    0xb7, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, //
    0x95, 0, 0, 0, 0, 0, 0, 0,
];

/// The empty program on both hooks of interfaces in a namespace; gone with this value.
pub(crate) struct EmptyPrograms {
    _programs: Ebpf,
}

impl EmptyPrograms {
    pub(crate) fn attach(netns: &NetNs, interfaces: &[&str]) -> Self {
        let mut programs = Ebpf::load(&elf()).unwrap();
        let program = programs.program_mut(NAME).unwrap();
        let program: &mut SchedClassifier = program.try_into().unwrap();
        program.load().unwrap();
        let attached = netns.run(|| {
            for interface in interfaces {
                for side in [TcAttachType::Ingress, TcAttachType::Egress] {
                    let options = TcAttachOptions::TcxOrder(LinkOrder::default());
                    program
                        .attach_with_options(interface, side, options)
                        .unwrap();
                }
            }
        });
        attached.unwrap();
        Self {
            _programs: programs,
        }
    }
}

fn elf() -> Vec<u8> {
    let mut elf = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    let section = elf.add_section(Vec::new(), b"classifier".to_vec(), SectionKind::Text);
    let symbol = elf.add_symbol(Symbol {
        name: NAME.into(),
        value: 0,
        size: 0,
        kind: SymbolKind::Text,
        scope: SymbolScope::Linkage,
        weak: false,
        section: SymbolSection::Undefined,
        flags: SymbolFlags::None,
    });
    elf.add_symbol_data(symbol, section, &PROGRAM, 8);
    elf.write().unwrap()
}
