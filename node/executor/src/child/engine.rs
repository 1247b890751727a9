//! The one wasmtime configuration, shared by the compiling and the running process (an artefact of one
//! only loads in the other if they agree).

use crate::task::Failure;
use wasmtime::{Config, Engine, OptLevel, Strategy};

/// Period of the epoch ticker. Bounds how late a cancelled or timed-out guest stops.
pub(super) const TICK: std::time::Duration = std::time::Duration::from_millis(5);
/// Stack of a guest in bytes; deeper recursion traps.
pub(super) const GUEST_STACK: usize = 1 << 20;

/// Builds the engine.
pub(super) fn engine() -> Result<Engine, Failure> {
    let mut config = Config::new();
    config
        // Winch and other back ends had escapes; Cranelift is the one that is watched.
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        // Same bits on every machine.
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(true)
        .relaxed_simd_deterministic(true)
        // Fuel is what is paid for, epochs are what stops a guest.
        .consume_fuel(true)
        .epoch_interruption(true)
        .max_wasm_stack(GUEST_STACK)
        // Small feature surface: core modules as compilers emit them.
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_component_model(false)
        .wasm_custom_page_sizes(false)
        .wasm_stack_switching(false)
        .wasm_wide_arithmetic(false)
        .shared_memory(false)
        // Traps are found by frame pointers; unwind tables would only make artefacts bigger.
        .native_unwind_info(false);
    Engine::new(&config).map_err(|e| Failure::new("exec.engine", format!("{e:#}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn features_that_widen_the_surface_are_off() {
        let engine = engine().unwrap();
        for text in [
            "(module (memory i64 1))",
            "(module (memory 1 1 shared))",
            "(module (memory 1) (memory 1))",
            "(module (type (struct)))",
            "(component)",
        ] {
            let bytes = wat::parse_str(text).unwrap();
            assert!(
                wasmtime::Module::validate(&engine, &bytes).is_err(),
                "{text} was accepted"
            );
        }
    }
}
