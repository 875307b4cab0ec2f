//! Why a procedure cannot be granted, and what to do about it. Found by `catalogue`, reported with the line of the
//! manifest.

use std::fmt;

use tokio_postgres::types::{Kind, Type};

use crate::database::value::kind;
use crate::limits;

/// Why a procedure cannot be granted.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// No function with this name, or with these types, is visible to the role. Holds the functions that have the name.
    #[error("the database has no procedure `{0}`{there}", there = those(.1))]
    Missing(String, Vec<String>),
    /// The name alone is ambiguous. Holds how to grant each of the functions.
    #[error("the procedure `{0}` is overloaded: grant one of {which}", which = list(.1))]
    Overloaded(String, Vec<String>),
    /// One of the types in its parentheses does not exist.
    #[error("`{0}` names the type `{1}`, which the database does not have")]
    NoSuchType(String, String),
    /// It is an aggregate, a window function or a `CREATE PROCEDURE`.
    #[error("`{0}` is not a plain function but {1}")]
    NotAFunction(String, &'static str),
    /// It takes any number of arguments.
    #[error("`{0}` is variadic: grant a function that takes an array")]
    Variadic(String),
    /// The role may not execute it.
    #[error("the role `{1}` may not execute `{0}`")]
    Forbidden(String, String),
    /// The contract has no value for some of its parameters or columns.
    #[error("`{0}` has {what}", what = unsupported(.1))]
    Unsupported(String, Vec<Unsupported>),
    /// More parameters than a call may have.
    #[error("`{0}` has more than {max} parameters", max = limits::ARGUMENTS_MAX)]
    TooManyParameters(String),
    /// The function granted as its batch form does not match the procedure.
    #[error("`{batch}` is not a batch form of `{procedure}`: {cause}")]
    NotItsBatchForm {
        /// The procedure.
        procedure: String,
        /// What was granted as its batch form.
        batch: String,
        /// What does not fit.
        cause: String,
    },
    /// A parameter that the entry of its batch form names does not exist.
    #[error("`{procedure}` has no parameter `{name}`, its `{entry}` in `batch`; its parameters are {parameters}")]
    NoSuchParameter {
        /// The procedure.
        procedure: String,
        /// Which part of the entry names it.
        entry: &'static str,
        /// The parameter that the manifest names.
        name: String,
        /// The parameters it has.
        parameters: String,
    },
    /// The parameter that is to be the key is of a type whose values can be written in more than one way, or have no
    /// lane.
    #[error(
        "`{procedure}` cannot be batched by `{by}`: a value of type {type_name} {what}; \
         batch by a parameter of type {types}"
    )]
    NotAKey {
        /// The procedure.
        procedure: String,
        /// The parameter that the manifest names.
        by: String,
        /// Its type.
        type_name: String,
        /// What is wrong with its values.
        what: &'static str,
        /// The types that can be a key.
        types: &'static str,
    },
    /// A router cannot have a stub of it. Holds why, and what to do.
    #[error("`{0}` cannot run on shards: {1}")]
    NoStub(String, String),
    /// The database could not be queried.
    #[error("cannot look up `{0}` in the database: {1}")]
    Unknown(String, String),
}

/// A parameter or column of a type that no value of the contract can hold.
#[derive(Debug)]
pub struct Unsupported {
    /// ``parameter 2 `x` ``, ``column `x` `` or `result`.
    part: String,
    /// The type as Postgres calls it.
    type_name: String,
    remedy: &'static str,
}

impl Unsupported {
    pub(super) fn parameter(part: String, ty: &Type) -> Self {
        let remedy = match ty.kind() {
            Kind::Composite(_) => "take its fields as parameters of their own, or one jsonb",
            _ => "take it as text or jsonb",
        };
        Self { part, type_name: kind::named(ty), remedy }
    }

    pub(super) fn column(name: &str, ty: &Type) -> Self {
        let remedy = match ty.kind() {
            Kind::Composite(_) => "return its fields as columns of their own, or to_jsonb of it",
            _ => "return it as text or jsonb",
        };
        Self { part: format!("column `{name}`"), type_name: kind::named(ty), remedy }
    }

    /// A pseudo-type, which only stands for other types.
    pub(super) fn pseudo(part: String, type_name: &str) -> Self {
        let remedy = match type_name {
            "record" | "record[]" => "declare what it is made of, as in RETURNS TABLE (x integer)",
            name if name.starts_with("any") => "it is polymorphic, so grant a function with the types themselves",
            _ => "no value is of this type",
        };
        Self { part, type_name: type_name.to_owned(), remedy }
    }
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of type {}, which the contract has no value for: {}", self.part, self.type_name, self.remedy)
    }
}

fn unsupported(unsupported: &[Unsupported]) -> String {
    unsupported.iter().map(|one| format!("a {one}")).collect::<Vec<_>>().join("; ")
}

fn list(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn those(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!("; there are {}", list(names)) }
}
