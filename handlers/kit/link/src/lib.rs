//! How a handler is linked: how much memory and how much stack its component has.
//!
//! It affects only the component, and only on wasm: a test binary keeps the usual memory and stack. The build script of
//! a handler calls it in one line:
//!
//! ```text
//! fn main() {
//!     galo_link::component();
//! }
//! ```

/// The unit in which wasm counts memory.
const PAGE_KIB: u32 = 64;

/// The memory of one instance. It never grows: growing costs two mprotects, 8 µs, more than a whole call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// The whole memory in KiB, a multiple of 64: the stack, the static data, and the arena in the rest.
    pub total_kib: u32,
    /// The stack in KiB. It lies below everything else, so an overflow traps and overwrites nothing.
    pub stack_kib: u32,
}

impl Memory {
    /// One page, of which a quarter is stack: enough for a `no_std` handler and a request of 8 KiB.
    pub const DEFAULT: Self = Self { total_kib: 64, stack_kib: 16 };
}

/// Links the component with [`Memory::DEFAULT`].
pub fn component() {
    component_with(Memory::DEFAULT);
}

/// Links the component with this memory. A handler with std needs about 192 KiB, 32 of them stack.
///
/// # Panics
/// When the total is not a positive multiple of 64 KiB or the stack leaves no room. The build then fails.
pub fn component_with(memory: Memory) {
    let arguments = link_arguments(memory);
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_FAMILY").is_ok_and(|family| family == "wasm") {
        for argument in arguments {
            println!("cargo::rustc-link-arg-cdylib={argument}");
        }
    }
}

fn link_arguments(Memory { total_kib, stack_kib }: Memory) -> [String; 3] {
    assert!(
        total_kib > 0 && total_kib.is_multiple_of(PAGE_KIB) && total_kib / 1024 < 4096,
        "the memory of a component is a multiple of {PAGE_KIB} KiB below 4 GiB, not {total_kib} KiB"
    );
    assert!(
        stack_kib > 0 && stack_kib < total_kib,
        "a stack of {stack_kib} KiB leaves no room in a memory of {total_kib} KiB"
    );
    let total = u64::from(total_kib) * 1024;
    [
        format!("-zstack-size={}", u64::from(stack_kib) * 1024),
        format!("--initial-memory={total}"),
        format!("--max-memory={total}"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_is_fixed() {
        assert_eq!(
            link_arguments(Memory::DEFAULT),
            ["-zstack-size=16384", "--initial-memory=65536", "--max-memory=65536"]
        );
        assert_eq!(
            link_arguments(Memory { total_kib: 192, stack_kib: 32 }),
            ["-zstack-size=32768", "--initial-memory=196608", "--max-memory=196608"]
        );
    }

    #[test]
    fn an_impossible_memory_is_refused() {
        for (total_kib, stack_kib) in [(0, 0), (0, 16), (100, 16), (64, 0), (64, 64), (64, 65), (4 * 1024 * 1024, 16)] {
            let refused = std::panic::catch_unwind(|| link_arguments(Memory { total_kib, stack_kib }));
            assert!(refused.is_err(), "{total_kib} KiB with {stack_kib} KiB of stack");
        }
    }
}
