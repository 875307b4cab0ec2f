//! Compiles components, each in a separate process (`compile`), so that none can use up the node's memory, its cores or
//! more time than its limit: a component that exceeds a limit, or that kills the compiler or makes it panic, is
//! rejected. The compiled form comes through a descriptor: into the cache's folder, or into memory if there is no
//! cache.
//!
//! A compiler is killed when the future that waits for it is dropped, and kills itself when this process ends.

use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use nix::sys::signal::Signal;
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use super::cache::{self, Cache};
use super::compile::{MEMORY_REFUSED, STATUS_INVALID, STATUS_MEMORY, STATUS_OUTPUT, STATUS_PANIC};
use super::component::Compiled;
use super::digest::Digest;
use super::engine::{Counting, Engine};
use super::error::ComponentError;
use super::{form, room};
use crate::limits::{self, CompileLimits};

/// Compiles components for one engine. Cheap to clone.
#[derive(Clone)]
pub struct Compiler {
    engine: Engine,
    program: Arc<Path>,
    limits: CompileLimits,
    cache: Option<Cache>,
}

/// Where a compiled form is written to.
enum Output {
    Kept(Cache, NamedTempFile),
    InMemory(File),
}

impl Compiler {
    /// A compiler for this engine. `galo` is the path of this program, whose `compiler` subcommand compiles.
    pub fn new(engine: &Engine, galo: &Path, limits: CompileLimits, cache: Option<Cache>) -> Self {
        Self { engine: engine.clone(), program: galo.into(), limits, cache }
    }

    /// The compiled form of the component with this digest, if the cache has it. Takes under 1 ms.
    pub fn find(&self, digest: Digest) -> Option<Compiled> {
        let native = self.cache.as_ref()?.find(&self.engine, &digest)?;
        Some(Compiled { engine: self.engine.clone(), native, digest, cached: true, compiler_bytes: 0 })
    }

    /// Compiles a component, and stores its form in the cache. Takes 0.1 s for a component made with the kit, and at
    /// most the limits.
    ///
    /// # Errors
    /// Why it is rejected: it is not valid, it takes too much to compile, or the compiler failed.
    pub async fn compile(&self, digest: Digest, component: &[u8], niceness: i32) -> Result<Compiled, ComponentError> {
        if component.len() as u64 > self.limits.component_bytes_max {
            return Err(ComponentError::TooLarge { bytes: component.len(), most: self.limits.component_bytes_max });
        }
        // Magic, version 1, layer 0: a core module. It has an error of its own because a build for the wrong target
        // produces one.
        if component.starts_with(b"\0asm\x01\0\0\0") {
            return Err(ComponentError::CoreModule);
        }
        match self.attempt(digest, component, niceness, self.cache.as_ref()).await {
            // A cache that fails must not keep the component from serving.
            Err(ComponentError::Unkept(cause)) if self.cache.is_some() => {
                tracing::warn!(cause, "compiled component not kept");
                self.attempt(digest, component, niceness, None).await
            }
            done => done,
        }
    }

    /// Compiles into the folder of the cache, or into memory without one.
    async fn attempt(
        &self,
        digest: Digest,
        component: &[u8],
        niceness: i32,
        cache: Option<&Cache>,
    ) -> Result<Compiled, ComponentError> {
        let failed =
            |error: &dyn std::fmt::Display| ComponentError::passing(format!("the compiler cannot be run: {error}"));
        let compiler = Self { cache: cache.cloned(), ..self.clone() };
        let begin = move || {
            let memory = compiler.memory();
            compiler.begin(niceness, memory).map(|begun| (begun, memory))
        };
        let begun = tokio::task::spawn_blocking(begin).await.map_err(|panic| failed(&panic))?;
        let ((child, output), memory) = begun.map_err(|error| failed(&error))?;
        let time = self.limits.timeout;
        let compiler_bytes = match tokio::time::timeout(time, attend(child, component)).await {
            Ok(ended) => {
                let (status, printed) = ended.map_err(|error| failed(&error))?;
                judge(status, &printed, &CompileLimits { memory_bytes_max: memory, ..self.limits })?;
                printed.parse().unwrap_or(0)
            }
            Err(_) => {
                let text = format!("compiling it is not done within {} s; {SMALLER}", time.as_secs());
                return Err(ComponentError::passing(text));
            }
        };
        let compiler = self.clone();
        let finish = move || compiler.finish(digest, output, compiler_bytes);
        tokio::task::spawn_blocking(finish).await.map_err(|panic| failed(&panic))?
    }

