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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::contract::Value;
    use crate::record::Record;

    fn texts() -> impl Strategy<Value = Vec<Field>> {
        proptest::collection::vec(any::<(String, String)>(), 0..4)
            .prop_map(|pairs| pairs.into_iter().map(|(name, value)| Field { name, value }).collect())
    }

    fn request() -> impl Strategy<Value = contract::Request> {
        let line = any::<(String, String, String, Option<String>)>();
        let rest = any::<(Vec<u8>, String, i64, Option<String>)>();
        (line, texts(), texts(), texts(), rest).prop_map(|(line, parameters, headers, config, rest)| {
            let ((method, path, route, query), (body, id, now, claims)) = (line, rest);
            let (route, config) = (route.into(), config.into());
            contract::Request { method, path, route, parameters, query, headers, body, id, now, config, claims }
        })
    }

    fn values() -> impl Strategy<Value = Vec<Value>> {
        let value = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Boolean),
            any::<i64>().prop_map(Value::Integer),
            any::<f64>().prop_map(Value::Float),
            any::<String>().prop_map(Value::Text),
            any::<Vec<u8>>().prop_map(Value::Bytes),
            any::<i64>().prop_map(Value::Timestamp),
            any::<String>().prop_map(Value::Json),
        ];
        proptest::collection::vec(value, 0..5)
    }

    fn outcome() -> impl Strategy<Value = contract::Outcome> {
        let rows = (any::<Vec<String>>(), values())
            .prop_map(|(columns, values)| contract::Outcome::Rows(contract::Rows { columns, values }));
        let error = any::<(String, String, Option<String>, Option<String>)>();
        let error = error.prop_map(|(sqlstate, message, detail, constraint)| {
            contract::Outcome::Error(contract::DatabaseError { sqlstate, message, detail, constraint })
        });
        prop_oneof![rows, error]
    }

    fn there_and_back<T: serde::Serialize + serde::de::DeserializeOwned>(one: &T) -> T {
        serde_json::from_str(&serde_json::to_string(one).unwrap()).unwrap()
    }

    proptest! {
        #[test]
        fn a_request_comes_back_from_a_record_as_it_was(request in request()) {
            let back = there_and_back(&Request::of(request.clone())).to_contract().unwrap();
            prop_assert_eq!(format!("{:?}", back), format!("{request:?}"));
        }

        #[test]
        fn an_outcome_comes_back_from_a_record_as_it_was(outcome in outcome()) {
            let back = there_and_back(&Outcome::of(outcome.clone())).to_contract().unwrap();
            // Not by `==`, for which NaN is not NaN and 0 is -0.
            prop_assert_eq!(format!("{:?}", back), format!("{outcome:?}"));
        }

        #[test]
        fn a_call_comes_back_from_a_record_as_it_was(arguments in values(), carry in any::<Vec<u8>>()) {
            let back = there_and_back(&Called::of("f".to_owned(), arguments.clone(), carry.clone()));
            let values: Vec<_> = back.arguments.iter().map(|cell| cell.value().unwrap()).collect();
            prop_assert_eq!(format!("{:?}", values), format!("{arguments:?}"));
            prop_assert_eq!(back.carry.bytes().unwrap(), carry);
        }

        #[test]
        fn what_is_no_record_is_refused_without_a_panic(line in any::<String>()) {
            prop_assert!(Record::parse(&line).is_err());
        }
    }
}
