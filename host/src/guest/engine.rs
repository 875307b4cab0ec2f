//! The one wasmtime engine of the process: pooled, copy-on-write, interrupted by epochs, and without what handlers do
//! not need. The compiler's process (`compile`) has an engine with the same settings, without the pool. A process that
//! compares components has one that counts instructions instead.

use std::cell::Cell;
use std::num::NonZeroUsize;
use std::time::Duration;

use anyhow::ensure;
use nix::sys::resource::{Resource, getrlimit};
use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, RegallocAlgorithm, Store, Strategy,
};

use crate::{limits, supervise};

/// The engine and its clock. Cheap to clone; the clock stops when the last clone is gone.
#[derive(Clone)]
pub struct Engine {
    native: wasmtime::Engine,
    counting: Counting,
}

thread_local! {
    /// Instructions that guests have executed on this thread, where they are counted: a guest call stays on its thread.
    static EXECUTED: Cell<u64> = const { Cell::new(0) };
}

/// Whether compiled code counts the instructions that it executes. It takes twice as long then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counting {
    /// It does not: for everything that serves.
    Off,
    /// It does: for comparisons of what a guest costs, whatever the machine.
    Instructions,
}

impl Engine {
    /// Builds the engine and starts the thread that advances its epoch.
    ///
    /// # Errors
    /// When the address space for the pool cannot be reserved, or the thread cannot be started.
    pub fn start() -> anyhow::Result<Self> {
        check_address_space()?;
        let mut config = config(Counting::Off);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool()));
        Self::with(&config, Counting::Off)
    }

    /// An engine for commands: their memories are larger than a slot of the pool.
    ///
    /// # Errors
    /// As [`Engine::start`].
    pub fn start_unpooled() -> anyhow::Result<Self> {
        let mut config = config(Counting::Off);
        config.allocation_strategy(InstanceAllocationStrategy::OnDemand).max_wasm_stack(limits::COMMAND_STACK_BYTES);
        Self::with(&config, Counting::Off)
    }

    /// An engine that counts instructions, which are the same on every machine. It serves nothing.
    ///
    /// # Errors
    /// As [`Engine::start`].
    pub fn start_counting() -> anyhow::Result<Self> {
        let mut config = config(Counting::Instructions);
        config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
        Self::with(&config, Counting::Instructions)
    }

    /// Instructions that guests have executed on this thread, of engines that count them.
    pub fn executed() -> u64 {
        EXECUTED.get()
    }

    /// An engine that only compiles, for the other ones. It creates no instances.
    ///
    /// # Errors
    /// When the settings do not fit the machine.
    pub(super) fn for_compiling(counting: Counting) -> anyhow::Result<Self> {
        let mut config = config(counting);
        config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
        Ok(Self { native: wasmtime::Engine::new(&config)?, counting })
    }

    fn with(config: &Config, counting: Counting) -> anyhow::Result<Self> {
        let engine = wasmtime::Engine::new(config)?;
        let weak = engine.weak();
        let thread = std::thread::Builder::new().name("epoch".to_owned()).stack_size(limits::SMALL_STACK_BYTES);
        thread.spawn(move || {
            // Ends with the engine: the weak reference does not keep the engine alive.
            supervise::unending("epoch", || {
                while let Some(engine) = weak.upgrade() {
                    engine.increment_epoch();
                    drop(engine);
                    std::thread::sleep(limits::EPOCH_TICK);
                }
            });
        })?;
        Ok(Self { native: engine, counting })
    }

    /// The wasmtime engine.
    pub(super) fn inner(&self) -> &wasmtime::Engine {
        &self.native
    }

    /// Whether its guests count their instructions.
    pub(super) fn counting(&self) -> Counting {
        self.counting
    }

    /// Adds the instructions of a call, where they are counted: what has gone of the fuel that its store began with.
    pub(super) fn count<T>(&self, store: &Store<T>) {
        if self.counting == Counting::Instructions {
            EXECUTED.set(EXECUTED.get() + (FUEL - store.get_fuel().unwrap_or(FUEL)));
        }
    }
}

