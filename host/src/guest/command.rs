//! A command in the sandbox: a WASI program with `main`, such as the unit tests of a handler compiled to wasm32-wasip2.
//! Each run is a fresh instance that has arguments and output, nothing else.
//!
//! The serving path does not use it.

use std::path::Path;

use anyhow::Context as _;
use wasmtime::component::{Linker, ResourceTable};
use wasmtime::{Store, StoreLimits, StoreLimitsBuilder, Trap};
use wasmtime_wasi::p2::bindings::sync::{Command as Bindings, CommandPre};
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::{I32Exit, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use super::compiler::Compiler;
use super::engine::{self, Engine};
use super::wasi;
use crate::limits::{self, CompileLimits};

/// A compiled command.
pub struct Command {
    engine: Engine,
    pre: CommandPre<State>,
}

/// How a run of a command ended.
#[derive(Debug)]
pub struct Exit {
    /// Whether it returned, or exited with 0.
    pub success: bool,
    /// Why it failed, beyond what it printed: a trap, a deadline, an exit code.
    pub cause: Option<String>,
    /// What it printed to stdout and stderr, in that order of time.
    pub output: String,
}

struct State {
    ctx: WasiCtx,
    table: ResourceTable,
    limits: StoreLimits,
}

impl Command {
    /// Compiles the command in a file. `galo` is the path of this program, whose `compiler` subcommand compiles.
    ///
    /// # Errors
    /// When it is not a component with `wasi:cli/run`.
    pub fn load(path: &Path, galo: &Path) -> anyhow::Result<Self> {
        let engine = Engine::start_unpooled()?;
        let compiler = Compiler::new(&engine, galo, CompileLimits::of_tests(), None);
        let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
        let compiled = compiler.compile_here(&bytes).with_context(|| path.display().to_string())?.native;
        let mut linker = Linker::<State>::new(engine.inner());
        wasmtime_wasi::p2::add_to_linker_sync(&mut linker).map_err(anyhow::Error::from)?;
        // Epochs interrupt the guest, not the host function it waits in: a test that sleeps could not be ended.
        wasi::refuse_waiting(&mut linker).map_err(anyhow::Error::from)?;
        let pre = linker
            .instantiate_pre(&compiled)
            .and_then(CommandPre::new)
            .map_err(|error| anyhow::anyhow!("{} is not a WASI command: {error:#}", path.display()))?;
        Ok(Self { engine, pre })
    }

    /// Runs it with arguments (the first is the program's name) until it ends, traps or times out.
    ///
    /// # Errors
    /// When it cannot be instantiated.
    pub fn run(&self, arguments: &[&str]) -> anyhow::Result<Exit> {
        let output = MemoryOutputPipe::new(limits::COMMAND_OUTPUT_BYTES_MAX);
        let ctx = WasiCtxBuilder::new()
            .args(arguments)
            .stdout(output.clone())
            .stderr(output.clone())
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .build();
        let limits = StoreLimitsBuilder::new().memory_size(limits::HANDLER_TEST_MEMORY_BYTES).build();
        let mut store = Store::new(self.engine.inner(), State { ctx, table: ResourceTable::new(), limits });
        store.limiter(|state| &mut state.limits);
        store.set_epoch_deadline(engine::ticks(limits::HANDLER_TEST_TIMEOUT));
        let command: Bindings = self.pre.instantiate(&mut store).map_err(anyhow::Error::from)?;
        let ended = command.wasi_cli_run().call_run(&mut store);
        let cause = match ended {
            Ok(Ok(())) => None,
            Ok(Err(())) => Some("exit code 1".to_owned()),
            Err(error) => match (error.downcast_ref::<I32Exit>(), error.downcast_ref::<Trap>()) {
                (Some(I32Exit(0)), _) => None,
                (Some(I32Exit(code)), _) => Some(format!("exit code {code}")),
                (_, Some(Trap::Interrupt)) => {
                    Some(format!("no end within {} s", limits::HANDLER_TEST_TIMEOUT.as_secs()))
                }
                _ => Some(error.root_cause().to_string()),
            },
        };
        let output = String::from_utf8_lossy(&output.contents()).into_owned();
        Ok(Exit { success: cause.is_none(), cause, output })
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.ctx, table: &mut self.table }
    }
}
