//! Reading what a procedure returned, by column name.
//!
//! It refuses to guess: a column that is missing, of another type or NULL is an error that names the column, because
//! the procedure and the handler do not fit each other. Names are compared one by one: a procedure has few columns.

use alloc::borrow::Cow;
use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::decode::json;
use crate::{Date, Decimal, Rows, Timestamp, Uuid, Value};

/// The procedure returned something other than the handler expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnexpectedRows {
    /// There is no row at all.
    NoRow,
    /// There is no column of this name.
    NoColumn(&'static str),
    /// The column is of another type.
    Type {
        /// Its name.
        column: &'static str,
        /// What the handler asked for.
        wanted: &'static str,
        /// What was there.
        found: &'static str,
    },
    /// The column is a text that is not written as this type is.
    Text {
        /// Its name.
        column: &'static str,
        /// What the handler asked for.
        wanted: &'static str,
        /// What was there.
        found: String,
    },
    /// The column is JSON of another type.
    Json {
        /// Its name.
        column: &'static str,
        /// Where in it.
        path: String,
        /// What the handler asked for.
        expected: Cow<'static, str>,
    },
    /// The column is a timestamp before the year 1 or after 9999.
    Year(&'static str),
    /// The column is of the right type, but the handler does not know what to do with its value.
    Value {
        /// Its name.
        column: &'static str,
        /// What was there.
        found: String,
    },
}

impl fmt::Display for UnexpectedRows {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRow => write!(formatter, "the procedure returned no row"),
            Self::NoColumn(column) => write!(formatter, "the procedure returned no column {column}"),
            Self::Type { column, wanted, found } => {
                write!(formatter, "column {column} should be {wanted} and is {found}")
            }
            Self::Text { column, wanted, found } => {
                write!(formatter, "column {column} should be {wanted} and is {found}")
            }
            Self::Json { column, path, expected } => {
                let path = if path.is_empty() { "the whole" } else { path };
                write!(formatter, "column {column} should be JSON in which {path} is {expected}")
            }
            Self::Year(column) => write!(formatter, "column {column} is not within the years 1 to 9999"),
            Self::Value { column, found } => write!(formatter, "column {column} has the unexpected value {found}"),
        }
    }
}

impl core::error::Error for UnexpectedRows {}

impl Rows {
    /// The first row.
    ///
    /// # Errors
    /// When there is no row.
    pub fn first(&self) -> Result<Row<'_>, UnexpectedRows> {
        self.iter().next().ok_or(UnexpectedRows::NoRow)
    }

    /// The rows, in the order of the procedure.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Row<'_>> {
        // A procedure without columns has no values either; chunks of 0 would panic.
        let width = self.columns.len().max(1);
        self.values.chunks_exact(width).map(|values| Row { columns: &self.columns, values })
    }

    /// All rows as a JSON array, each element as [`Row`] is serialised.
    pub fn objects(&self) -> impl Serialize + '_ {
        objects::Objects(self)
    }
}

/// One row. Serialised as a JSON object: every column by its name, in the order of the procedure.
///
/// NULL is `null`, a bytea is base64, a timestamp is RFC 3339 in UTC with microseconds. json, jsonb and arrays are
/// what they are. A value that JSON cannot represent is an error that names the column: an infinite float, NaN, a
/// timestamp of a year that [`Timestamp`] does not hold.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    columns: &'a [String],
    values: &'a [Value],
}

