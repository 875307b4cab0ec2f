//! One call of a guest: creates a store and an instance, runs the function, and drops the store. Nothing survives a
//! call.
//!
//! A call runs on the caller's thread and does not await: it takes microseconds and is interrupted when its time is up.

use wasmtime::component::{Instance, TypedFunc};
use wasmtime::{Store, Trap, WasmBacktrace, WasmCoreDump};

use super::component::Component;
use super::store::{self, Allowance, Guest};
use crate::contract::{Outcome, Plan, Request, Response};
use crate::failure::{self, Fault, FaultKind, Phase};
use crate::limits::{self, HandlerLimits};

impl Component {
    /// Runs `prepare` on a fresh instance.
    ///
    /// # Errors
    /// What the guest did wrong.
    pub fn prepare(&self, request: &Request) -> Result<Plan, Fault> {
        self.prepare_within(Allowance::Whole(self.limits.deadline), request)
    }

    /// The same with another time than its deadline.
    ///
    /// # Errors
    /// As [`Component::prepare`].
    pub fn prepare_within(&self, time: Allowance, request: &Request) -> Result<Plan, Fault> {
        self.run(Phase::Prepare, time, |store, instance| {
            let function = instance.get_func(&mut *store, self.prepare).ok_or_else(missing)?;
            #[expect(unsafe_code, reason = "checking the types at every call costs 3 % of its time")]
            // SAFETY: `trial` checked these types of this export, and a component does not change.
            let prepare = unsafe { TypedFunc::<(&Request,), (Plan,)>::new_unchecked(function) };
            Ok(prepare.call(store, (request,))?.0)
        })
    }

    /// Runs `respond` on a fresh instance. `None` leaves an error of the procedure to the host.
    ///
    /// # Errors
    /// What the guest did wrong.
    pub fn respond(&self, carry: &[u8], outcome: &Outcome) -> Result<Option<Response>, Fault> {
        self.respond_within(Allowance::Whole(self.limits.deadline), carry, outcome)
    }

    /// The same with another time than its deadline.
    ///
    /// # Errors
    /// As [`Component::respond`].
    pub fn respond_within(&self, time: Allowance, carry: &[u8], outcome: &Outcome) -> Result<Option<Response>, Fault> {
        self.run(Phase::Respond, time, |store, instance| {
            let function = instance.get_func(&mut *store, self.respond).ok_or_else(missing)?;
            #[expect(unsafe_code, reason = "as in `prepare`")]
            // SAFETY: as in `prepare`.
            let respond = unsafe { TypedFunc::<(&[u8], &Outcome), (Option<Response>,)>::new_unchecked(function) };
            Ok(respond.call(store, (carry, outcome))?.0)
        })
    }

    /// Instantiates once: a component that does not fit its limits is found before it serves. Also checks the types
    /// that both functions are called with, which calls do not. Returns the most memory that the component may have by
    /// its own declaration.
    pub(super) fn trial(&self) -> Result<usize, Fault> {
        self.run(Phase::Prepare, Allowance::Whole(self.limits.deadline), |store, instance| {
            let function = |store: &mut Store<Guest>, index| instance.get_func(store, index).ok_or_else(missing);
            function(store, self.prepare)?.typed::<(&Request,), (Plan,)>(&*store)?;
            function(store, self.respond)?.typed::<(&[u8], &Outcome), (Option<Response>,)>(&*store)?;
            Ok(store.data().memory_bytes_declared())
        })
    }

    fn run<T>(
        &self,
        phase: Phase,
        time: Allowance,
        call: impl FnOnce(&mut Store<Guest>, &Instance) -> wasmtime::Result<T>,
    ) -> Result<T, Fault> {
        if self.grants.wasi {
            // wasmtime-wasi blocks on tokio when a guest writes to a stream, which a worker thread may do only in here.
            tokio::task::block_in_place(|| self.run_here(phase, time, call))
        } else {
            self.run_here(phase, time, call)
        }
    }

