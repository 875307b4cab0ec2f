//! Why a procedure cannot be granted, in words that an author of handlers reads. Found by `procedure`.

use crate::limits;

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
