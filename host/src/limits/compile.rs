//! What compiling a component may cost, each bound with its reason.

use std::time::Duration;

use super::{CACHE_BYTES_MAX, COMPONENT_BYTES_MAX};

/// Memory that compiling one component may take: private writable memory, which is what the kernel must find room for
/// (`RLIMIT_DATA`). Ours take under 40 MiB; a JavaScript engine of 12 MB takes 500 MB.
pub const COMPILE_MEMORY_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Where the container or the service has a limit, a compiler may take what the node leaves of it, but never less than
/// this: an empty compiler has 33 MiB, ours fit into 40. A node of the compose stack leaves 50 of its 80 MB.
pub const COMPILE_MEMORY_BYTES_MIN: u64 = 40 * 1024 * 1024;
/// CPU time of it. Ours take 0.1 s, the JavaScript engine 14 s.
pub const COMPILE_CPU_MAX: Duration = Duration::from_secs(30);
/// Time of it. Beside a full load it gets a quarter of a core: the CPU time above, four times.
pub const COMPILE_TIMEOUT: Duration = Duration::from_secs(120);
/// Bytes of a compiled form. Native code and its tables are three to six times the component.
pub const COMPILED_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Compilers that run beside what serves. Each that has not ended within `COMPILE_TURN` takes one of these places.
pub const COMPILERS_MAX: usize = 4;
/// For this long a compiler runs alone, so that memory is taken for one at a time; ours have ended by then. After it
/// the next one begins beside it: a component that takes long delays no other one by more.
pub const COMPILE_TURN: Duration = Duration::from_millis(500);
/// Bytes of what a compiler prints that are read: the reason why it refuses a component.
pub const COMPILER_OUTPUT_BYTES_MAX: u64 = 64 * 1024;
/// Bytes of the test program of a handler, as Cargo makes it.
pub const COMPILE_TEST_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Memory that compiling the test program of a handler may take: std and libtest, on a developer's machine.
pub const COMPILE_TEST_MEMORY_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// CPU time and time of it.
pub const COMPILE_TEST_TIMEOUT: Duration = Duration::from_secs(300);

/// What compiling one component may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileLimits {
    /// Bytes of the component.
    pub component_bytes_max: u64,
    /// Bytes of private writable memory.
    pub memory_bytes_max: u64,
    /// CPU time, in whole seconds.
    pub cpu: Duration,
    /// Time from its start to its end.
    pub timeout: Duration,
}

impl CompileLimits {
    /// Those of the test program of a handler.
    pub fn of_tests() -> Self {
        Self {
            component_bytes_max: COMPILE_TEST_BYTES_MAX,
            memory_bytes_max: COMPILE_TEST_MEMORY_BYTES_MAX,
            cpu: COMPILE_TEST_TIMEOUT,
            timeout: COMPILE_TEST_TIMEOUT,
        }
    }
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self {
            component_bytes_max: COMPONENT_BYTES_MAX,
            memory_bytes_max: COMPILE_MEMORY_BYTES_MAX,
            cpu: COMPILE_CPU_MAX,
            timeout: COMPILE_TIMEOUT,
        }
    }
}

const _: () = assert!(COMPILE_TURN.as_millis() < 1000 && COMPILE_CPU_MAX.as_secs() * 4 <= COMPILE_TIMEOUT.as_secs());
const _: () = assert!(COMPONENT_BYTES_MAX * 6 <= COMPILED_BYTES_MAX && COMPILED_BYTES_MAX <= CACHE_BYTES_MAX);
