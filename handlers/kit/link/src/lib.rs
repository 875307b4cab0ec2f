//! How a handler is linked: with how much memory its component begins, and how much stack it has.
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

/// The memory with which one instance begins. An instance that needs more grows, up to `memory_bytes_max` of the
/// manifest. That call alone pays for it, two mprotects (8 µs) and a page fault for each 4 KiB it touches; the memory
/// is given back when the call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// The memory at the start in KiB, a multiple of 64: the stack, the static data, and room for an ordinary call.
    /// `None` is the least that holds stack and static data: 64 KiB for most handlers, with the rest as room.
    pub initial_kib: Option<u32>,
    /// The stack in KiB. It lies below everything else, so an overflow traps and overwrites nothing. It does not grow.
    pub stack_kib: u32,
}

impl Memory {
    /// One page, of which a quarter is stack: enough for a `no_std` handler and a request of 8 KiB. A handler with more
    /// than 48 KiB of static data has two.
    pub const DEFAULT: Self = Self { initial_kib: None, stack_kib: 16 };
}

/// Links the component with [`Memory::DEFAULT`].
pub fn component() {
    component_with(Memory::DEFAULT);
}

/// Links the component with this memory. A handler with std begins with about 192 KiB, 32 of them stack.
///
/// # Panics
/// When the memory is not a positive multiple of 64 KiB or the stack leaves no room. The build then fails.
pub fn component_with(memory: Memory) {
    let arguments = link_arguments(memory);
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_FAMILY").is_ok_and(|family| family == "wasm") {
        for argument in arguments {
            println!("cargo::rustc-link-arg-cdylib={argument}");
        }
    }
}

/// No argument sets a maximum: the host bounds the memory, and can name the limit when a call exceeds it.
fn link_arguments(Memory { initial_kib, stack_kib }: Memory) -> [String; 2] {
    assert!(stack_kib > 0 && stack_kib / 1024 < 4096, "a stack of {stack_kib} KiB is not between 1 KiB and 4 GiB");
    let bytes = |kib: u32| u64::from(kib) * 1024;
    let stack = format!("-zstack-size={}", bytes(stack_kib));
    let Some(initial_kib) = initial_kib else {
        // Without it the linker adds a page.
        return [stack, "--initial-heap=0".to_owned()];
    };
    assert!(
        initial_kib > 0 && initial_kib.is_multiple_of(PAGE_KIB) && initial_kib / 1024 < 4096,
        "the memory of a component is a multiple of {PAGE_KIB} KiB below 4 GiB, not {initial_kib} KiB"
    );
    assert!(stack_kib < initial_kib, "a stack of {stack_kib} KiB leaves no room in a memory of {initial_kib} KiB");
    [stack, format!("--initial-memory={}", bytes(initial_kib))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_has_a_size_to_begin_with_and_no_maximum() {
        assert_eq!(link_arguments(Memory::DEFAULT), ["-zstack-size=16384", "--initial-heap=0"]);
        assert_eq!(
            link_arguments(Memory { initial_kib: Some(192), stack_kib: 32 }),
            ["-zstack-size=32768", "--initial-memory=196608"]
        );
    }

    #[test]
    fn an_impossible_memory_is_refused() {
        let gib = 1024 * 1024;
        for (initial_kib, stack_kib) in [(0, 0), (0, 16), (100, 16), (64, 0), (64, 64), (64, 65), (4 * gib, 16)] {
            let memory = Memory { initial_kib: Some(initial_kib), stack_kib };
            let refused = std::panic::catch_unwind(|| link_arguments(memory));
            assert!(refused.is_err(), "{initial_kib} KiB with {stack_kib} KiB of stack");
        }
        for stack_kib in [0, 4 * gib] {
            let memory = Memory { initial_kib: None, stack_kib };
            assert!(std::panic::catch_unwind(|| link_arguments(memory)).is_err(), "{stack_kib} KiB of stack");
        }
    }
}
