//! `build = { command = "npm run build", watch = ["src/**"] }`: how a handler is built that Cargo does not build. Only
//! `develop` acts on it; a node ignores it.

use globset::GlobBuilder;
use serde::Deserialize;
use toml::Spanned;

use crate::limits::BUILD_GLOBS_MAX;

/// How a handler is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// What a shell runs in the handler's folder. It writes the component.
    pub command: String,
    /// The files that the component is made from, as globs relative to the handler's folder. Without any, all files.
    pub watch: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BuildTable {
    command: Spanned<String>,
    #[serde(default)]
    watch: Vec<Spanned<String>>,
}

impl BuildTable {
    pub(super) fn build(&self, mistake: &mut dyn FnMut(usize, String)) -> Build {
        if self.command.get_ref().trim().is_empty() {
            let text = "build: the command is empty; write the one that builds the handler, such as \"npm run build\"";
            mistake(self.command.span().start, text.to_owned());
        }
        for glob in &self.watch {
            let text = glob.get_ref();
            let outside = text.starts_with('/') || text.split('/').any(|part| part == "..");
            match GlobBuilder::new(text).literal_separator(true).build() {
                Err(error) => mistake(glob.span().start, format!("build: invalid glob in `watch`: {error}")),
                Ok(_) if outside => {
                    let text = format!("build: the glob `{text}` in `watch` leaves the handler's folder");
                    mistake(glob.span().start, text);
                }
                Ok(_) => {}
            }
        }
        if self.watch.len() > BUILD_GLOBS_MAX {
            let text = format!("build: more than {BUILD_GLOBS_MAX} globs in `watch`; `src/**` takes a whole folder");
            mistake(self.command.span().start, text);
        }
        let watch = self.watch.iter().map(|glob| glob.get_ref().clone()).collect();
        Build { command: self.command.get_ref().clone(), watch }
    }
}
