//! What may be called: a function of the database as its catalogue describes it, and the form of it that takes many
//! calls at once. A procedure that is missing, overloaded, not executable or of a shape the contract cannot carry is
//! refused before anything serves. A description only: two that are equal describe the same, and where calls wait is
//! in `lane`.

use std::fmt;

use serde::Deserialize;
use tokio_postgres::error::ErrorPosition;
use tokio_postgres::types::{Kind, Type};
use tokio_postgres::{Client, Column, Row, Statement};

use super::target::chain;
use super::value;
use crate::contract::Value;
use crate::limits;

/// A procedure that may be called.
#[derive(Debug, PartialEq, Eq)]
pub struct Procedure {
    /// The name handlers use, as the manifest grants it.
    pub name: String,
    pub(super) signature: Signature,
    /// The form that takes many calls at once, if the manifest grants one.
    pub(super) batch: Option<BatchForm>,
}

/// A batch form, as a manifest grants it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
#[serde(expecting = "{ form = \"FUNCTION\", by = \"PARAMETER\" }, PARAMETER being that of the row a call works on")]
pub struct Batch {
    /// The function that carries many calls out at once.
    pub form: String,
    /// The parameter of the procedure whose value is a call's key: calls that may have to wait for each other, because
    /// they work on the same row, have the same one.
    pub by: String,
}

/// A procedure whose parameters are arrays, one element for each call, and that returns one row for each call, in
/// their order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BatchForm {
    granted: Batch,
    pub(super) signature: Signature,
    /// The index of the argument that is a call's key.
    pub(super) key: usize,
}

/// A function with what it takes and returns, and the statements that call it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Signature {
    /// By which it was looked up.
    pub(super) name: String,
    /// To be prepared: Postgres says what it takes and returns.
    pub(super) sql: String,
    /// To be sent unprepared: it fails before the function runs when that is another one than was looked up, and what
    /// it returns is always of these types.
    pub(super) complete: String,
    pub(super) parameters: Vec<Type>,
    pub(super) columns: Vec<(String, Type)>,
    /// Whether it may write: a standby does not carry it out.
    volatile: bool,
}

/// Why a procedure cannot be granted.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// No function of this name is visible to the role.
    #[error("the database has no procedure `{0}`")]
    Missing(String),
    /// A name is all a call gives, so it must be enough.
    #[error("the procedure `{0}` is overloaded: {1} functions have this name")]
    Overloaded(String, usize),
    /// It is an aggregate, a window function or a `CREATE PROCEDURE`, which returns no rows.
    #[error("`{0}` is not a plain function")]
    NotAFunction(String),
    /// The role may not execute it.
    #[error("the role `{1}` may not execute `{0}`")]
    Forbidden(String, String),
    /// A parameter or column has a type that no value of the contract can hold.
    #[error("`{procedure}` has a {part} of type {type_name}, which the contract has no value for")]
    Type {
        /// The procedure.
        procedure: String,
        /// `parameter 2`, or ``column `x` ``.
        part: String,
        /// The type as Postgres calls it.
        type_name: String,
    },
    /// More parameters than a call may have.
    #[error("`{0}` has more than {max} parameters", max = limits::ARGUMENTS_MAX)]
    TooManyParameters(String),
    /// It does not do for many calls what the procedure does for one.
    #[error("`{batch}` is no batch form of `{procedure}`: {cause}")]
    NotItsBatchForm {
        /// The procedure.
        procedure: String,
        /// What was granted as its batch form.
        batch: String,
        /// What does not fit.
        cause: String,
    },
    /// The parameter that is to be the key does not exist.
    #[error("`{procedure}` has no parameter `{by}` to batch by; its parameters are {parameters}")]
    NoSuchKey {
        /// The procedure.
        procedure: String,
        /// What was named.
        by: String,
        /// Those it has.
        parameters: String,
    },
    /// The database could not be asked.
    #[error("cannot ask the database about `{0}`: {1}")]
    Unknown(String, String),
}

