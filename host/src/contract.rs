//! The contract of `wit/handler.wit` as Rust types. Generated: the WIT file is where it is documented and changed.
//!
//! The types are owned, and the functions take them by reference, so one request can be handed to a guest twice.

#[expect(missing_docs, reason = "generated; the WIT file documents every item")]
mod generated {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "handler",
    });
}

pub use generated::galo::handler::types::{Call, Field, Plan, Request, Response, Rows, Value};
pub use generated::{Handler, HandlerPre};

/// The one instance a handler may import without a grant: it holds types, no function.
pub const TYPES_INSTANCE: &str = "galo:handler/types@1.0.0";
