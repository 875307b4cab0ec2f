//! What a manifest says of one handler, as `registry` and `reload` use it. Plain data; `table` makes it.

use std::path::PathBuf;

use http::HeaderName;

use crate::database::Batch;
use crate::limits::HandlerLimits;
use crate::route::Route;
use crate::wire::MediaType;

/// By what a proxy says that it may send a request a second time; the same on both tries.
pub static GALO_TRY: HeaderName = HeaderName::from_static("galo-try");

/// By what a client says the same.
pub static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// One handler of the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name, unique in the manifest: letters, digits, `-` and `_`.
    pub name: String,
    /// The folder of the manifest: the handler's examples are in `NAME/examples` there.
    pub folder: PathBuf,
    /// The component's file.
    pub component: PathBuf,
    /// Where it answers.
    pub route: Route,
    /// The request headers it may see.
    pub headers: Vec<HeaderName>,
    /// What the body of a request must be said to be; any when there is none.
    pub content_type: Option<MediaType>,
    /// The procedures it may call.
    pub procedures: Vec<GrantedProcedure>,
    /// Whether a proxy may send its requests a second time.
    pub retry: Retry,
    /// Whether its component may import the closed WASI.
    pub wasi: bool,
    /// What a call of it may cost.
    pub limits: HandlerLimits,
    /// The line of its `[[handler]]`, from 1.
    pub line: usize,
}

/// Whether a proxy may send a request a second time, to another node, when the first try got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// No: what the first try did, the second would do again.
    Never,
    /// Yes: the handler is granted the keys that both tries carry, and records them as one.
    Key,
}

/// A procedure that a handler may call.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GrantedProcedure {
    /// The name it calls it by.
    pub name: String,
    /// What carries many of its calls out at once, where something does.
    pub batch: Option<Batch>,
}