impl<'a> Row<'a> {
    /// The value in this column.
    ///
    /// # Errors
    /// When there is no such column.
    pub fn value(&self, column: &'static str) -> Result<&'a Value, UnexpectedRows> {
        self.columns
            .iter()
            .zip(self.values)
            .find(|(name, _)| *name == column)
            .map(|(_, value)| value)
            .ok_or(UnexpectedRows::NoColumn(column))
    }

    /// Whether this column is NULL.
    ///
    /// # Errors
    /// When there is no such column.
    pub fn is_null(&self, column: &'static str) -> Result<bool, UnexpectedRows> {
        Ok(matches!(self.value(column)?, Value::Null))
    }

    /// A boolean.
    ///
    /// # Errors
    /// When there is no such column, or it is of another type or NULL.
    pub fn boolean(&self, column: &'static str) -> Result<bool, UnexpectedRows> {
        match self.value(column)? {
            Value::Boolean(value) => Ok(*value),
            other => Err(wrong_type(column, "boolean", other)),
        }
    }

    /// A smallint, integer or bigint.
    ///
    /// # Errors
    /// When there is no such column, or it is of another type or NULL.
    pub fn integer(&self, column: &'static str) -> Result<i64, UnexpectedRows> {
        match self.value(column)? {
            Value::Integer(value) => Ok(*value),
            other => Err(wrong_type(column, "integer", other)),
        }
    }

    /// A real or double precision.
    ///
    /// # Errors
    /// When there is no such column, or it is of another type or NULL.
    pub fn float(&self, column: &'static str) -> Result<f64, UnexpectedRows> {
        match self.value(column)? {
            Value::Float(value) => Ok(*value),
            other => Err(wrong_type(column, "float", other)),
        }
    }

    /// A text, varchar, char or name; or a type without a case of its own, such as numeric, date or uuid, as Postgres
    /// writes it.
    ///
    /// # Errors
    /// When there is no such column, or it is of another type or NULL.
    pub fn text(&self, column: &'static str) -> Result<&'a str, UnexpectedRows> {
        match self.value(column)? {
            Value::Text(value) => Ok(value),
            other => Err(wrong_type(column, "text", other)),
        }
    }

    /// The text of a json or jsonb, or of an array as JSON.
    ///
    /// # Errors
    /// When there is no such column, or it is of another type or NULL.
    pub fn json(&self, column: &'static str) -> Result<&'a str, UnexpectedRows> {
        match self.value(column)? {
            Value::Json(value) => Ok(value),
            other => Err(wrong_type(column, "json", other)),
        }
    }

    /// A json or jsonb, or an array, as a type.
    ///
    /// ```
    /// use galo_kit::{Decimal, Value, test};
    ///
    /// let rows = test::rows(["tags", "prices"], [[Value::json(&["red"]), Value::Json("[0.10]".into())]]);
    /// let row = rows.first()?;
    /// assert_eq!(row.json_as::<Vec<String>>("tags")?, ["red"]);
    /// assert_eq!(row.json_as::<Vec<Decimal>>("prices")?[0].as_str(), "0.10");
    /// # Ok::<(), galo_kit::UnexpectedRows>(())
    /// ```
    ///
    /// # Errors
    /// When there is no such column, or it is of another type or NULL, or its JSON is not of this type.
    pub fn json_as<T: Deserialize<'a>>(&self, column: &'static str) -> Result<T, UnexpectedRows> {
        json::read(self.json(column)?.as_bytes()).map_err(|problem| {
            let (path, expected) = problem.into_parts();
            UnexpectedRows::Json { column, path, expected }
        })
    }

    /// A bytea.
    ///
    /// # Errors
    /// When there is no such column, or it is of another type or NULL.
    pub fn bytes(&self, column: &'static str) -> Result<&'a [u8], UnexpectedRows> {
        match self.value(column)? {
            Value::Bytes(value) => Ok(value),
            other => Err(wrong_type(column, "bytes", other)),
        }
    }

    /// A uuid.
    ///
    /// # Errors
    /// When there is no such column, or it is of another type or NULL.
    pub fn uuid(&self, column: &'static str) -> Result<Uuid, UnexpectedRows> {
        self.parsed(column, "a uuid")
    }

    /// A date of the years 1 to 9999.
    ///
    /// # Errors
    /// When there is no such column, or it is of another type, NULL or outside those years.
    pub fn date(&self, column: &'static str) -> Result<Date, UnexpectedRows> {
        self.parsed(column, "a date")
    }

    /// A numeric, with the digits of Postgres.
    ///
    /// # Errors
    /// When there is no such column, or it is of another type, NULL, NaN or infinite.
    pub fn decimal(&self, column: &'static str) -> Result<Decimal, UnexpectedRows> {
        self.parsed(column, "a numeric")
    }

    fn parsed<T: FromStr>(&self, column: &'static str, wanted: &'static str) -> Result<T, UnexpectedRows> {
        let text = self.text(column)?;
        text.parse().map_err(|_| UnexpectedRows::Text { column, wanted, found: text.into() })
    }

    /// A timestamptz or timestamp of the years 1 to 9999.
    ///
    /// # Errors
    /// When there is no such column, or it is of another type, NULL or outside those years, as `infinity` is.
    pub fn timestamp(&self, column: &'static str) -> Result<Timestamp, UnexpectedRows> {
        match self.value(column)? {
            Value::Timestamp(micros) => Timestamp::from_micros(*micros).ok_or(UnexpectedRows::Year(column)),
            other => Err(wrong_type(column, "timestamp", other)),
        }
    }
}

fn wrong_type(column: &'static str, wanted: &'static str, found: &Value) -> UnexpectedRows {
    let found = match found {
        Value::Null => "null",
        Value::Boolean(_) => "boolean",
        Value::Integer(_) => "integer",
        Value::Float(_) => "float",
        Value::Text(_) => "text",
        Value::Bytes(_) => "bytes",
        Value::Timestamp(_) => "timestamp",
        Value::Json(_) => "json",
    };
    UnexpectedRows::Type { column, wanted, found }
}

mod objects;
#[cfg(test)]
mod tests;
