//! The object as the kernel takes it.

use super::harness::*;
use weir_datapath::abi::programs;

/// Well below what the kernel processes before it gives up, a million (`BPF_COMPLEXITY_LIMIT_INSNS`): other kernels count otherwise.
const BUDGET: u32 = 400_000;

#[test]
fn every_program_stays_far_from_the_verifiers_limit() {
    with_kernel(|k| {
        for name in [
            programs::FROM_POD,
            programs::TO_POD,
            programs::RETIRE,
            programs::CLOCK,
        ] {
            let (verified, load) = k.verifier_cost(name);
            println!("{name}: {verified} instructions verified, loaded in {load:?}");
            assert!(
                verified < BUDGET,
                "{name}: {verified} instructions verified"
            );
        }
    });
}
