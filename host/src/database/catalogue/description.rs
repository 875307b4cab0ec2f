//! The parameters and columns of a function, read from the catalogue. `Parse` would return the same, but needs a named
//! statement, and behind a pooler the name may be another client's.

use std::pin::Pin;

use tokio_postgres::types::{Kind, Oid, Type};
use tokio_postgres::{Client, Error};

/// A function as it is now.
pub(super) struct Description {
    /// `schema.function(schema.type,...)`, as `regprocedure` reads it.
    pub(super) identity: String,
    pub(super) parameters: Vec<Type>,
    /// The columns of `SELECT * FROM function(...)`.
    pub(super) columns: Vec<(String, Type)>,
}

/// The columns are the OUT parameters of a function that returns a record, or the attributes of a composite type.
/// Otherwise there is one column, named after the only OUT parameter or after the function. A domain is replaced by its
/// base type; the variadic parameter takes one element.
const DESCRIBE: &str = "
    WITH RECURSIVE function AS (
        SELECT p.*, p.prorettype = 'pg_catalog.record'::pg_catalog.regtype AS is_record FROM pg_catalog.pg_proc p
        WHERE p.oid = $1
    ), result AS (
        SELECT t.typtype, t.typbasetype, t.typrelid
        FROM function f JOIN pg_catalog.pg_type t ON t.oid = f.prorettype
        UNION ALL
        SELECT t.typtype, t.typbasetype, t.typrelid
        FROM result r JOIN pg_catalog.pg_type t ON t.oid = r.typbasetype WHERE r.typtype = 'd'
    ), given AS (
        SELECT a.place, nullif(a.name, '') AS name, a.type
        FROM function f
        CROSS JOIN unnest(f.proallargtypes, f.proargmodes, f.proargnames) WITH ORDINALITY AS a (type, mode, name, place)
        WHERE a.mode IN ('o', 'b', 't')
    ), returned AS (
        SELECT g.place, g.type, coalesce(g.name, 'column' || row_number() OVER (ORDER BY g.place)) AS name
        FROM given g JOIN function f ON f.is_record
        UNION ALL
        SELECT a.attnum, a.atttypid, a.attname
        FROM result r JOIN pg_catalog.pg_attribute a ON a.attrelid = r.typrelid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE r.typtype = 'c'
        UNION ALL
        SELECT 1, f.prorettype, coalesce((SELECT min(g.name) FROM given g HAVING count(*) = 1), f.proname)
        FROM function f JOIN result r ON r.typtype NOT IN ('c', 'd')
        WHERE NOT (f.is_record AND EXISTS (SELECT FROM given))
    ), columns AS (
        SELECT r.place, r.name, t.oid, t.typtype, t.typbasetype
        FROM returned r JOIN pg_catalog.pg_type t ON t.oid = r.type
        UNION ALL
        SELECT c.place, c.name, t.oid, t.typtype, t.typbasetype
        FROM columns c JOIN pg_catalog.pg_type t ON t.oid = c.typbasetype WHERE c.typtype = 'd'
    ), parameters AS (
        SELECT a.place, pg_catalog.format('%I.%I', n.nspname, t.typname) AS name,
               CASE WHEN f.provariadic <> 0 AND a.place = f.pronargs THEN f.provariadic ELSE a.type END AS type
        FROM function f CROSS JOIN unnest(f.proargtypes) WITH ORDINALITY AS a (type, place)
        JOIN pg_catalog.pg_type t ON t.oid = a.type JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
    )
    SELECT pg_catalog.format('%s(%s)', pg_catalog.format('%I.%I', n.nspname, f.proname),
                             (SELECT string_agg(p.name, ',' ORDER BY p.place) FROM parameters p)),
           ARRAY(SELECT p.type FROM parameters p ORDER BY p.place),
           ARRAY(SELECT c.oid FROM columns c WHERE c.typtype <> 'd' ORDER BY c.place),
           ARRAY(SELECT c.name::text FROM columns c WHERE c.typtype <> 'd' ORDER BY c.place)
    FROM function f JOIN pg_catalog.pg_namespace n ON n.oid = f.pronamespace";

const TYPE: &str = "
    SELECT t.typname::text, n.nspname::text, t.typtype::text, t.typbasetype,
           CASE WHEN t.typsubscript = 'pg_catalog.array_subscript_handler'::pg_catalog.regproc AND t.typdelim = ','
                THEN t.typelem ELSE 0 END,
           coalesce(r.rngsubtype, m.rngsubtype, 0),
           ARRAY(SELECT e.enumlabel::text FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder)
    FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
    LEFT JOIN pg_catalog.pg_range r ON r.rngtypid = t.oid LEFT JOIN pg_catalog.pg_range m ON m.rngmultitypid = t.oid
    WHERE t.oid = $1";

/// Describes the function with this oid.
///
/// # Errors
/// When the database does not answer, or the function no longer exists.
pub(super) async fn describe(client: &Client, function: Oid) -> Result<Description, Error> {
    let row = client.query_typed_one(DESCRIBE, &[(&function, Type::OID)]).await?;
    let mut parameters = Vec::new();
    for oid in row.get::<_, Vec<Oid>>(1) {
        parameters.push(type_of(client, oid).await?);
    }
    let mut columns = Vec::new();
    for (oid, name) in row.get::<_, Vec<Oid>>(2).into_iter().zip(row.get::<_, Vec<String>>(3)) {
        columns.push((name, type_of(client, oid).await?));
    }
    Ok(Description { identity: row.get(0), parameters, columns })
}

/// A type, with the types it consists of, which the driver may not know. The attributes of a composite type are left
/// out.
fn type_of(client: &Client, oid: Oid) -> Pin<Box<dyn Future<Output = Result<Type, Error>> + Send + '_>> {
    Box::pin(async move {
        if let Some(known) = Type::from_oid(oid) {
            return Ok(known);
        }
        let row = client.query_typed_one(TYPE, &[(&oid, Type::OID)]).await?;
        let (base, element, subtype): (Oid, Oid, Oid) = (row.get(3), row.get(4), row.get(5));
        let kind = match row.get(2) {
            "d" => Kind::Domain(type_of(client, base).await?),
            "e" => Kind::Enum(row.get(6)),
            "r" => Kind::Range(type_of(client, subtype).await?),
            "m" => Kind::Multirange(type_of(client, subtype).await?),
            "c" => Kind::Composite(Vec::new()),
            "p" => Kind::Pseudo,
            _ if element != 0 => Kind::Array(type_of(client, element).await?),
            _ => Kind::Simple,
        };
        Ok(Type::new(row.get(0), oid, kind, row.get(1)))
    })
}
