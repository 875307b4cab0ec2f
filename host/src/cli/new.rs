//! `galo new`: its arguments, and the next steps that it prints.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use galo::develop::languages::Language;
use galo::develop::scaffold::{self, Options};
use galo::log;

use super::project::ProjectArgs;

#[derive(Args)]
pub(super) struct NewArgs {
    /// Name of the handler, and of its crate: lower-case letters, digits, `-` and `_`
    #[arg(value_name = "NAME")]
    name: String,
    /// Method and path of its requests, such as "GET /items/{id}"; may be repeated, for routes with the same parameters
    #[arg(long, value_name = "ROUTE", required = true)]
    route: Vec<String>,
    /// Stored procedure that it calls
    ///
    /// It is called with the parameters of the path, each an integer, and its first row is the response. Without this
    /// option the handler responds without calling the database.
    #[arg(long, value_name = "NAME")]
    procedure: Option<String>,
    /// Language of the handler: `rust`, `c`, `js` or `python`
    #[arg(long, value_name = "LANGUAGE", default_value = "rust")]
    lang: String,
    #[command(flatten)]
    project: ProjectArgs,
}

impl NewArgs {
    /// Makes the handler and prints the next steps.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Self { name, route, procedure, lang, project } = self;
        let language: Language = lang.parse().map_err(anyhow::Error::msg)?;
        let project = project.find()?;
        let (first, further) = route.split_first().context("a route is required")?;
        let (first, further) = (first.clone(), further.to_vec());
        let options = Options { name: name.clone(), route: first, further, procedure: procedure.clone(), language };
        scaffold::new(&project, &options)?;
        let tests = if language == Language::Rust { "its tests" } else { "its build" };
        log::print(format_args!("\n  Created handlers/{name}/: the handler, {tests} and its examples"));
        log::print(format_args!("  Added to galo.toml: {}\n\n  Next", route.join(", ")));
        if let Some(procedure) = procedure {
            let role = project.section()?.role;
            log::print(format_args!(
                "    create `{procedure}` in a file of sql/procedures/, and grant EXECUTE on it to the role `{role}`"
            ));
        }
        if let Some(tools) = tools(language, &name) {
            log::print(format_args!("    {tools}"));
        }
        log::print(format_args!("    galo test {name}\n    galo dev\n"));
        let compiled = if language.has_engine() { ", and room to compile it: see `galo compile --memory`" } else { "" };
        log::print(format_args!("  A node with it needs about {} MB of memory{compiled}\n", language.node_megabytes()));
        Ok(ExitCode::SUCCESS)
    }
}

/// How the compiler of a language is installed, if it is not that of the project.
fn tools(language: Language, name: &str) -> Option<String> {
    match language {
        Language::Rust => None,
        Language::C => Some(
            "install clang for wasm32; on Debian: apt install clang lld wasi-libc \
                             libclang-rt-dev-wasm32"
                .to_owned(),
        ),
        Language::Js => Some(format!("(cd handlers/{name} && npm install)")),
        Language::Python => {
            Some(format!("(cd handlers/{name} && python3 -m venv .venv && .venv/bin/pip install -r requirements.txt)"))
        }
    }
}