    /// As [`Compiler::compile`], blocking, for a command that has nothing else to do.
    ///
    /// # Errors
    /// As [`Compiler::compile`], or when no runtime can be started to wait for it.
    pub fn compile_here(&self, component: &[u8]) -> anyhow::Result<Compiled> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(runtime.block_on(self.compile(Digest::of(component), component, 0))?)
    }

    /// Bytes of memory that a compiler may use now.
    fn memory(&self) -> u64 {
        let left = room::left().map_or(u64::MAX, |left| left.max(limits::COMPILE_MEMORY_BYTES_MIN));
        self.limits.memory_bytes_max.min(left)
    }

    fn begin(&self, niceness: i32, memory: u64) -> io::Result<(Child, Output)> {
        let begun = self.cache.as_ref().and_then(|cache| {
            let begun = cache.begin();
            let begun = begun.inspect_err(|error| tracing::warn!(%error, "compiled component not kept"));
            begun.ok().map(|file| Output::Kept(cache.clone(), file))
        });
        let mut output = match begun {
            Some(output) => output,
            None => Output::InMemory(form::in_memory()?),
        };
        let mut command = Command::new(&*self.program);
        command.arg0("galo").arg("compiler");
        command.arg("--memory-bytes").arg(memory.to_string());
        command.arg("--cpu-seconds").arg(self.limits.cpu.as_secs().to_string());
        command.arg("--niceness").arg(niceness.to_string());
        if self.engine.counting() == Counting::Instructions {
            command.arg("--count-instructions");
        }
        // Otherwise its allocator reserves a gibibyte at once, which would count against the limit, or fills it step by
        // step and then crashes where it should report an error.
        command.env("MIMALLOC_DISALLOW_ARENA_ALLOC", "1").env("RUST_BACKTRACE", "0");
        command.stdin(Stdio::piped()).stdout(output.file().try_clone()?).stderr(Stdio::piped());
        // In a separate process group: Ctrl-C must reach the node, which drains, but not the compiler.
        command.process_group(0).kill_on_drop(true);
        Ok((command.spawn()?, output))
    }

    fn finish(&self, digest: Digest, mut output: Output, compiler_bytes: u64) -> Result<Compiled, ComponentError> {
        let name = cache::name(&self.engine, &digest);
        form::seal(output.file(), &name).map_err(|error| ComponentError::Unkept(error.to_string()))?;
        let native = form::load(&self.engine, output.file())
            .map_err(|error| ComponentError::passing(format!("the compiled form cannot be loaded: {error:#}")))?;
        if let Output::Kept(cache, file) = output {
            cache.keep(file, &name);
        }
        Ok(Compiled { engine: self.engine.clone(), native, digest, cached: false, compiler_bytes })
    }
}

impl Output {
    fn file(&mut self) -> &mut File {
        match self {
            Self::Kept(_, file) => file.as_file_mut(),
            Self::InMemory(file) => file,
        }
    }
}

/// What an author can do about a component that takes too much to compile.
const SMALLER: &str = "build a smaller one (fewer dependencies, `opt-level = \"s\"`)";

/// Sends the component to the compiler and waits for its end. Returns how it ended, and what it printed.
async fn attend(mut child: Child, component: &[u8]) -> io::Result<(ExitStatus, String)> {
    let piped = || io::Error::other("its streams are not there");
    let mut stdin = child.stdin.take().ok_or_else(piped)?;
    let mut stderr = child.stderr.take().ok_or_else(piped)?;
    let give = async {
        // Write errors are ignored: the compiler has ended then, and its status gives the reason.
        let _ = stdin.write_all(&(component.len() as u64).to_le_bytes()).await;
        let _ = stdin.write_all(component).await;
    };
    let hear = async {
        let mut printed = Vec::new();
        let _ = (&mut stderr).take(limits::COMPILER_OUTPUT_BYTES_MAX).read_to_end(&mut printed).await;
        let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
        printed
    };
    let ((), printed, status) = tokio::join!(give, hear, child.wait());
    // Dropped only after the compiler has ended: it kills itself when its stdin is closed.
    drop(stdin);
    Ok((status?, String::from_utf8_lossy(&printed).into_owned()))
}

/// Derives the result for the component from how its compiler ended.
fn judge(status: ExitStatus, printed: &str, limits: &CompileLimits) -> Result<(), ComponentError> {
    let memory = || {
        let mib = limits.memory_bytes_max >> 20;
        // Less than the fixed limit: the container's memory is the bound.
        let more = match limits.memory_bytes_max < limits::COMPILE_MEMORY_BYTES_MAX {
            true => ", or give the node's container more",
            false => "",
        };
        ComponentError::Costly(format!("compiling it takes over {mib} MiB of memory; {SMALLER}{more}"))
    };
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    match (code, status.signal().and_then(|signal| Signal::try_from(signal).ok())) {
        (Some(0), _) => Ok(()),
        (Some(STATUS_INVALID), _) => Err(ComponentError::Invalid(printed.to_owned())),
        (Some(STATUS_MEMORY), _) => Err(memory()),
        (Some(STATUS_OUTPUT), _) => Err(ComponentError::Unkept(printed.to_owned())),
        (Some(STATUS_PANIC), _) => {
            Err(ComponentError::Compiler(format!("panic of the compiler: {}", panic_text(printed))))
        }
        (_, Some(Signal::SIGABRT)) if printed.contains(MEMORY_REFUSED) => Err(memory()),
        (_, Some(Signal::SIGXCPU)) => {
            let seconds = limits.cpu.as_secs();
            Err(ComponentError::Costly(format!("compiling it takes over {seconds} s of CPU; {SMALLER}")))
        }
        (_, Some(Signal::SIGXFSZ)) => {
            let mib = limits::COMPILED_BYTES_MAX >> 20;
            Err(ComponentError::Costly(format!("its compiled form has over {mib} MiB; {SMALLER}")))
        }
        (_, Some(Signal::SIGKILL)) => Err(ComponentError::passing(
            "the compiler was killed by SIGKILL, most likely because memory ran out; allow the node more, or fill its \
             cache before the deployment with `galo compile`",
        )),
        (_, Some(signal)) => {
            Err(ComponentError::Compiler(format!("the compiler died of {signal}: {}", printed.trim())))
        }
        (_, None) => Err(ComponentError::Compiler(format!("the compiler failed ({status}): {}", printed.trim()))),
    }
}

/// Extracts `place: message` from the output of a panic.
fn panic_text(printed: &str) -> String {
    let after = printed.split_once("panicked at ").map_or(printed, |(_, text)| text);
    let text = after.split_once("\nnote: ").map_or(after, |(text, _)| text);
    text.trim().replace(":\n", ": ")
}
