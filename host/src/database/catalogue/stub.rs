//! The stubs of a procedure and of its batch form for a router: functions of PL/Proxy with the same signature, which
//! run on the shard of a call's key. Read from the catalogue of a shard; `stubs` writes the rest of the router's SQL.

use tokio_postgres::types::{Oid, Type};
use tokio_postgres::{Client, Row};

use super::statement::quoted;
use super::unusable::Unusable;
use super::{describe, look_up};
use crate::database::connect::target::chain;
use crate::database::form::KeyArgument;
use crate::database::grant::{GrantedProcedure, Partition};
use crate::database::hash::KeyHash;

/// The comment of a stub whose procedure only reads: every function of PL/Proxy is VOLATILE.
pub(in crate::database) const ONLY_READS: &str = "only reads";

/// What a router needs to know of a function: its signature as Postgres writes it, and the types that a router lacks.
const DEFINITION: &str = "
    SELECT n.nspname::text AS schema, p.proname::text AS function,
           pg_catalog.pg_get_function_arguments(p.oid) AS arguments,
           pg_catalog.pg_get_function_identity_arguments(p.oid) AS identity,
           pg_catalog.pg_get_function_result(p.oid) AS result,
           p.provolatile = 'v' AS volatile,
           ARRAY(SELECT DISTINCT t.oid::regtype::text
                 FROM unnest(coalesce(p.proallargtypes, p.proargtypes::oid[]) || p.prorettype) AS a(type)
                 JOIN pg_catalog.pg_type t ON t.oid = a.type JOIN pg_catalog.pg_type e
                   ON e.oid = CASE WHEN t.typelem <> 0 AND t.typlen = -1 THEN t.typelem ELSE t.oid END
                 WHERE e.typnamespace <> 'pg_catalog'::regnamespace ORDER BY 1) AS foreign_types
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    WHERE p.oid = $1";

/// A function of PL/Proxy.
pub(in crate::database) struct Stub {
    /// As SQL, quoted.
    pub(in crate::database) schema: String,
    pub(in crate::database) function: String,
    pub(in crate::database) arguments: String,
    /// The types by which `DROP` and `GRANT` name it.
    pub(in crate::database) identity: String,
    pub(in crate::database) result: String,
    /// Whether it never writes.
    pub(in crate::database) reads: bool,
    pub(in crate::database) place: Place,
}

/// Where a stub runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::database) enum Place {
    /// On the shard of the key that is this parameter, from 1.
    Key(KeyHash, usize),
    /// On the one shard of all keys of this parameter, an array.
    Keys(KeyHash, usize),
    /// On any shard.
    Any,
}

/// The function that hashes a key, and the type that it takes.
pub(in crate::database) fn hashing(hash: KeyHash) -> (&'static str, &'static str) {
    match hash {
        KeyHash::Integer => ("pg_catalog.hashint4", "integer"),
        KeyHash::Bigint => ("pg_catalog.hashint8", "bigint"),
        KeyHash::Text => ("pg_catalog.hashtext", "text"),
        KeyHash::Uuid => ("pg_catalog.uuid_hash", "uuid"),
    }
}

/// The stubs of a procedure, and of its batch form if it has one.
///
/// # Errors
/// Why a router cannot have them.
pub(in crate::database) async fn stubs(client: &Client, granted: &GrantedProcedure) -> Result<Vec<Stub>, Unusable> {
    // Refuses what no node could call.
    let procedure = describe(client, granted).await?;
    let one = look_up(client, &granted.name).await?;
    let refuse = |cause: &str| Unusable::NoStub(granted.name.clone(), cause.to_owned());
    let Some(Partition::By(by)) = &granted.partition else {
        if procedure.writes() {
            return Err(refuse(
                "it may write, and [shards] runs it on any shard; name the parameter that decides the shard, or declare \
                 it STABLE",
            ));
        }
        return Ok(vec![stub(client, &granted.name, one.oid, Place::Any).await?]);
    };
    let KeyArgument { index, hash, .. } = one.shard(&granted.name, by)?;
    let Some(hash) = hash else { return Err(refuse("its key has no hash")) };
    let mut stubs = vec![stub(client, &granted.name, one.oid, Place::Key(hash, index + 1)).await?];
    if let Some(batch) = &granted.batch {
        let many = look_up(client, &batch.form).await?;
        // A batch form may begin with parameters that the procedure does not have.
        let more = many.names.len().saturating_sub(one.names.len());
        stubs.push(stub(client, &batch.form, many.oid, Place::Keys(hash, index + more + 1)).await?);
    }
    Ok(stubs)
}

async fn stub(client: &Client, name: &str, oid: Oid, place: Place) -> Result<Stub, Unusable> {
    let unknown = |error: tokio_postgres::Error| Unusable::Unknown(name.to_owned(), chain(&error));
    let row: Row = client.query_typed_one(DEFINITION, &[(&oid, Type::OID)]).await.map_err(unknown)?;
    let foreign: Vec<String> = row.get("foreign_types");
    if !foreign.is_empty() {
        let cause = format!(
            "its signature has {}, and a router has only the types of Postgres; use text or the base type",
            foreign.iter().map(|ty| format!("the type `{ty}`")).collect::<Vec<_>>().join(" and ")
        );
        return Err(Unusable::NoStub(name.to_owned(), cause));
    }
    Ok(Stub {
        schema: quoted(row.get("schema")),
        function: quoted(row.get("function")),
        arguments: row.get("arguments"),
        identity: row.get("identity"),
        result: row.get("result"),
        reads: !row.get::<_, bool>("volatile"),
        place,
    })
}
