//! The components that `galo replay` compares: where they come from, and the grants and limits that they run under.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use galo::config::OWN_PROGRAM;
use galo::guest::{Cache, Compiler, Component, Declared, Digest, Engine, Grants};
use galo::limits::{self, CompileLimits, HandlerLimits};
use galo::manifest::{self, Entry};
use galo::replay::{Contender, Survey};
use galo::{file, reload};

/// Where components come from.
pub(super) enum Place {
    /// One file, for one handler.
    File(PathBuf),
    /// A folder with a manifest.
    Folder(PathBuf),
}

/// What is compared.
pub(super) struct Contenders {
    /// The components that are compared.
    pub(super) after: Place,
    /// Those that they are compared with, unless with what was stored.
    pub(super) before: Option<Place>,
    /// The handler, if only one is compared.
    pub(super) handler: Option<String>,
    /// The entries of the handlers, where a manifest is there.
    pub(super) entries: Vec<Entry>,
}

impl Place {
    /// A component, or a folder of them.
    ///
    /// # Errors
    /// When there is neither.
    pub(super) fn of(path: PathBuf) -> anyhow::Result<Self> {
        match path.is_dir() {
            true => Ok(Self::Folder(path)),
            false if path.is_file() => Ok(Self::File(path)),
            false => bail!("{} is neither a component nor a folder of components", path.display()),
        }
    }
}

impl Contenders {
    /// Compiles the components of the handlers that a corpus has records of.
    ///
    /// # Errors
    /// When there is none of them, or a component cannot be loaded.
    pub(super) fn load(
        &self,
        survey: &Survey,
        engine: &Engine,
        cache: Option<Cache>,
    ) -> anyhow::Result<HashMap<String, Contender>> {
        let compiler = Compiler::new(engine, Path::new(OWN_PROGRAM), CompileLimits::default(), cache);
        let names = self.names(survey)?;
        let after = self.components(&self.after, &names, &compiler)?;
        let mut before = match &self.before {
            Some(place) => Some(self.components(place, &names, &compiler)?),
            None => None,
        };
        let mut contenders = HashMap::new();
        for (name, after) in after {
            let before = match &mut before {
                None => None,
                Some(components) => match components.remove(&name) {
                    None => continue,
                    there => there,
                },
            };
            contenders.insert(name, Contender { before, after });
        }
        Ok(contenders)
    }

    /// The handlers that are compared.
    fn names(&self, survey: &Survey) -> anyhow::Result<Vec<String>> {
        let all: Vec<_> = survey.handlers.keys().cloned().collect();
        let shown = || all.join(", ");
        if let Some(name) = &self.handler {
            ensure!(all.contains(name), "the corpus has no record of `{name}`; it has records of: {}", shown());
            return Ok(vec![name.clone()]);
        }
        let one =
            [Some(&self.after), self.before.as_ref()].into_iter().flatten().any(|it| matches!(it, Place::File(_)));
        ensure!(
            !one || all.len() == 1,
            "the corpus has records of several handlers ({}): use --handler to name the one of the component",
            shown()
        );
        Ok(all)
    }

    fn components(
        &self,
        place: &Place,
        names: &[String],
        compiler: &Compiler,
    ) -> anyhow::Result<HashMap<String, Component>> {
        let mut components = HashMap::new();
        match place {
            Place::File(path) => {
                let bytes =
                    file::read(path, limits::COMPONENT_BYTES_MAX).with_context(|| path.display().to_string())?;
                for name in names {
                    let entry = self.entries.iter().find(|entry| entry.name == *name);
                    let component = component(&bytes, entry, compiler).with_context(|| path.display().to_string())?;
                    components.insert(name.clone(), component);
                }
            }
            Place::Folder(folder) => {
                let manifest = manifest::read(folder)?;
                for entry in manifest.handlers.iter().filter(|entry| names.contains(&entry.name)) {
                    let bytes = reload::read(entry).map_err(|refusal| anyhow::anyhow!(refusal.message))?;
                    let component = component(&bytes, Some(entry), compiler)
                        .with_context(|| entry.component.display().to_string())?;
                    components.insert(entry.name.clone(), component);
                }
            }
        }
        Ok(components)
    }
}

/// Compiles a component and proves that it fits its entry. Without an entry it has the default limits, and the closed
/// WASI if it imports it.
fn component(bytes: &[u8], entry: Option<&Entry>, compiler: &Compiler) -> anyhow::Result<Component> {
    let declared = Declared::read(bytes);
    let imports_wasi = || declared.as_ref().is_some_and(|it| it.imports.iter().any(|name| name.starts_with("wasi:")));
    let grants = Grants { wasi: entry.map_or_else(imports_wasi, |entry| entry.wasi) };
    let allowed = entry.map_or_else(HandlerLimits::default, |entry| entry.limits);
    declared.as_ref().map_or(Ok(()), |declared| declared.check(grants, &allowed))?;
    let compiled = match compiler.find(Digest::of(bytes)) {
        Some(compiled) => compiled,
        None => compiler.compile_here(bytes)?,
    };
    Ok(compiled.fit(grants, allowed)?)
}
