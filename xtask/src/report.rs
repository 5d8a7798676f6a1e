//! `cargo xtask build-ebpf --report`: what is in a kernel object, read from its ELF sections.
//!
//! Shows instructions as compiled, not as the verifier walks them, and what each function calls: a `memset` or `memcpy`
//! in that list is a byte loop (the target has no builtins) and usually means an array written as `[0; N]`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use object::read::elf::ElfFile64;
use object::{
    Endianness, Object, ObjectSection, ObjectSymbol, RelocationTarget, SectionIndex, SectionKind,
    SymbolKind,
};

type Elf<'data> = ElfFile64<'data, Endianness>;

/// Every eBPF instruction is 8 bytes; a 64-bit load takes two.
const INSTRUCTION: u64 = 8;
/// `call`, as the first byte of an instruction.
const CALL: u8 = 0x85;
/// In the source register of a `call`: the target is a function of this object, not a helper.
const CALL_LOCAL: u8 = 1;

struct Function {
    name: String,
    section: SectionIndex,
    start: u64,
    size: u64,
}

/// Prints functions with their instructions and calls, then the sections that take space in the kernel.
pub(crate) fn print(path: &Path) -> Result<()> {
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let elf = Elf::parse(&*bytes).with_context(|| format!("reading {} as ELF", path.display()))?;
    let functions = functions(&elf)?;

    println!(
        "  {:>6}  {:<12} {:<32} calls",
        "insns", "section", "function"
    );
    for function in &functions {
        let section = elf.section_by_index(function.section)?;
        println!(
            "  {:>6}  {:<12} {:<32} {}",
            function.size / INSTRUCTION,
            section.name()?,
            function.name,
            calls(&elf, &functions, function)?.join(" ")
        );
    }
    println!("  {:>6}  data section", "bytes");
    for section in elf
        .sections()
        .filter(|section| is_data(section.kind()) && section.size() > 0)
    {
        println!("  {:>6}  {}", section.size(), section.name()?);
    }
    println!(
        "  {:>6}  whole object, with debug info and BTF",
        bytes.len()
    );
    Ok(())
}

fn is_data(kind: SectionKind) -> bool {
    matches!(
        kind,
        SectionKind::Data | SectionKind::ReadOnlyData | SectionKind::UninitializedData
    )
}

/// All functions, the largest first.
fn functions(elf: &Elf<'_>) -> Result<Vec<Function>> {
    let mut functions = Vec::new();
    for symbol in elf
        .symbols()
        .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0)
    {
        let Some(section) = symbol.section_index() else {
            continue;
        };
        functions.push(Function {
            name: format!("{:#}", rustc_demangle::demangle(symbol.name()?)),
            section,
            start: symbol.address(),
            size: symbol.size(),
        });
    }
    functions.sort_by(|a, b| b.size.cmp(&a.size).then(a.name.cmp(&b.name)));
    Ok(functions)
}

/// What `function` calls in this object, as `name` or `name×times`.
fn calls(elf: &Elf<'_>, functions: &[Function], function: &Function) -> Result<Vec<String>> {
    let section = elf.section_by_index(function.section)?;
    let code = section.data()?;
    let relocations: BTreeMap<u64, RelocationTarget> = section
        .relocations()
        .map(|(offset, relocation)| (offset, relocation.target()))
        .collect();

    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for offset in (function.start..function.start + function.size).step_by(INSTRUCTION as usize) {
        let instruction = usize::try_from(offset)
            .ok()
            .and_then(|at| code.get(at..)?.first_chunk::<8>());
        let Some(&[CALL, registers, _, _, imm @ ..]) = instruction else {
            continue;
        };
        if registers >> 4 != CALL_LOCAL {
            continue;
        }
        let distance = i64::from(i32::from_le_bytes(imm)) + 1;
        let target = match relocations.get(&offset) {
            Some(&RelocationTarget::Symbol(index)) => {
                let symbol = elf.symbol_by_index(index)?;
                let base = if symbol.kind() == SymbolKind::Section {
                    distance * INSTRUCTION as i64
                } else {
                    0
                };
                symbol
                    .section_index()
                    .map(|section| (section, symbol.address().wrapping_add_signed(base)))
            }
            _ => Some((
                function.section,
                offset.wrapping_add_signed(distance * INSTRUCTION as i64),
            )),
        };
        let callee = functions
            .iter()
            .find(|callee| Some((callee.section, callee.start)) == target);
        *times
            .entry(callee.map_or("?", |callee| &callee.name))
            .or_default() += 1;
    }
    Ok(times
        .into_iter()
        .map(|(name, times)| {
            if times == 1 {
                name.to_owned()
            } else {
                format!("{name}×{times}")
            }
        })
        .collect())
}
