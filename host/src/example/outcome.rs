//! How the call of an example ends: with rows, or with the error that the procedure raises.

use serde::Deserialize;

use super::cell::Cell;
use crate::contract;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rows {
    pub(super) columns: Vec<String>,
    values: Vec<Vec<Cell>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Error {
    sqlstate: String,
    #[serde(default)]
    message: String,
    detail: Option<String>,
    constraint: Option<String>,
}

impl Rows {
    pub(super) fn to_contract(&self) -> Result<contract::Rows, String> {
        let columns = self.columns.len();
        if let Some(row) = self.values.iter().position(|row| row.len() != columns) {
            return Err(format!("row {} of `values` has {} of {columns} columns", row + 1, self.values[row].len()));
        }
        let values = self.values.iter().flatten().map(Cell::to_contract).collect::<Result<_, _>>()?;
        Ok(contract::Rows { columns: self.columns.clone(), values })
    }
}

impl Error {
    pub(super) fn to_contract(&self) -> contract::DatabaseError {
        contract::DatabaseError {
            sqlstate: self.sqlstate.clone(),
            message: self.message.clone(),
            detail: self.detail.clone(),
            constraint: self.constraint.clone(),
        }
    }
}
