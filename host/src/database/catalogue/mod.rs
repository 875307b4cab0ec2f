//! Looks up the procedures that a manifest grants by name in the catalogue of the database. A procedure that is
//! missing, ambiguous, not executable or of a shape the contract cannot represent is refused before anything serves,
//! with a list of everything that does not fit.

pub(super) mod complete;
pub(super) mod connection;
mod description;
mod found;
pub(super) mod statement;
pub(super) mod stub;
pub(super) mod unusable;

use tokio_postgres::types::{Oid, Type};
use tokio_postgres::{Client, Row};

use super::connect::target::chain;
use super::form::BatchForm;
use super::grant::{GrantedProcedure, Partition};
use super::procedure::Procedure;
use super::signature::Signature;
use crate::limits;
use complete::same_function;
use description::Description;
use found::{Found, check_batch_form};
use statement::Call;
use unusable::{Unsupported, Unusable};

/// The functions with a name, and the types of their parameters. `$1` is the schema, or empty for the functions on the
/// search path; `$2` is the name.
const LOOKUP: &str = "
    SELECT p.oid AS oid, n.nspname::text AS schema, p.prokind::text AS kind, p.proretset AS returns_set,
           p.provolatile = 'v' AND NOT (l.lanname = 'plproxy'
             AND coalesce(pg_catalog.obj_description(p.oid, 'pg_proc'), '') = 'only reads') AS volatile,
           l.lanpltrusted AS local, p.provariadic <> 0 AS variadic, p.pronargdefaults::int AS defaults, current_user::text AS role,
           has_function_privilege(p.oid, 'EXECUTE') AND has_schema_privilege(n.oid, 'USAGE')
             AND NOT EXISTS (SELECT FROM pg_catalog.pg_type t WHERE t.oid = ANY (p.proargtypes)
                             AND NOT has_schema_privilege(t.typnamespace, 'USAGE')) AS allowed,
           pg_catalog.oidvectortypes(p.proargtypes) AS arguments, ARRAY(SELECT unnest(p.proargtypes))::text AS oids,
           ARRAY(SELECT coalesce(p.proargnames[i], '')
                 FROM generate_series(1, coalesce(cardinality(p.proargmodes), p.pronargs)) AS i
                 WHERE coalesce(p.proargmodes[i]::text, 'i') IN ('i', 'b', 'v') ORDER BY i) AS names,
           ARRAY(SELECT pg_catalog.quote_ident(tn.nspname) || '.' || pg_catalog.quote_ident(t.typname)
                 FROM unnest(p.proargtypes) WITH ORDINALITY AS a(type, i)
                 JOIN pg_catalog.pg_type t ON t.oid = a.type JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace
                 ORDER BY a.i) AS types,
           ARRAY(SELECT t.typtype::text
                 FROM unnest(p.proargtypes) WITH ORDINALITY AS a(type, i) JOIN pg_catalog.pg_type t ON t.oid = a.type
                 ORDER BY a.i) AS kinds,
           p.prorettype::regtype::text AS returned, r.typtype::text AS returned_kind,
           coalesce(p.proargmodes && ARRAY['o', 'b', 't']::\"char\"[], false) AS has_columns,
           (SELECT count(*) FROM pg_catalog.pg_proc o
            WHERE o.proname = p.proname AND o.pronamespace = p.pronamespace) > 1 AS overloaded
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
         JOIN pg_catalog.pg_type r ON r.oid = p.prorettype JOIN pg_catalog.pg_language l ON l.oid = p.prolang
    WHERE p.proname = $2 AND CASE WHEN $1 = '' THEN pg_catalog.pg_function_is_visible(p.oid) ELSE n.nspname = $1 END
    ORDER BY schema, arguments";

/// The types that a manifest writes between the parentheses of a name, as oids.
const TYPES: &str = "SELECT ARRAY(SELECT pg_catalog.to_regtype(name)::oid
                                  FROM unnest($1::text[]) WITH ORDINALITY AS t(name, i) ORDER BY i)::text,
                            ARRAY(SELECT name FROM unnest($1::text[]) AS name WHERE pg_catalog.to_regtype(name) IS NULL)";

