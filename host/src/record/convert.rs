//! The conversions between the contract and the format of a record.

use std::sync::Arc;

use super::cell::{Blob, Cell};
use super::format::{Called, DatabaseError, Outcome, Pairs, Request, Response, Rows};
use crate::contract::{self, Field, Level, Line};
use crate::failure::Fault;

impl Request {
    /// As a record writes it.
    pub fn of(request: contract::Request) -> Self {
        let contract::Request { method, path, route, parameters, query, headers, body, id, now, config, claims } =
            request;
        Self {
            method,
            path,
            route: route.to_string(),
            parameters: pairs(parameters),
            query,
            headers: pairs(headers),
            body: Blob::of(body),
            id,
            now,
            config: pairs(config.to_vec()),
            claims,
        }
    }

    /// The request of the contract.
    ///
    /// # Errors
    /// What is wrong with its body.
    pub fn to_contract(&self) -> Result<contract::Request, String> {
        Ok(contract::Request {
            method: self.method.clone(),
            path: self.path.clone(),
            route: Arc::from(self.route.as_str()),
            parameters: fields(&self.parameters),
            query: self.query.clone(),
            headers: fields(&self.headers),
            body: self.body.bytes()?,
            id: self.id.clone(),
            now: self.now,
            config: fields(&self.config).into(),
            claims: self.claims.clone(),
        })
    }
}

impl Called {
    /// As a record writes a call.
    pub fn of(procedure: String, arguments: Vec<contract::Value>, carry: Vec<u8>) -> Self {
        Self { procedure, arguments: arguments.into_iter().map(Cell::of).collect(), carry: Blob::of(carry) }
    }
}

impl Outcome {
    /// As a record writes it.
    pub fn of(outcome: contract::Outcome) -> Self {
        match outcome {
            contract::Outcome::Rows(contract::Rows { columns, values }) => {
                Self::Rows(Rows { columns, values: values.into_iter().map(Cell::of).collect() })
            }
            contract::Outcome::Error(contract::DatabaseError { sqlstate, message, detail, constraint }) => {
                Self::Error(DatabaseError { sqlstate, message, detail, constraint })
            }
        }
    }

    /// The outcome of the contract.
    ///
    /// # Errors
    /// What is wrong with one of its values.
    pub fn to_contract(&self) -> Result<contract::Outcome, String> {
        Ok(match self {
            Self::Rows(Rows { columns, values }) => contract::Outcome::Rows(contract::Rows {
                columns: columns.clone(),
                values: values.iter().map(Cell::value).collect::<Result<_, _>>()?,
            }),
            Self::Error(DatabaseError { sqlstate, message, detail, constraint }) => {
                contract::Outcome::Error(contract::DatabaseError {
                    sqlstate: sqlstate.clone(),
                    message: message.clone(),
                    detail: detail.clone(),
                    constraint: constraint.clone(),
                })
            }
        })
    }
}

impl Response {
    /// As a record writes it.
    pub fn of(response: contract::Response) -> Self {
        let contract::Response { status, headers, body, log } = response;
        let line = |Line { level, text }| (level_name(level).to_owned(), text);
        Self { status, headers: pairs(headers), body: Blob::of(body), log: log.into_iter().map(line).collect() }
    }
}

/// A fault, as a record writes it.
pub fn fault_text(fault: &Fault) -> String {
    let Fault { phase, kind, detail, .. } = fault;
    format!("{kind} in {phase}: {detail}")
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warning => "warning",
        Level::Error => "error",
    }
}

fn pairs(fields: Vec<Field>) -> Pairs {
    fields.into_iter().map(|Field { name, value }| (name, value)).collect()
}

fn fields(pairs: &Pairs) -> Vec<Field> {
    pairs.iter().map(|(name, value)| Field { name: name.clone(), value: value.clone() }).collect()
}
