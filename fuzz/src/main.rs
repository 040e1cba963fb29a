//! Hands what libFuzzer makes up to the target that `HEADRACE_FUZZ_TARGET` names.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

mod targets;

static TARGET: LazyLock<targets::Target> = LazyLock::new(|| {
    let named = std::env::var("HEADRACE_FUZZ_TARGET").unwrap_or_default();
    let found = targets::ALL.iter().find(|(name, _)| *name == named);
    let (_, target) = found.expect("HEADRACE_FUZZ_TARGET names no target: see src/targets");
    *target
});

fuzz_target!(|data: &[u8]| TARGET(data));
