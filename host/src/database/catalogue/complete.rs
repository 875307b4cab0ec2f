//! The condition by which a statement calls the function that was looked up, or fails before any runs. Through a pooler
//! it is all that says so, where the next statement may meet another server process; on a direct connection it stands
//! where casts would hide that columns have changed. Put into statements by `statement`, recognized by `exchange`.

use tokio_postgres::Error;
use tokio_postgres::error::ErrorPosition;
use tokio_postgres::types::Oid;

/// What Postgres says, before the function runs, of a statement that was made for another function.
const OUTDATED: &str = "galo: this is another function than the one that was looked up";

/// A condition that ends a statement before it runs when `identity` is another function than `oid` by then.
pub(super) fn same_function(oid: Oid, identity: &str) -> String {
    // Constants, of which the planner knows the outcome: it is decided before anything runs.
    format!(
        "CASE WHEN '{}'::pg_catalog.regprocedure::pg_catalog.oid OPERATOR(pg_catalog.=) {oid}::pg_catalog.oid \
         THEN true ELSE '{OUTDATED}'::pg_catalog.text::pg_catalog.bool END",
        identity.replace('\'', "''"),
    )
}

/// Whether a complete statement failed before its function ran, because the function is gone, or is another one.
pub(in crate::database) fn is_outdated(error: &Error) -> bool {
    error.as_db_error().is_some_and(|error| {
        let type_is_gone = error.message().starts_with("cache lookup failed for type") && error.where_().is_none();
        // What a function raises has a context, and what is wrong with a statement of its own another position.
        let of_ours = error.where_().is_none() && matches!(error.position(), Some(ErrorPosition::Original(_)));
        of_ours || type_is_gone || error.message().contains(OUTDATED)
    })
}
