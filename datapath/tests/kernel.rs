//! The kernel programs themselves, as built by `cargo xtask build-ebpf`, under `BPF_PROG_TEST_RUN`: packets in, verdicts
//! and map contents out. Needs root; skips with a reason otherwise.
#![expect(clippy::unwrap_used, reason = "tests: what fails should say where")]

/// One module per topic; `harness` loads the programs, `packets` builds what they are fed. The name puts the tests into
/// nextest's group of kernel tests.
mod kernel {
    mod harness;
    mod packets;

    mod addresses;
    mod denials;
    mod flows;
    mod fragments;
    mod fuzz;
    mod headers;
    mod icmp;
    mod load;
    mod modes;
    mod policy;
    mod race;
    mod rejudge;
    mod retire;
    mod tcp;
}
