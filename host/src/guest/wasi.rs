//! The closed, deterministic WASI of a handler that is built with std and granted `wasi`: no files, no network, no
//! environment, clocks that stand still, random numbers from a fixed seed. Its output is kept for the log.
//!
//! `fit` links it; each store of a component with the grant has one.

use std::time::Duration;

use wasmtime::component::{Linker, Resource, ResourceTable};
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::{Deterministic, HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use crate::limits;

/// The world that one call of a guest with WASI sees: empty, and always the same.
pub struct Closed {
    ctx: WasiCtx,
    table: ResourceTable,
    output: MemoryOutputPipe,
}

impl Default for Closed {
    /// A fresh world for one call.
    fn default() -> Self {
        let output = MemoryOutputPipe::new(limits::GUEST_OUTPUT_BYTES_MAX);
        let ctx = WasiCtxBuilder::new()
            .stdout(output.clone())
            .stderr(output.clone())
            .wall_clock(Still)
            .monotonic_clock(Still)
            .secure_random(seeded())
            .insecure_random(seeded())
            .insecure_random_seed(0)
            .max_random_size(limits::GUEST_RANDOM_BYTES_MAX)
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .build();
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits::GUEST_RESOURCES_MAX);
        Self { ctx, table, output }
    }
}

impl Closed {
    /// What wasmtime-wasi works with.
    pub fn view(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.ctx, table: &mut self.table }
    }

    /// The end of what the guest printed, if it printed anything.
    pub fn output(&self) -> Option<String> {
        let bytes = self.output.contents();
        let end = &bytes[bytes.len().saturating_sub(limits::LAST_WORDS_BYTES_MAX)..];
        (!end.is_empty()).then(|| String::from_utf8_lossy(end).trim_end().to_owned())
    }
}

/// Adds the closed WASI to a linker.
///
/// # Errors
/// When wasmtime refuses a definition.
pub fn link<T: WasiView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_sync(linker)?;
    refuse_waiting(linker)
}

/// Makes a guest trap when it waits on a clock.
///
/// # Errors
/// When wasmtime refuses a definition.
pub fn refuse_waiting<T: 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    // A wait could outlast the deadline: epochs interrupt the guest, not the host function it waits in.
    linker.allow_shadowing(true);
    let mut clock = linker.instance("wasi:clocks/monotonic-clock@0.2.12")?;
    for name in ["subscribe-instant", "subscribe-duration"] {
        clock.func_wrap(name, |_, (_,): (u64,)| -> wasmtime::Result<(Resource<wasmtime_wasi::p2::DynPollable>,)> {
            Err(wasmtime::Error::msg("a guest cannot wait on a clock"))
        })?;
    }
    linker.allow_shadowing(false);
    Ok(())
}

/// The same bytes for every call: a `HashMap` of a guest has the same order every time.
fn seeded() -> Deterministic {
    Deterministic::new((0..=u8::MAX).map(|n| n.wrapping_mul(167).wrapping_add(13)).collect())
}

/// A clock that shows the epoch and never moves.
struct Still;

impl HostWallClock for Still {
    fn resolution(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn now(&self) -> Duration {
        Duration::ZERO
    }
}

impl HostMonotonicClock for Still {
    fn resolution(&self) -> u64 {
        1_000_000_000
    }

    fn now(&self) -> u64 {
        0
    }
}
