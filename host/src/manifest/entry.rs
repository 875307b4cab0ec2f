//! The entry of one handler in a manifest, as `registry` and `reload` use it. It is plain data, created by `table`.

use std::path::PathBuf;

use http::HeaderName;

use crate::database::Batch;
use crate::limits::HandlerLimits;
use crate::route::Route;
use crate::wire::MediaType;

/// The header by which a proxy marks a request that it may send again. Its value is the same on both tries.
pub static GALO_TRY: HeaderName = HeaderName::from_static("galo-try");

/// The header by which a client marks a request that it may send again.
pub static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// One handler of the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name, unique in the manifest: letters, digits, `-` and `_`.
    pub name: String,
    /// The folder that has the handler's `NAME/examples`: that of the manifest, or `handlers/` of a project.
    pub folder: PathBuf,
    /// The component's file.
    pub component: PathBuf,
    /// Its route.
    pub route: Route,
    /// The request headers it may see.
    pub headers: Vec<HeaderName>,
    /// The required `Content-Type` of a request's body. `None` accepts any.
    pub content_type: Option<MediaType>,
    /// The procedures it may call.
    pub procedures: Vec<GrantedProcedure>,
    /// Whether a proxy may send its requests a second time.
    pub retry: Retry,
    /// Whether its component may import the closed WASI.
    pub wasi: bool,
    /// The limits of its calls.
    pub limits: HandlerLimits,
    /// The line of its `[[handler]]`, from 1.
    pub line: usize,
}

/// Whether a proxy may send a request a second time, to another node, when the first try got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// No, because the second try would repeat the effect of the first.
    Never,
    /// Yes, because the handler is granted the keys that both tries carry, and records them as one.
    Key,
}

/// A procedure that a handler may call.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GrantedProcedure {
    /// The name it calls it by.
    pub name: String,
    /// The batch form that runs many of its calls at once, if there is one.
    pub batch: Option<Batch>,
}