/// The functions of a name. Their columns are those of `SELECT * FROM function(...)`: the OUT parameters of one that
/// returns a record, the attributes of a composite type, else one column, named like the only OUT parameter or like the
/// function. A domain comes back as the type below it; the variadic parameter takes one element.
const LOOKUP: &str = "
    WITH RECURSIVE found AS (
        SELECT p.*, n.nspname FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
        WHERE p.proname = $2
          AND CASE WHEN $1 = '' THEN pg_catalog.pg_function_is_visible(p.oid) ELSE n.nspname = $1 END
    ), result AS (
        SELECT f.oid AS function, t.typtype, t.typbasetype, t.typrelid
        FROM found f JOIN pg_catalog.pg_type t ON t.oid = f.prorettype
        UNION ALL
        SELECT r.function, t.typtype, t.typbasetype, t.typrelid
        FROM result r JOIN pg_catalog.pg_type t ON t.oid = r.typbasetype WHERE r.typtype = 'd'
    ), given AS (
        SELECT f.oid AS function, a.place, a.name, a.type
        FROM found f, unnest(f.proallargtypes, f.proargmodes, f.proargnames) WITH ORDINALITY AS a (type, mode, name, place)
        WHERE a.mode IN ('o', 'b', 't')
    ), returned AS (
        SELECT g.function, g.place, g.type,
               coalesce(nullif(g.name, ''), 'column' || row_number() OVER (PARTITION BY g.function ORDER BY g.place)) AS name
        FROM given g JOIN found f ON f.oid = g.function AND f.prorettype = 'pg_catalog.record'::pg_catalog.regtype
        UNION ALL
        SELECT r.function, a.attnum, a.atttypid, a.attname
        FROM result r JOIN pg_catalog.pg_attribute a ON a.attrelid = r.typrelid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE r.typtype = 'c'
        UNION ALL
        SELECT f.oid, 1, f.prorettype,
               coalesce((SELECT min(nullif(g.name, '')) FROM given g WHERE g.function = f.oid HAVING count(*) = 1), f.proname)
        FROM found f JOIN result r ON r.function = f.oid AND r.typtype NOT IN ('c', 'd')
        WHERE f.prorettype <> 'pg_catalog.record'::pg_catalog.regtype OR f.proargmodes IS NULL
    ), columns AS (
        SELECT r.function, r.place, r.name, t.oid, t.typname, t.typtype, t.typbasetype
        FROM returned r JOIN pg_catalog.pg_type t ON t.oid = r.type
        UNION ALL
        SELECT c.function, c.place, c.name, t.oid, t.typname, t.typtype, t.typbasetype
        FROM columns c JOIN pg_catalog.pg_type t ON t.oid = c.typbasetype WHERE c.typtype = 'd'
    ), parameters AS (
        SELECT f.oid AS function, a.place, t.oid, t.typname, pg_catalog.format('%I.%I', n.nspname, o.typname) AS own
        FROM found f CROSS JOIN unnest(f.proargtypes) WITH ORDINALITY AS a (type, place)
        JOIN pg_catalog.pg_type o ON o.oid = a.type JOIN pg_catalog.pg_namespace n ON n.oid = o.typnamespace
        JOIN pg_catalog.pg_type t
          ON t.oid = CASE WHEN f.provariadic <> 0 AND a.place = f.pronargs THEN f.provariadic ELSE a.type END
    )
    SELECT f.nspname::text, f.prokind::text, f.pronargs::int, current_user::text,
           has_function_privilege(f.oid, 'EXECUTE') AND has_schema_privilege(f.pronamespace, 'USAGE'), f.proretset,
           f.provolatile = 'v',
           ARRAY(SELECT coalesce(f.proargnames[i], '')
                 FROM generate_series(1, coalesce(cardinality(f.proargmodes), f.pronargs)) AS i
                 WHERE coalesce(f.proargmodes[i]::text, 'i') IN ('i', 'b', 'v') ORDER BY i),
           f.oid, pg_catalog.format('%I.%I(%s)', f.nspname, f.proname,
               (SELECT string_agg(p.own, ',' ORDER BY p.place) FROM parameters p WHERE p.function = f.oid)),
           ARRAY(SELECT p.oid FROM parameters p WHERE p.function = f.oid ORDER BY p.place),
           ARRAY(SELECT p.typname::text FROM parameters p WHERE p.function = f.oid ORDER BY p.place),
           ARRAY(SELECT c.oid FROM columns c WHERE c.function = f.oid AND c.typtype <> 'd' ORDER BY c.place),
           ARRAY(SELECT c.typname::text FROM columns c WHERE c.function = f.oid AND c.typtype <> 'd' ORDER BY c.place),
           ARRAY(SELECT c.name::text FROM columns c WHERE c.function = f.oid AND c.typtype <> 'd' ORDER BY c.place)
    FROM found f";

/// What Postgres says, before the function runs, of a statement that was made for another function.
const OUTDATED: &str = "galo: this is another function than the one that was looked up";

