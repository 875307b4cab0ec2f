//! Matches the rows of a batch form to its calls, by the ordinal that each row begins with: in whichever order they
//! arrive, each call gets its own row. If one is missing, unknown or there twice, no row is used.

use std::fmt;

use super::form::ORDINAL;
use crate::contract::{Rows, Value};

/// Why rows cannot be matched to calls.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unpaired {
    /// The first column is another one.
    NoOrdinals,
    /// There are more or fewer rows than calls.
    Rows { rows: usize, calls: usize },
    /// The ordinal of a row is null.
    Null,
    /// No call has the ordinal of a row.
    Unknown { ordinal: i64, calls: usize },
    /// Two rows have the same ordinal.
    Twice { ordinal: i64 },
}

/// The row of each call, without the ordinal. The calls are numbered from 1.
pub(super) fn pair(rows: Rows, calls: usize) -> Result<Vec<Rows>, Unpaired> {
    let Rows { mut columns, values } = rows;
    let width = columns.len();
    if columns.first().is_none_or(|first| first != ORDINAL) {
        return Err(Unpaired::NoOrdinals);
    }
    if values.len() != calls * width {
        return Err(Unpaired::Rows { rows: values.len() / width, calls });
    }
    columns.remove(0);
    let mut paired: Vec<Option<Rows>> = (0..calls).map(|_| None).collect();
    let mut values = values.into_iter();
    while let Some(first) = values.next() {
        let Value::Integer(ordinal) = first else { return Err(Unpaired::Null) };
        let place = usize::try_from(ordinal).ok().and_then(|ordinal| paired.get_mut(ordinal.checked_sub(1)?));
        let place = place.ok_or(Unpaired::Unknown { ordinal, calls })?;
        let row = Rows { columns: columns.clone(), values: values.by_ref().take(width - 1).collect() };
        if place.replace(row).is_some() {
            return Err(Unpaired::Twice { ordinal });
        }
    }
    // As many rows as calls and none of them twice: no call is without one.
    Ok(paired.into_iter().flatten().collect())
}

impl fmt::Display for Unpaired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoOrdinals => write!(f, "rows without the column `{ORDINAL}`"),
            Self::Rows { rows, calls } => write!(f, "{rows} rows for {calls} calls"),
            Self::Null => write!(f, "a row whose `{ORDINAL}` is null"),
            Self::Unknown { ordinal, calls } => write!(f, "a row with `{ORDINAL}` {ordinal} for {calls} calls"),
            Self::Twice { ordinal } => write!(f, "two rows with `{ORDINAL}` {ordinal}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paired(column: &str, ordinals: &[Option<i64>], calls: usize) -> Result<Vec<Vec<Value>>, String> {
        let row = |(place, ordinal): (usize, &Option<i64>)| {
            [ordinal.map_or(Value::Null, Value::Integer), Value::Text(format!("row {place}"))]
        };
        let columns = vec![column.to_owned(), "y".to_owned()];
        let rows = Rows { columns, values: ordinals.iter().enumerate().flat_map(row).collect() };
        let paired = pair(rows, calls).map_err(|unpaired| unpaired.to_string())?;
        assert!(paired.iter().all(|rows| rows.columns == ["y"]));
        Ok(paired.into_iter().map(|rows| rows.values).collect())
    }

    #[test]
    fn each_call_gets_its_own_row_in_whichever_order_they_arrive() {
        let row = |place: usize| vec![Value::Text(format!("row {place}"))];
        assert_eq!(paired("ordinal", &[Some(1), Some(2), Some(3)], 3), Ok(vec![row(0), row(1), row(2)]));
        assert_eq!(paired("ordinal", &[Some(3), Some(1), Some(2)], 3), Ok(vec![row(1), row(2), row(0)]));
    }

    #[test]
    fn rows_that_do_not_match_the_calls_are_not_used() {
        for (column, ordinals, told) in [
            ("n", vec![Some(1), Some(2)], "rows without the column `ordinal`"),
            ("ordinal", vec![Some(1)], "1 rows for 2 calls"),
            ("ordinal", vec![Some(1), Some(2), Some(2)], "3 rows for 2 calls"),
            ("ordinal", vec![Some(1), None], "a row whose `ordinal` is null"),
            ("ordinal", vec![Some(0), Some(1)], "a row with `ordinal` 0 for 2 calls"),
            ("ordinal", vec![Some(1), Some(3)], "a row with `ordinal` 3 for 2 calls"),
            ("ordinal", vec![Some(1), Some(i64::MIN)], "a row with `ordinal` -9223372036854775808 for 2 calls"),
            ("ordinal", vec![Some(2), Some(2)], "two rows with `ordinal` 2"),
        ] {
            assert_eq!(paired(column, &ordinals, 2), Err(told.to_owned()));
        }
    }
}
