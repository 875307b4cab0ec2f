//! Builds the statement that calls a function, from names and types that the catalogue confirmed, and quotes names.
//! Columns that the contract can read directly are not cast; only the others are.

use tokio_postgres::types::Type;

use crate::database::value::kind::{self, Read};

/// A function that is called.
pub(super) struct Call<'a> {
    pub(super) schema: &'a str,
    pub(super) function: &'a str,
    /// The types of its parameters, qualified and quoted.
    pub(super) types: Vec<String>,
    /// Whether its arguments are cast to their types, because other functions have the same name.
    pub(super) typed: bool,
}

impl Call<'_> {
    /// The statement to prepare for a call with this many arguments, its columns cast where the contract needs it. A
    /// function without columns returns void. With casts, `condition` ends the statement before a changed function
    /// runs.
    pub(super) fn sql(&self, arguments: usize, columns: &[(String, Type)], condition: &str) -> String {
        if columns.is_empty() {
            return format!("SELECT FROM {}", self.invocation(arguments));
        }
        let casts: Vec<_> = columns.iter().map(|(_, ty)| cast(ty)).collect();
        if casts.iter().all(Option::is_none) {
            return format!("SELECT * FROM {}", self.invocation(arguments));
        }
        // A cast would silently turn the column of a changed function into the one that was looked up.
        let read = self.read(arguments, columns, |ty| cast(ty).map(|ty| format!("::{ty}")).unwrap_or_default());
        format!("{read} WHERE {condition}")
    }

    /// The same as a statement that does not depend on earlier ones: every column is cast to a fixed type, and
    /// `condition` ends it before a changed function runs.
    pub(super) fn complete(&self, arguments: usize, columns: &[(String, Type)], condition: &str) -> String {
        if columns.is_empty() {
            return format!("SELECT FROM {} WHERE {condition}", self.invocation(arguments));
        }
        let given = |ty: &Type| cast(ty).unwrap_or_else(|| format!("{}.{}", quoted(ty.schema()), quoted(ty.name())));
        format!("{} WHERE {condition}", self.read(arguments, columns, |ty| format!("::{}", given(ty))))
    }

    /// Selects each column with its cast, through aliases, because two columns may have the same name.
    fn read(&self, arguments: usize, columns: &[(String, Type)], cast: impl Fn(&Type) -> String) -> String {
        let read = columns.iter().enumerate();
        let read = read.map(|(index, (name, ty))| format!("r.c{index}{} AS {}", cast(ty), quoted(name)));
        let names: Vec<_> = (0..columns.len()).map(|index| format!("c{index}")).collect();
        let (read, invocation) = (read.collect::<Vec<_>>().join(", "), self.invocation(arguments));
        format!("SELECT {read} FROM {invocation} AS r({})", names.join(", "))
    }

    fn invocation(&self, arguments: usize) -> String {
        let placeholder = |(index, ty): (usize, &String)| match self.typed {
            true => format!("${}::{ty}", index + 1),
            false => format!("${}", index + 1),
        };
        let placeholders: Vec<_> = self.types[..arguments].iter().enumerate().map(placeholder).collect();
        format!("{}.{}({})", quoted(self.schema), quoted(self.function), placeholders.join(", "))
    }
}

/// The type to cast a column to, if it must be cast.
fn cast(ty: &Type) -> Option<String> {
    match kind::read(ty)? {
        Read::AsIs => None,
        Read::Text => Some("pg_catalog.text".to_owned()),
        Read::Texts => Some("pg_catalog.text[]".to_owned()),
        Read::ArrayOf(element) => Some(format!("{}.{}[]", quoted(element.schema()), quoted(element.name()))),
    }
}

/// The name of a parameter in messages: ``parameter 2 `preco` ``.
pub(super) fn parameter(name: &str, index: usize) -> String {
    if name.is_empty() { format!("parameter {}", index + 1) } else { format!("parameter {} `{name}`", index + 1) }
}

/// Quotes a name for SQL: in double quotes, with quotes inside doubled.
pub(in crate::database) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