/// Looks up a procedure and its batch form, by `name`, `schema.name` or either with the types of its parameters.
pub(super) async fn describe(client: &Client, granted: &GrantedProcedure) -> Result<Procedure, Unusable> {
    let GrantedProcedure { name, batch, remote, partition } = granted;
    let mut one = look_up(client, name).await?;
    let unsupported = one.unsupported();
    if !unsupported.is_empty() {
        return Err(Unusable::Unsupported(name.to_owned(), unsupported));
    }
    for signature in one.shorter.iter_mut().chain([&mut one.signature]) {
        signature.local &= !remote;
    }
    // A function that works here has no shard: a developer's database is not partitioned.
    let shard = match partition {
        Some(Partition::By(by)) if !one.signature.local => Some(one.shard(name, by)?),
        _ => None,
    };
    let batch = match batch {
        None => None,
        Some(batch) => {
            let many = look_up(client, &batch.form).await?;
            let refuse =
                |cause| Unusable::NotItsBatchForm { procedure: name.to_owned(), batch: batch.form.clone(), cause };
            check_batch_form(&one, &many, batch).map_err(refuse)?;
            let (key, retry) = (one.key(name, batch)?, one.retry(name, batch)?);
            let local = many.signature.local && one.signature.local;
            let signature = Signature { is_batch_form: true, local, ..many.signature };
            Some(BatchForm { granted: batch.clone(), signature, key, retry })
        }
    };
    // Calls of a batch have all arguments.
    let shorter = if batch.is_some() { Vec::new() } else { one.shorter };
    let Found { signature, names, .. } = one;
    Ok(Procedure { shard, ..Procedure::new(granted, signature, shorter, names, batch) })
}

async fn look_up(client: &Client, granted: &str) -> Result<Found, Unusable> {
    let unknown = |error: tokio_postgres::Error| Unusable::Unknown(granted.to_owned(), chain(&error));
    let (name, types) = name_and_types(granted);
    let (schema, function) = name.split_once('.').unwrap_or(("", name));
    // Unnamed statements: behind a pooler, a named one may be another client's.
    let found = client.query_typed(LOOKUP, &[(&schema, Type::TEXT), (&function, Type::TEXT)]).await.map_err(unknown)?;
    let row = match types {
        None => only(granted, &found)?,
        Some(types) => {
            let known = client.query_typed_one(TYPES, &[(&types, Type::TEXT_ARRAY)]).await.map_err(unknown)?;
            if let Some(ty) = known.get::<_, Vec<String>>(1).into_iter().next() {
                return Err(Unusable::NoSuchType(granted.to_owned(), ty));
            }
            let oids: String = known.get(0);
            let row = found.iter().find(|row| row.get::<_, &str>("oids") == oids);
            row.ok_or_else(|| Unusable::Missing(granted.to_owned(), candidates(function, &found)))?
        }
    };
    check(granted, row)?;
    let call = Call {
        schema: row.get("schema"),
        function,
        types: row.get("types"),
        // A function that is not overloaded is found without types, and then arguments with a default can be omitted.
        typed: row.get("overloaded"),
    };
    let oid: Oid = row.get("oid");
    let Description { identity, parameters, columns } = description::describe(client, oid).await.map_err(unknown)?;
    let returns_void = row.get::<_, &str>("returned") == "void";
    let columns = if returns_void { Vec::new() } else { columns };
    let condition = same_function(oid, &identity);
    let signature = |arguments: usize| Signature {
        name: granted.to_owned(),
        comment: String::new(),
        sql: call.sql(arguments, &columns, &condition),
        complete: call.complete(arguments, &columns, &condition),
        parameters: parameters[..arguments].to_vec(),
        columns: columns.clone(),
        volatile: row.get("volatile"),
        local: row.get("local"),
        is_batch_form: false,
    };
    let all = call.types.len();
    let defaults = if call.typed { 0 } else { usize::try_from(row.get::<_, i32>("defaults")).unwrap_or(0).min(all) };
    Ok(Found {
        oid,
        signature: signature(all),
        shorter: (1..=defaults).map(|left_out| signature(all - left_out)).collect(),
        returns_set: row.get("returns_set"),
        returns_void,
        names: row.get("names"),
    })
}

/// The function of this name as the database has it now. `None` when it takes other parameters, or when it no longer
/// has the shape of a batch form.
///
/// # Errors
/// Why it cannot be called.
pub(super) async fn look_up_again(client: &Client, outdated: &Signature) -> Result<Option<Signature>, Unusable> {
    let now = look_up(client, &outdated.name).await?;
    let unsupported = now.unsupported();
    if !unsupported.is_empty() {
        return Err(Unusable::Unsupported(outdated.name.clone(), unsupported));
    }
    let is_same = |now: &Signature| {
        let types = |signature: &Signature| signature.parameters.iter().map(Type::oid).collect::<Vec<_>>();
        types(now) == types(outdated)
    };
    // A batch form must still return one row for each call, with the same columns.
    let is_batch_form = !outdated.is_batch_form || now.returns_set && now.signature.columns == outdated.columns;
    let found = std::iter::once(now.signature).chain(now.shorter).find(is_same).filter(|_| is_batch_form);
    Ok(found.map(|found| Signature {
        is_batch_form: outdated.is_batch_form,
        // The catalogue does not know what the manifest grants as `remote`.
        local: outdated.local && found.local,
        ..found.commented(&outdated.comment)
    }))
}