    fn run_here<T>(
        &self,
        phase: Phase,
        time: Allowance,
        call: impl FnOnce(&mut Store<Guest>, &Instance) -> wasmtime::Result<T>,
    ) -> Result<T, Fault> {
        // Opened right before the instantiation: a guest's start functions count against its time as well.
        let mut store = store::open(&self.engine, &self.limits, self.grants.wasi, time);
        let outcome = self.pre.instantiate(&mut store).and_then(|instance| call(&mut store, &instance));
        self.engine.count(&store);
        outcome.map_err(|error| fault(phase, &error, &store, &self.limits))
    }
}

/// Unreachable: `Compiled::fit` found the export.
fn missing() -> wasmtime::Error {
    wasmtime::Error::msg("the component has lost an export")
}

/// Classifies what went wrong.
fn fault(phase: Phase, error: &wasmtime::Error, store: &Store<Guest>, allowed: &HandlerLimits) -> Fault {
    let trap = error.downcast_ref::<Trap>();
    // Only a panic ends in `unreachable`. Other traps have no message, and searching a whole memory takes long.
    let panicked = matches!(trap, Some(Trap::UnreachableCodeReached));
    let message = panicked.then(|| panic_message(error, store)).flatten();
    let message = message.or_else(|| store.data().output());
    let cause = error.root_cause().to_string();
    let kind = match trap {
        _ if store.data().was_limited() => FaultKind::Memory,
        Some(Trap::Interrupt) => FaultKind::Deadline,
        Some(_) => FaultKind::Trap,
        None if cause.contains(FUEL_EXHAUSTED) => FaultKind::Oversized,
        None => FaultKind::Malformed,
    };
    let detail = match kind {
        FaultKind::Deadline => {
            let ms = allowed.deadline.as_millis();
            format!("{}; it may take {ms} ms, and `deadline_ms` in its entry raises it", message.unwrap_or(cause))
        }
        FaultKind::Oversized => {
            let most = allowed.reply_bytes_max;
            format!("over {most} bytes handed back; `reply_bytes_max` in its entry raises it")
        }
        // The limiter's text has the key; what the guest printed follows it.
        FaultKind::Memory => cause + &message.map(|message| format!(": {message}")).unwrap_or_default(),
        _ => message.unwrap_or(cause),
    };
    Fault { backtrace: backtrace(error), ..Fault::new(phase, kind, &detail) }
}

/// `core::panicking::panic < items::render::total < respond`: the call stack. A function without a name, as in a
/// component that was stripped, is shown by its index: `function 217`.
fn backtrace(error: &wasmtime::Error) -> Option<String> {
    let frames = error.downcast_ref::<WasmBacktrace>()?.frames();
    let names = frames.iter().take(limits::BACKTRACE_FRAMES_MAX).map(|frame| match frame.func_name() {
        // Cut while it is written: a short mangled name may expand to a megabyte.
        Some(name) => failure::shown(format_args!("{:#}", rustc_demangle::demangle(name))),
        None => format!("function {}", frame.func_index()),
    });
    let names: Vec<_> = names.collect();
    (!names.is_empty()).then(|| names.join(" < "))
}

/// The text of wasmtime's private error for a reply that is too large; a test of `tests/it` pins it.
const FUEL_EXHAUSTED: &str = "fuel";

/// What the kit's panic handler writes in front of a message: see `handlers/kit/src/panic.rs`.
const PANIC_MAGIC: &[u8; 16] = b"GALO-PANIC-v1\0\0\0";

/// Reads a panic's message out of the guest's memory after the trap, so that a guest needs no import to report it.
fn panic_message(error: &wasmtime::Error, store: &Store<Guest>) -> Option<String> {
    let dump = error.downcast_ref::<WasmCoreDump>()?;
    dump.memories().iter().find_map(|memory| {
        let data = memory.data(store);
        let start = memchr::memmem::find(data, PANIC_MAGIC)? + PANIC_MAGIC.len();
        let length = u32::from_le_bytes(data.get(start..start + 4)?.try_into().ok()?) as usize;
        let text = data.get(start + 4..start + 4 + length.min(limits::LAST_WORDS_BYTES_MAX))?;
        Some(String::from_utf8_lossy(text).into_owned())
    })
}
