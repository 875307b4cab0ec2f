//! What may be called: a function of the database as its catalogue describes it, and the form of it that takes many
//! calls at once. A procedure that is missing, overloaded, not executable or of a shape the contract cannot carry is
//! refused before anything serves. A description only: two that are equal describe the same, and where calls wait is
//! in `lane`.

use std::fmt;

use serde::Deserialize;
use tokio_postgres::types::{Kind, Oid, Type};
use tokio_postgres::{Client, Column, Statement};

use super::complete::{complete, quoted};
use super::description;
use super::target::chain;
use super::unusable::Unusable;
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

const LOOKUP: &str = "
    SELECT n.nspname::text, p.prokind::text, p.pronargs::int, current_user::text,
           has_function_privilege(p.oid, 'EXECUTE') AND has_schema_privilege(n.oid, 'USAGE'), p.proretset,
           p.provolatile = 'v',
           ARRAY(SELECT coalesce(p.proargnames[i], '')
                 FROM generate_series(1, coalesce(cardinality(p.proargmodes), p.pronargs)) AS i
                 WHERE coalesce(p.proargmodes[i]::text, 'i') IN ('i', 'b', 'v') ORDER BY i),
           p.oid
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    WHERE p.proname = $2 AND CASE WHEN $1 = '' THEN pg_catalog.pg_function_is_visible(p.oid) ELSE n.nspname = $1 END";

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
    let oid: Oid = row.get(8);
    let described = description::describe(client, oid).await.map_err(unknown)?;
    let placeholders: Vec<_> = (1..=described.parameters.len()).map(|n| format!("${n}")).collect();
    let call = format!("{}.{}({})", quoted(row.get(0)), quoted(function), placeholders.join(", "));
    let signature = Signature {
        name: name.to_owned(),
        sql: format!("SELECT * FROM {call}"),
        complete: complete(&call, oid, &described),
        parameters: described.parameters,
        columns: described.columns,
        volatile: row.get(6),
    };
    Ok(Found { signature, returns_set: row.get(5), names: row.get(7) })
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
