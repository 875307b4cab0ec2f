//! Languages that a handler can be written in, and what its build needs from this program: the contract, the bindings
//! and helpers of the language, and a component made of a core module. All of it is part of the program, so that a
//! build never uses the contract of another version.
//!
//! The compilers belong to the author: clang, componentize-js, componentize-py.

mod system;

use std::fs;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context as _, ensure};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// A language with templates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Rust with the kit.
    Rust,
    /// C with clang and wasi-libc.
    C,
    /// JavaScript with componentize-js.
    Js,
    /// Python with componentize-py.
    Python,
}

/// The name of the contract's file.
const WIT: &str = "handler.wit";
/// The contract.
const CONTRACT: &str = include_str!("../../../../wit/handler.wit");

impl Language {
    /// Megabytes of memory that a node with one handler takes at 64 connections, as measured for docs/languages.md.
    pub fn node_megabytes(self) -> u32 {
        match self {
            Self::Rust | Self::C => 65,
            Self::Js => 155,
            Self::Python => 225,
        }
    }

    /// Whether each component brings an engine along, which takes the compiler hundreds of megabytes.
    pub fn has_engine(self) -> bool {
        matches!(self, Self::Js | Self::Python)
    }

    /// The files that its build needs, by name.
    fn bindings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Rust => &[],
            Self::C => &[
                ("handler.h", include_str!("c/handler.h")),
                ("handler.c", include_str!("c/handler.c")),
                ("galo.h", include_str!("c/galo.h")),
                ("galo.c", include_str!("c/galo.c")),
            ],
            Self::Js => &[("galo.js", include_str!("js/galo.js"))],
            Self::Python => &[("galo.py", include_str!("python/galo.py"))],
        }
    }
}

impl FromStr for Language {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "rust" => Ok(Self::Rust),
            "c" => Ok(Self::C),
            "js" => Ok(Self::Js),
            "python" => Ok(Self::Python),
            _ => Err(format!("unknown language `{text}`: there are rust, c, js and python")),
        }
    }
}

/// Writes the contract and the bindings of a language into a folder. A file that is the same already is left alone.
///
/// # Errors
/// When a file cannot be written.
pub fn write_bindings(language: Language, folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (name, text) in language.bindings().iter().chain(&[(WIT, CONTRACT)]) {
        let path = folder.join(name);
        if fs::read(&path).is_ok_and(|bytes| bytes == text.as_bytes()) {
            continue;
        }
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Makes a component of the handler's world of a core module that has its functions, as clang links one. It imports
/// nothing: functions of the system fail (`system`).
///
/// # Errors
/// When the module does not have them, or imports something else than the system.
pub fn componentize(module: &[u8]) -> anyhow::Result<Vec<u8>> {
    ensure!(module.starts_with(b"\0asm"), "not a WebAssembly module");
    ensure!(!module.starts_with(b"\0asm\x0d"), "it is a component already");
    let mut resolve = Resolve::default();
    let package = resolve.push_str(WIT, CONTRACT)?;
    let world = resolve.select_world(&[package], Some("handler"))?;
    let mut module = module.to_vec();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    let encode = || {
        let mut encoder = ComponentEncoder::default().module(&module)?;
        if let Some(system) = system::absent(&module)? {
            encoder = encoder.adapter(system::NAME, &system)?;
        }
        encoder.encode()
    };
    encode().context("not a handler: it has to export `prepare` and `respond`, as build/handler.c does")
}
