//! The condition that lets a statement call only the function that was looked up, and otherwise fail before any
//! function runs. Through a pooler it is the only such check, because the next statement may run on another server
//! process; on a direct connection it is used where casts would hide that columns have changed. `statement` adds it,
//! `exchange` recognizes its error.

use tokio_postgres::Error;
use tokio_postgres::error::ErrorPosition;
use tokio_postgres::types::Oid;

/// The text of Postgres's error, before the function runs, for a statement that was made for another function.
const OUTDATED: &str = "galo: this is another function than the one that was looked up";

/// A condition that fails a statement before it runs if `identity` no longer is the function `oid`.
pub(super) fn same_function(oid: Oid, identity: &str) -> String {
    // Only constants, so the planner evaluates it before anything runs.
    format!(
        "CASE WHEN '{}'::pg_catalog.regprocedure::pg_catalog.oid OPERATOR(pg_catalog.=) {oid}::pg_catalog.oid \
         THEN true ELSE '{OUTDATED}'::pg_catalog.text::pg_catalog.bool END",
        identity.replace('\'', "''"),
    )
}

/// Whether a complete statement failed before its function ran, because the function was dropped or replaced.
pub(in crate::database) fn is_outdated(error: &Error) -> bool {
    error.as_db_error().is_some_and(|error| {
        let type_is_gone = error.message().starts_with("cache lookup failed for type") && error.where_().is_none();
        // An error raised by a function has a context, and one in a statement inside it has an internal position.
        let of_ours = error.where_().is_none() && matches!(error.position(), Some(ErrorPosition::Original(_)));
        of_ours || type_is_gone
    }) || is_of_another_function(error)
}

/// Whether the condition of [`same_function`] failed the statement.
pub(in crate::database) fn is_of_another_function(error: &Error) -> bool {
    error.as_db_error().is_some_and(|error| error.message().contains(OUTDATED))
}
