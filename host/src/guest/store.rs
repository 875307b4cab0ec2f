//! The state of one store, which lives for one call: its limits, its slice of the thread, and what a guest with WASI
//! sees.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use wasmtime::{Store, StoreContextMut, UpdateDeadline};
use wasmtime_wasi::{WasiCtxView, WasiView};

use super::engine::{self, Counting, Engine};
use super::limiter::Limiter;
use super::wasi;
use crate::limits::{self, HandlerLimits};

/// The state of one store: the limits, and what a guest with WASI may see.
pub struct Guest {
    limiter: Limiter,
    wasi: Option<Box<wasi::Closed>>,
    slice: Slice,
}

/// How long a call may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowance {
    /// This long.
    Whole(Duration),
    /// Until it has used its slice of the thread that serves, and at most this long.
    Slice(Duration),
}

/// How much of its slice a call has used. It is counted from the first tick of the epoch, so that a call that ends
/// before a tick, as nearly every one does, never reads the clock.
#[derive(Debug, Default)]
struct Slice {
    /// The CPU time of the thread at the first tick.
    begun: Option<Duration>,
    ticks_left: u64,
}

impl Guest {
    fn new(limits: &HandlerLimits, wasi: bool) -> Self {
        Self { limiter: Limiter::new(limits), wasi: wasi.then(Box::default), slice: Slice::default() }
    }

    /// Whether the guest was refused memory or table elements.
    pub(super) fn was_limited(&self) -> bool {
        self.limiter.refused()
    }

    /// The most memory that the guest may have by its own declaration.
    pub(super) fn memory_bytes_declared(&self) -> usize {
        self.limiter.memory_bytes_declared()
    }

    /// The end of what a guest with WASI printed, if it printed anything.
    pub(super) fn output(&self) -> Option<String> {
        self.wasi.as_ref().and_then(|wasi| wasi.output())
    }
}

/// A fresh store for one call. Its time starts here, so the call must follow at once.
pub(super) fn open(engine: &Engine, limits: &HandlerLimits, wasi: bool, time: Allowance) -> Store<Guest> {
    let mut store = Store::new(engine.inner(), Guest::new(limits, wasi));
    store.limiter(|guest| &mut guest.limiter);
    store.set_hostcall_fuel(limits.reply_bytes_max);
    if engine.counting() == Counting::Instructions {
        // Fails only for an engine that does not count.
        let _ = store.set_fuel(engine::FUEL);
    }
    match time {
        Allowance::Whole(time) => store.set_epoch_deadline(engine::ticks(time)),
        Allowance::Slice(most) => {
            store.data_mut().slice.ticks_left = engine::ticks(most);
            store.epoch_deadline_callback(tick);
            store.set_epoch_deadline(1);
        }
    }
    store
}

/// Ends a call that has used its slice. The slice is CPU time, so that a thread that is not scheduled loses nothing.
fn tick(mut store: StoreContextMut<'_, Guest>) -> wasmtime::Result<UpdateDeadline> {
    let slice = &mut store.data_mut().slice;
    // If the clock cannot be read, only the deadline ends a call.
    let now = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::MAX, Duration::from);
    let begun = *slice.begun.get_or_insert(now);
    slice.ticks_left = slice.ticks_left.saturating_sub(1);
    match slice.ticks_left == 0 || now.saturating_sub(begun) >= limits::GUEST_SLICE {
        true => Ok(UpdateDeadline::Interrupt),
        false => Ok(UpdateDeadline::Continue(1)),
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        // Only a component with the grant is linked against WASI, and each of its stores gets one.
        let closed = self.wasi.as_mut().expect("a guest that imports WASI was granted it");
        closed.view()
    }
}
