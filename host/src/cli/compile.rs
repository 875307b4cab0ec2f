//! `galo compile DIR`: fills the cache before a deployment. It compiles as a node does, each component in a process of
//! its own, and needs no database. `galo compiler`, hidden, is such a process.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use futures_util::{StreamExt as _, stream};
use galo::config::{Mistakes, OWN_PROGRAM};
use galo::drain::Outcome;
use galo::guest::compile::{self, Bounds};
use galo::guest::{Cache, Compiler, Counting, Declared, Digest, Engine, Grants};
use galo::limits::{self, CompileLimits};
use galo::manifest::{self, Entry};
use galo::reload;

use super::folder;
use super::node::default_cache;
use super::runtime::{Task, decline_huge_pages, run_on};
use super::size::{Least, Size};

#[derive(Args)]
pub(super) struct CompileArgs {
    /// Folder with galo.toml and the components
    #[arg(env = "GALO_HANDLERS", value_name = "DIR")]
    pub(super) handlers: PathBuf,
    /// Folder for compiled components [default: galo/components in the user's cache folder]
    #[arg(long, env = "GALO_CACHE", value_name = "DIR")]
    pub(super) cache: Option<PathBuf>,
    /// Memory that compiling may take, such as 600M: one component after the other, each within it [default: 1G for
    /// each, and one for each core at once]
    #[arg(long, value_name = "SIZE")]
    pub(super) memory: Option<String>,
}

#[derive(Args)]
pub(super) struct CompilerArgs {
    #[arg(long)]
    memory_bytes: u64,
    #[arg(long)]
    cpu_seconds: u64,
    #[arg(long, allow_hyphen_values = true)]
    niceness: i32,
    #[arg(long)]
    count_instructions: bool,
}

impl CompilerArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Self { memory_bytes, cpu_seconds, niceness, count_instructions } = self;
        let counting = if count_instructions { Counting::Instructions } else { Counting::Off };
        compile::compile(Bounds { memory_bytes, cpu: Duration::from_secs(cpu_seconds), niceness }, counting)
    }
}

/// What to compile, and where to.
pub(super) struct Compile {
    handlers: PathBuf,
    cache: PathBuf,
    memory: Option<Size>,
}

impl CompileArgs {
    pub(super) fn task(self, mistakes: &mut Mistakes) -> Option<Task> {
        let compile = self.parse(mistakes)?;
        Some(Box::new(|| {
            folder::check_built(&compile.handlers)?;
            decline_huge_pages();
            run_on(Some(1), compile.run())
        }))
    }

    pub(super) fn parse(self, mistakes: &mut Mistakes) -> Option<Compile> {
        let cache = self.cache.or_else(default_cache);
        if cache.is_none() {
            mistakes.note("--cache", "not set, and this user has no cache folder; give one");
        }
        let least = Least { what: "a compiler", needs: Size(limits::COMPILE_MEMORY_BYTES_MIN) };
        let memory = Size::of_memory(self.memory.as_deref(), Some(least), mistakes);
        Some(Compile { handlers: self.handlers, cache: cache?, memory: memory? })
    }
}

impl Compile {
    pub(super) async fn run(self) -> anyhow::Result<Outcome> {
        let manifest = manifest::read(&self.handlers)?;
        let engine = Engine::start_unpooled()?;
        let cache = Cache::open(&self.cache)?;
        let mut allowed = CompileLimits::default();
        let mut at_once = std::thread::available_parallelism().map_or(1, usize::from);
        if let Some(Size(bytes)) = self.memory {
            (allowed.memory_bytes_max, at_once) = (bytes, 1);
        }
        let compiler = Compiler::new(&engine, Path::new(OWN_PROGRAM), allowed, Some(cache));
        let (all, begun) = (manifest.handlers.len(), Instant::now());
        let mut refused = 0;
        let compile = async |entry: &Entry| (entry.name.clone(), compile_one(&compiler, entry).await);
        let mut compiled = stream::iter(&manifest.handlers).map(compile).buffer_unordered(at_once).enumerate();
        while let Some((before, (name, result))) = compiled.next().await {
            let mut line = format!("[{}/{all}] {name}: ", before + 1);
            match result {
                Ok(result) => line.push_str(&result),
                Err(error) => {
                    refused += 1;
                    let _ = write!(line, "refused: {error:#}");
                }
            }
            // Not `println!`, which panics when the reader of a pipe has closed it.
            writeln!(std::io::stdout(), "{line}")?;
        }
        let (compiled, seconds) = (all - refused, begun.elapsed().as_secs_f64());
        writeln!(std::io::stdout(), "{compiled} of {all} compiled in {}, {seconds:.1} s", self.cache.display())?;
        anyhow::ensure!(refused == 0, "{refused} of {all} components cannot be compiled");
        Ok(Outcome::Graceful)
    }
}

/// Compiles one component unless the cache has it. Returns what to print about it.
async fn compile_one(compiler: &Compiler, entry: &Entry) -> anyhow::Result<String> {
    let bytes = reload::read(entry).map_err(|refusal| anyhow::anyhow!(refusal.message))?;
    let digest = Digest::of(&bytes);
    let declared = Declared::read(&bytes);
    declared.map_or(Ok(()), |declared| declared.check(Grants { wasi: entry.wasi }, &entry.limits))?;
    let begun = Instant::now();
    if compiler.find(digest).is_some() {
        return Ok("already compiled".to_owned());
    }
    let compiled = compiler.compile(digest, &bytes, limits::RELOAD_NICENESS).await;
    let compiled = compiled.with_context(|| entry.component.display().to_string())?;
    anyhow::ensure!(
        compiler.find(digest).is_some(),
        "it compiles, but cannot be written to the cache; is the disk full?"
    );
    let (ms, memory) = (begun.elapsed().as_secs_f64() * 1e3, Size(compiled.compiler_bytes));
    Ok(format!("compiled in {ms:.0} ms with {memory} of memory"))
}