/// Looks a procedure up, `name` or `schema.name`, and its batch form.
pub(super) async fn describe(client: &Client, name: &str, batch: Option<&Batch>) -> Result<Procedure, Unusable> {
    let one = look_up(client, name).await?;
    one.signature.check_supported(name)?;
    let batch = match batch {
        None => None,
        Some(batch) => {
            let many = look_up(client, &batch.form).await?;
            let refuse =
                |cause| Unusable::NotItsBatchForm { procedure: name.to_owned(), batch: batch.form.clone(), cause };
            check_batch_form(&one, &many).map_err(refuse)?;
            let key = one.parameter(&batch.by).ok_or_else(|| Unusable::NoSuchKey {
                procedure: name.to_owned(),
                by: batch.by.clone(),
                parameters: one.names.join(", "),
            })?;
            Some(BatchForm { granted: batch.clone(), signature: many.signature, key })
        }
    };
    Ok(Procedure { name: name.to_owned(), signature: one.signature, batch })
}

/// A function as the catalogue has it.
struct Found {
    signature: Signature,
    returns_set: bool,
    /// The names of its parameters; empty where one has none.
    names: Vec<String>,
}

impl Found {
    fn parameter(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|parameter| parameter == name)
    }
}

async fn look_up(client: &Client, name: &str) -> Result<Found, Unusable> {
    let unknown = |error: tokio_postgres::Error| Unusable::Unknown(name.to_owned(), chain(&error));
    let (schema, function) = name.split_once('.').unwrap_or(("", name));
    // Without a name: behind a pooler, what has one may be somebody else's.
    let found = client.query_typed(LOOKUP, &[(&schema, Type::TEXT), (&function, Type::TEXT)]).await.map_err(unknown)?;
    let row = match found.as_slice() {
        [] => return Err(Unusable::Missing(name.to_owned())),
        [row] => row,
        several => return Err(Unusable::Overloaded(name.to_owned(), several.len())),
    };
    if row.get::<_, &str>(1) != "f" {
        return Err(Unusable::NotAFunction(name.to_owned()));
    }
    if !row.get::<_, bool>(4) {
        return Err(Unusable::Forbidden(name.to_owned(), row.get(3)));
    }
    let count = usize::try_from(row.get::<_, i32>(2)).unwrap_or(usize::MAX);
    if count > limits::ARGUMENTS_MAX {
        return Err(Unusable::TooManyParameters(name.to_owned()));
    }
    Ok(Found { signature: Signature::of(name, function, row), returns_set: row.get(5), names: row.get(7) })
}

/// The function of this name as the database has it now; `None` when the arguments of a call would mean something
/// else to it.
///
/// # Errors
/// Why it cannot be called.
pub(super) async fn look_up_again(client: &Client, outdated: &Signature) -> Result<Option<Signature>, Unusable> {
    let now = look_up(client, &outdated.name).await?.signature;
    now.check_supported(&outdated.name)?;
    Ok((now.parameters == outdated.parameters).then_some(now))
}

/// Whether a complete statement failed before its function ran, because the function is gone, or is another one.
pub(super) fn is_outdated(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|error| {
        // What a function raises has a context, and what is wrong with a statement of its own another position.
        let of_ours = error.where_().is_none() && matches!(error.position(), Some(ErrorPosition::Original(_)));
        of_ours || error.message().contains(OUTDATED)
    })
}

/// One row for each call is what ties an outcome to its call, so both must be what gives that.
fn check_batch_form(one: &Found, many: &Found) -> Result<(), String> {
    if one.returns_set {
        return Err("what returns a set has no batch form; one row for each call is what tells them apart".to_owned());
    }
    if !many.returns_set {
        return Err("it does not return a set".to_owned());
    }
    let (wanted, given) = (&one.signature.parameters, &many.signature.parameters);
    if wanted.len() != given.len() {
        return Err(format!("it takes {} arguments, not {}", given.len(), wanted.len()));
    }
    for (index, (element, array)) in wanted.iter().zip(given).enumerate() {
        if !value::travels_in_array(element) {
            return Err(format!("parameter {} is of type {element}, which does not travel in an array", index + 1));
        }
        if !matches!(array.kind(), Kind::Array(of) if of == element) {
            return Err(format!("parameter {} is of type {array}, not an array of {element}", index + 1));
        }
    }
    match one.signature.columns == many.signature.columns {
        true => Ok(()),
        false => Err("it returns other columns".to_owned()),
    }
}

