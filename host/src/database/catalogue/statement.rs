//! The statement that calls a function, and the quoting of names: from names and types that the catalogue has
//! confirmed. What the contract can read as it is comes as it is; only other columns are cast.

use tokio_postgres::types::Type;

use crate::database::value::kind::{self, Read};

/// A function that is called.
pub(super) struct Call<'a> {
    pub(super) schema: &'a str,
    pub(super) function: &'a str,
    /// The types of its parameters, qualified and quoted.
    pub(super) types: Vec<String>,
    /// Whether its arguments must say their types, because other functions have its name.
    pub(super) typed: bool,
}

impl Call<'_> {
    /// A call with so many arguments, to be prepared, and what it returns as the contract reads it. Without columns it
    /// returns void. With casts, `condition` ends it before another function runs.
    pub(super) fn sql(&self, arguments: usize, columns: &[(String, Type)], condition: &str) -> String {
        if columns.is_empty() {
            return format!("SELECT FROM {}", self.invocation(arguments));
        }
        let casts: Vec<_> = columns.iter().map(|(_, ty)| cast(ty)).collect();
        if casts.iter().all(Option::is_none) {
            return format!("SELECT * FROM {}", self.invocation(arguments));
        }
        // A cast would make of another column what was looked up, in silence.
        let read = self.read(arguments, columns, |ty| cast(ty).map(|ty| format!("::{ty}")).unwrap_or_default());
        format!("{read} WHERE {condition}")
    }

    /// The same as a statement that needs nothing that was sent before it: every column is of a type that is given, and
    /// `condition` ends it before the function runs.
    pub(super) fn complete(&self, arguments: usize, columns: &[(String, Type)], condition: &str) -> String {
        if columns.is_empty() {
            return format!("SELECT FROM {} WHERE {condition}", self.invocation(arguments));
        }
        let given = |ty: &Type| cast(ty).unwrap_or_else(|| format!("{}.{}", quoted(ty.schema()), quoted(ty.name())));
        format!("{} WHERE {condition}", self.read(arguments, columns, |ty| format!("::{}", given(ty))))
    }

    /// Each column with its cast. By names of our own: two columns may have the same one.
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

/// What a column is cast to, where it must be.
fn cast(ty: &Type) -> Option<String> {
    match kind::read(ty)? {
        Read::AsIs => None,
        Read::Text => Some("pg_catalog.text".to_owned()),
        Read::Texts => Some("pg_catalog.text[]".to_owned()),
        Read::ArrayOf(element) => Some(format!("{}.{}[]", quoted(element.schema()), quoted(element.name()))),
    }
}

/// How messages name a parameter: ``parameter 2 `preco` ``.
pub(super) fn parameter(name: &str, index: usize) -> String {
    if name.is_empty() { format!("parameter {}", index + 1) } else { format!("parameter {} `{name}`", index + 1) }
}

/// A name as SQL: in quotes, quotes doubled.
pub(in crate::database) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
