//! The entry of one handler in a manifest, as `registry` and `reload` use it. It is plain data, created by `table`.

use std::fmt;
use std::path::{Path, PathBuf};

use http::HeaderName;

use super::build::Build;
use super::record::RecordEntry;
use super::refused::Mistake;
use super::shards::ShardsEntry;
use crate::database::{Batch, GrantedProcedure, Partition};
use crate::limits::HandlerLimits;
use crate::route::Route;
use crate::token::Policy;
use crate::wire::MediaType;

/// The header by which a proxy marks a request that it may send again. Its value is the same on both tries.
pub static GALO_TRY: HeaderName = HeaderName::from_static("galo-try");

/// The header by which a client marks a request that it may send again.
pub static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The names of parameters by which a procedure that explains requests gets what names the request itself.
pub const EXPLAIN_PARAMETERS: [&str; 3] = ["request_id", "trace_id", "idempotency_key"];

/// One handler of the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name, unique in the manifest: letters, digits, `-` and `_`.
    pub name: String,
    /// The folder that has the handler's `NAME/examples`: that of the manifest, or `handlers/` of a project.
    pub folder: PathBuf,
    /// The component's file.
    pub component: PathBuf,
    /// How `galo build` and `galo dev` build it, unless Cargo does.
    pub build: Option<Build>,
    /// The folder of the sources that it was made from, if `galo dev` has made it.
    pub sources: Option<PathBuf>,
    /// Its routes, at least one.
    pub routes: Vec<Route>,
    /// The request headers it may see.
    pub headers: Vec<HeaderName>,
    /// The required `Content-Type` of a request's body. `None` accepts any.
    pub content_type: Option<MediaType>,
    /// Whether it gets the claims of the client's token.
    pub claims: Claims,
    /// The values that it gets with every request, sorted by their names.
    pub config: Vec<ConfigValue>,
    /// The procedures it may call.
    pub procedures: Vec<GrantedProcedure>,
    /// The read-only procedure by which `galo explain` finds the rows of a request. The handler may not call it.
    pub explain: Option<String>,
    /// Whether a proxy may send its requests a second time.
    pub retry: Retry,
    /// What follows when a candidate decides otherwise, on recorded requests or as a canary, if the manifest says so.
    pub gate: Option<Gate>,
    /// What is recorded of its requests.
    pub record: RecordEntry,
    /// Whether its component may import the closed WASI.
    pub wasi: bool,
    /// The limits of its calls.
    pub limits: HandlerLimits,
    /// The line of its `[[handler]]`, from 1.
    pub line: usize,
}

/// Whether a handler gets the claims of the client's token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claims {
    /// No; nothing is verified.
    Never,
    /// Yes, if a request has a token.
    Optional,
    /// Yes; a request without a token is refused.
    Required,
}

/// One value of a handler's `config`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigValue {
    /// Its name.
    pub name: String,
    /// What it is, or where it is.
    pub value: Text,
}

/// A text of the manifest, or the place of one that is secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Text {
    /// The text itself.
    Plain(String),
    /// A secret. Only its place is in the manifest.
    Secret(Place),
}

/// Where a secret is. It is read when the handlers are loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In this file, which is relative to the manifest. A line feed at its end does not count.
    File(PathBuf),
    /// In this variable of the node's environment.
    Variable(String),
}

/// The section `[token]`: where the keys are that tokens are verified with, and which tokens are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenEntry {
    /// Where the keys are.
    pub keys: KeyPlace,
    /// Which tokens are accepted.
    pub policy: Policy,
    /// The line of the section, from 1.
    pub line: usize,
}

/// Where the keys for tokens are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyPlace {
    /// A JWKS file, relative to the manifest.
    Jwks(PathBuf),
    /// A shared secret.
    Secret(Place),
}

impl Entry {
    /// A file of it as messages name it: the source, or the folder of the sources, if `galo dev` has made it.
    pub fn shown(&self, file: &Path) -> PathBuf {
        let Some(sources) = &self.sources else { return file.to_owned() };
        let inside = file.strip_prefix(self.folder.join(&self.name));
        inside.map_or_else(|_| sources.clone(), |inside| sources.join(inside))
    }

    /// Whether a function of this name runs for it.
    pub(super) fn uses(&self, name: &str) -> bool {
        self.explain.as_deref() == Some(name) || self.procedures.iter().any(|granted| granted.name == name)
    }

    /// Notes by which parameter each of its procedures is partitioned.
    pub(super) fn partition(&mut self, shards: &ShardsEntry, mistakes: &mut Vec<Mistake>) {
        let (name, line) = (&self.name, self.line);
        let mut mistake = |text: String| mistakes.push(Mistake::new(Some(line), format!("{name}: {text}")));
        for granted in &mut self.procedures {
            granted.partition = shards.partition(&granted.name).map_err(&mut mistake).ok();
            let (procedure, by) = (&granted.name, granted.batch.as_ref().map(|batch| &batch.by));
            match (&granted.partition, by) {
                (Some(Partition::By(partition)), Some(by)) if partition != by => mistake(format!(
                    "`{procedure}` is batched by `{by}` and partitioned by `{partition}`: a batch stays within one \
                     partition; use the same parameter"
                )),
                (Some(Partition::Any), Some(_)) => mistake(format!(
                    "`{procedure}` has a batch form and runs on any shard: remove it from `batch` or from `any`"
                )),
                (Some(Partition::By(_)), Some(_)) => {
                    let (lanes, partitions) =
                        (granted.batch.as_ref().map_or(1, Batch::lanes), shards.partitions as usize);
                    if lanes % partitions.max(1) != 0 {
                        mistake(format!(
                            "`{procedure}` has {lanes} lanes and [shards] {partitions} partitions, so that a batch would be \
                             of several: set `lanes` in `batch` to {partitions} or a multiple of it"
                        ));
                    }
                }
                _ => {}
            }
        }
        if let Some(Err(text)) = self.explain.as_ref().map(|explain| shards.partition(explain)) {
            mistake(text);
        }
    }

    /// Its routes as the manifest writes them, in one line.
    pub fn routes_shown(&self) -> String {
        self.routes.iter().map(Route::to_string).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "the file {}", path.display()),
            Self::Variable(name) => write!(f, "the variable {name}"),
        }
    }
}

/// Whether a proxy may send a request a second time, to another node, when the first try got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// No, because the second try would repeat the effect of the first.
    Never,
    /// Yes, because the handler is granted the keys that both tries carry, and records them as one.
    Key,
}

/// What follows when a candidate decides otherwise than the generation that serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// It is reported, and the candidate serves.
    Report,
    /// It is refused, or rolled back as a canary, unless the change is accepted.
    Refuse,
}
