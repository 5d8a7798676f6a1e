//! Embeds the kernel objects that `cargo xtask build-ebpf` left in `target/bpf/`. Where there are none, empty files take
//! their place, so that user space builds without the eBPF toolchain; `src/kernel/object.rs` says so at run time.

use std::env;
use std::error::Error;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let variable = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .ok_or("cargo sets it for build scripts")
    };
    let objects = variable("CARGO_MANIFEST_DIR")?.join("../target/bpf");
    let out = variable("OUT_DIR")?;
    // Watched as a directory, for cargo takes a watched file that does not exist as changed each time.
    fs::create_dir_all(&objects)?;
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", objects.display());

    embed(&objects.join("weir.o"), &out.join("weir.o"))?;
    if env::var("PROFILE")? == "debug" {
        embed(&objects.join("weir-log.o"), &out.join("weir-log.o"))?;
    } else {
        fs::write(out.join("weir-log.o"), [])?; // release programs carry no kernel diagnostics
    }
    Ok(())
}

fn embed(object: &Path, embedded: &Path) -> Result<(), Box<dyn Error>> {
    let bytes = match fs::read(object) {
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        other => other.map_err(|error| format!("reading {}: {error}", object.display()))?,
    };
    fs::write(embedded, bytes)
        .map_err(|error| format!("writing {}: {error}", embedded.display()))?;
    Ok(())
}