/// `f(integer, text)` as `f` and its types.
fn name_and_types(granted: &str) -> (&str, Option<Vec<String>>) {
    let Some((name, types)) = granted.strip_suffix(')').and_then(|granted| granted.split_once('(')) else {
        return (granted, None);
    };
    let mut depth = 0_usize;
    let comma = |char: char| {
        depth = match char {
            '(' => depth + 1,
            ')' => depth.saturating_sub(1),
            _ => depth,
        };
        char == ',' && depth == 0
    };
    let types = types.split(comma).map(|ty| ty.trim().to_owned()).filter(|ty| !ty.is_empty());
    (name.trim_end(), Some(types.collect()))
}

fn only<'a>(granted: &str, found: &'a [Row]) -> Result<&'a Row, Unusable> {
    match found {
        [] => Err(Unusable::Missing(granted.to_owned(), Vec::new())),
        [row] => Ok(row),
        several => {
            let function = granted.split_once('.').map_or(granted, |(_, function)| function);
            Err(Unusable::Overloaded(granted.to_owned(), candidates(function, several)))
        }
    }
}

/// How to grant each of these functions.
fn candidates(function: &str, found: &[Row]) -> Vec<String> {
    let schemas: Vec<&str> = found.iter().map(|row| row.get("schema")).collect();
    let one_schema = schemas.windows(2).all(|pair| pair[0] == pair[1]);
    let spelled = |row: &Row| {
        let (schema, arguments) = (row.get::<_, &str>("schema"), row.get::<_, &str>("arguments"));
        if one_schema { format!("{function}({arguments})") } else { format!("{schema}.{function}({arguments})") }
    };
    found.iter().map(spelled).collect()
}

/// Checks what the catalogue shows before a call is prepared.
fn check(granted: &str, row: &Row) -> Result<(), Unusable> {
    let granted = granted.to_owned();
    let kind: &str = row.get("kind");
    if kind != "f" {
        return Err(Unusable::NotAFunction(
            granted,
            match kind {
                "p" => "a procedure, which returns no rows; make it a function, which may return void",
                "a" => "an aggregate; make a function that selects it",
                _ => "a window function; make a function that selects it",
            },
        ));
    }
    if row.get("variadic") {
        return Err(Unusable::Variadic(granted));
    }
    if !row.get::<_, bool>("allowed") {
        return Err(Unusable::Forbidden(granted, row.get("role")));
    }
    let (kinds, names): (Vec<&str>, Vec<&str>) = (row.get("kinds"), row.get("names"));
    if kinds.len() > limits::ARGUMENTS_MAX {
        return Err(Unusable::TooManyParameters(granted));
    }
    // Postgres cannot prepare a call with pseudo-types.
    let mut unsupported = Vec::new();
    let arguments: Vec<&str> = row.get::<_, &str>("arguments").split(", ").collect();
    for (index, name) in names.iter().enumerate().filter(|(index, _)| kinds.get(*index) == Some(&"p")) {
        let ty = arguments.get(index).copied().unwrap_or("?");
        unsupported.push(Unsupported::pseudo(statement::parameter(name, index), ty));
    }
    let (returned, returned_kind): (&str, &str) = (row.get("returned"), row.get("returned_kind"));
    if returned_kind == "p" && returned != "void" && !row.get::<_, bool>("has_columns") {
        unsupported.push(Unsupported::pseudo("result".to_owned(), returned));
    }
    if unsupported.is_empty() { Ok(()) } else { Err(Unusable::Unsupported(granted, unsupported)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_have_the_types_of_its_parameters() {
        let types = |types: &[&str]| Some(types.iter().map(|ty| (*ty).to_owned()).collect::<Vec<_>>());
        assert_eq!(name_and_types("loja.f"), ("loja.f", None));
        assert_eq!(name_and_types("f()"), ("f", types(&[])));
        let given = name_and_types("loja.f(numeric(12,2), double precision,text[])");
        assert_eq!(given, ("loja.f", types(&["numeric(12,2)", "double precision", "text[]"])));
    }
}