/// Checks the process's limit of address space. The pool reserves all of its address space at once; if the limit is
/// lower, wasmtime's error would name neither the limit nor the pool.
fn check_address_space() -> anyhow::Result<()> {
    let memories = u64::from(limits::INSTANCES_MAX * limits::MEMORIES_PER_COMPONENT);
    let pool = memories * (limits::MEMORY_RESERVATION_BYTES + limits::MEMORY_GUARD_BYTES);
    let wanted = pool + limits::ADDRESS_SPACE_BYTES;
    let (allowed, _) = getrlimit(Resource::RLIMIT_AS)?;
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    ensure!(
        allowed >= wanted,
        "the address space of this process is limited to {:.1} GiB (RLIMIT_AS, `ulimit -v`), and the guests' pool \
         reserves {:.0} GiB of it, which takes no memory: lift the limit (`ulimit -v unlimited`); memory is limited by \
         a cgroup (`MemoryMax=` of systemd, `--memory` of Docker)",
        gib(allowed),
        gib(wanted)
    );
    Ok(())
}

/// Ticks after which a deadline has certainly passed: one more than fit into it, because the current tick has begun.
pub(super) fn ticks(deadline: Duration) -> u64 {
    let ticks = deadline.as_micros().div_ceil(limits::EPOCH_TICK.as_micros());
    u64::try_from(ticks).unwrap_or(u64::MAX - 1) + 1
}

/// What a store begins with where instructions are counted; nothing uses it up within a deadline.
pub(super) const FUEL: u64 = u64::MAX;

/// Settings are written out also where they equal wasmtime's default: a new wasmtime must not change them silently.
fn config(counting: Counting) -> Config {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        .cranelift_regalloc_algorithm(RegallocAlgorithm::Backtracking)
        // A pure function must return the same bits on every machine.
        .cranelift_nan_canonicalization(true)
        // A compiler uses one thread and the memory of one; several components are compiled in parallel instead.
        .parallel_compilation(false)
        .epoch_interruption(true)
        .consume_fuel(counting == Counting::Instructions)
        .max_wasm_stack(limits::GUEST_STACK_BYTES)
        // Guest calls are synchronous: no fibers, and no per-store state for them (it costs 1 µs a call).
        .concurrency_support(false)
        .memory_reservation(limits::MEMORY_RESERVATION_BYTES)
        .memory_guard_size(limits::MEMORY_GUARD_BYTES)
        .memory_init_cow(true)
        .table_lazy_init(true)
        // The message of a panic is read out of the guest's memory after the trap.
        .coredump_on_trap(true)
        .wasm_backtrace_max_frames(NonZeroUsize::new(limits::BACKTRACE_FRAMES_MAX))
        // Features that no handler needs are off, as an attack surface less; threads, GC and async are not even
        // compiled in.
        .wasm_memory64(false)
        // wasmtime's adapters between the parts of a composed component have two memories. The limiter bounds how many
        // a component may have.
        .wasm_multi_memory(true)
        .wasm_tail_call(false)
        .wasm_relaxed_simd(false)
        .wasm_custom_page_sizes(false)
        .wasm_wide_arithmetic(false)
        .wasm_component_model(true);
    config
}

fn pool() -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(limits::INSTANCES_MAX)
        .total_core_instances(limits::INSTANCES_MAX * limits::CORE_INSTANCES_PER_COMPONENT)
        .total_memories(limits::INSTANCES_MAX * limits::MEMORIES_PER_COMPONENT)
        .total_tables(limits::INSTANCES_MAX * limits::TABLES_PER_COMPONENT)
        .max_core_instances_per_component(limits::CORE_INSTANCES_PER_COMPONENT)
        .max_memories_per_component(limits::MEMORIES_PER_COMPONENT)
        .max_tables_per_component(limits::TABLES_PER_COMPONENT)
        .max_memory_size(limits::MEMORY_BYTES_CEILING)
        .table_elements(limits::TABLE_ELEMENTS_CEILING)
        .linear_memory_keep_resident(limits::MEMORY_KEEP_RESIDENT_BYTES)
        .table_keep_resident(limits::TABLE_ELEMENTS_DEFAULT * size_of::<usize>())
        // A warm slot keeps the memory image of the handler that used it last.
        .max_unused_warm_slots(limits::WARM_MEMORIES_MAX)
        // Off: it has an open isolation bug (pages it skips are not wiped), and saves nothing for guests of 64 KiB.
        .pagemap_scan(Enabled::No);
    pool
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_never_cut_short() {
        for (ms, expected) in [(1, 2), (5, 2), (6, 3), (100, 21)] {
            assert_eq!(ticks(Duration::from_millis(ms)), expected, "{ms}");
        }
    }
}
