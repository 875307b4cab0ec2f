//! The contract of `wit/handler.wit` as Rust types. Generated: the WIT file is where it is documented and changed.
//!
//! The types are owned, and the functions take them by reference, so one request can be handed to a guest twice.

#[expect(missing_docs, reason = "generated; the WIT file documents every item")]
mod generated {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "handler",
        additional_derives: [PartialEq],
    });
}

pub use generated::HandlerPre;
pub use generated::galo::handler::types::{Call, Field, Plan, Request, Response, Rows, Value};

/// The one instance a handler may import without a grant: it holds types, no function.
pub const TYPES_INSTANCE: &str = "galo:handler/types@1.0.0";