impl Procedure {
    /// Whether a call's arguments fit its parameters.
    ///
    /// # Errors
    /// What does not fit, in words.
    pub fn check(&self, arguments: &[Value]) -> Result<(), String> {
        let parameters = &self.signature.parameters;
        if arguments.len() != parameters.len() {
            let (given, wanted) = (arguments.len(), parameters.len());
            return Err(format!("`{}` takes {wanted} arguments, {given} given", self.name));
        }
        for (index, (argument, parameter)) in arguments.iter().zip(parameters).enumerate() {
            value::check(argument, parameter)
                .map_err(|mismatch| format!("argument {} of `{}`: {mismatch}", index + 1, self.name))?;
        }
        Ok(())
    }

    /// Whether rows with these columns are what it returns.
    ///
    /// # Errors
    /// What it does return.
    pub fn check_columns(&self, columns: &[String]) -> Result<(), String> {
        let its: Vec<_> = self.signature.columns.iter().map(|(name, _)| name.as_str()).collect();
        match its == columns {
            true => Ok(()),
            false => Err(format!("`{}` returns the columns {}, not {}", self.name, its.join(", "), columns.join(", "))),
        }
    }

    /// What the manifest grants of its batch form, if it grants one.
    pub fn batch(&self) -> Option<&Batch> {
        self.batch.as_ref().map(|batch| &batch.granted)
    }

    /// Whether calling it takes a database that takes writes.
    pub(super) fn writes(&self) -> bool {
        self.signature.volatile || self.batch.as_ref().is_some_and(|batch| batch.signature.volatile)
    }
}

/// `realizar_transacao`, or with its batch form `realizar_transacao (realizar_transacoes by cliente_id)`.
impl fmt::Display for Procedure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.batch().map_or(Ok(()), |batch| write!(f, " ({} by {})", batch.form, batch.by))
    }
}

impl Signature {
    fn of(name: &str, function: &str, row: &Row) -> Self {
        let types = |oids: usize, names: usize| {
            let types = row.get::<_, Vec<u32>>(oids).into_iter().zip(row.get::<_, Vec<String>>(names));
            let other =
                |(oid, name)| Type::from_oid(oid).unwrap_or_else(|| Type::new(name, oid, Kind::Simple, String::new()));
            types.map(other).collect::<Vec<_>>()
        };
        let parameters = types(10, 11);
        let columns: Vec<(String, Type)> = row.get::<_, Vec<String>>(14).into_iter().zip(types(12, 13)).collect();
        let placeholders: Vec<_> = (1..=parameters.len()).map(|n| format!("${n}")).collect();
        let call = format!("{}.{}({})", quoted(row.get(0)), quoted(function), placeholders.join(", "));
        let column = |(name, ty): &(String, Type)| {
            format!("{name}::pg_catalog.{} AS {name}", quoted(ty.name()), name = quoted(name))
        };
        let selected: Vec<_> = columns.iter().map(column).collect();
        // Constants, of which the planner knows the outcome: it is decided before anything runs.
        let complete = format!(
            "SELECT {} FROM {call} WHERE CASE WHEN \
             '{}'::pg_catalog.regprocedure::pg_catalog.oid OPERATOR(pg_catalog.=) {}::pg_catalog.oid \
             THEN true ELSE '{OUTDATED}'::pg_catalog.text::pg_catalog.bool END",
            selected.join(", "),
            row.get::<_, &str>(9).replace('\'', "''"),
            row.get::<_, u32>(8),
        );
        let sql = format!("SELECT * FROM {call}");
        Self { name: name.to_owned(), sql, complete, parameters, columns, volatile: row.get(6) }
    }

    /// Whether the contract has values for what it takes and returns.
    fn check_supported(&self, procedure: &str) -> Result<(), Unusable> {
        let parameters = self.parameters.iter().enumerate().map(|(i, ty)| (format!("parameter {}", i + 1), ty));
        let columns = self.columns.iter().map(|(name, ty)| (format!("column `{name}`"), ty));
        match parameters.chain(columns).find(|(_, ty)| !value::supported(ty)) {
            None => Ok(()),
            Some((part, ty)) => {
                Err(Unusable::Type { procedure: procedure.to_owned(), part, type_name: ty.name().to_owned() })
            }
        }
    }

    /// Whether a statement that was prepared later is still of the shape that was checked at the start.
    pub(super) fn matches(&self, statement: &Statement) -> bool {
        let supported = |column: &Column| value::supported(column.type_());
        statement.params() == self.parameters && statement.columns().iter().all(supported)
    }
}

/// A name as SQL: in quotes, quotes doubled.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
