//! Converts between the contract as the host has it and as the kit has it: the same records, generated twice. What a
//! handler is given is copied, as it is into a guest's memory, because the host may have to give it again. What it
//! returns is moved.

use galo::contract;

/// A request for a handler.
pub fn request(request: &contract::Request) -> galo_kit::Request {
    let contract::Request { method, path, route, parameters, query, headers, body, id, now, config, claims } =
        request.clone();
    let field = |contract::Field { name, value }| galo_kit::Field { name, value };
    let parameters = parameters.into_iter().map(field).collect();
    let headers = headers.into_iter().map(field).collect();
    let config = config.iter().cloned().map(field).collect();
    let route = route.to_string();
    galo_kit::Request { method, path, route, parameters, query, headers, body, id, now, config, claims }
}

/// The outcome of a call, for a handler.
pub fn outcome(outcome: &contract::Outcome) -> galo_kit::Outcome {
    match outcome.clone() {
        contract::Outcome::Rows(returned) => galo_kit::Outcome::Rows(rows(returned)),
        contract::Outcome::Error(contract::DatabaseError { sqlstate, message, detail, constraint }) => {
            galo_kit::Outcome::Error(galo_kit::DatabaseError { sqlstate, message, detail, constraint })
        }
    }
}

fn rows(rows: contract::Rows) -> galo_kit::Rows {
    let values = rows.values.into_iter().map(|value| match value {
        contract::Value::Null => galo_kit::Value::Null,
        contract::Value::Boolean(value) => galo_kit::Value::Boolean(value),
        contract::Value::Integer(value) => galo_kit::Value::Integer(value),
        contract::Value::Float(value) => galo_kit::Value::Float(value),
        contract::Value::Text(value) => galo_kit::Value::Text(value),
        contract::Value::Bytes(value) => galo_kit::Value::Bytes(value),
        contract::Value::Timestamp(value) => galo_kit::Value::Timestamp(value),
        contract::Value::Json(value) => galo_kit::Value::Json(value),
    });
    galo_kit::Rows { columns: rows.columns, values: values.collect() }
}

/// A plan of a handler.
pub fn plan(plan: galo_kit::Plan) -> contract::Plan {
    match plan {
        galo_kit::Plan::Reply(reply) => contract::Plan::Reply(response(reply)),
        galo_kit::Plan::Call(galo_kit::Call { procedure, arguments, carry }) => {
            let arguments = arguments.into_iter().map(value).collect();
            contract::Plan::Call(contract::Call { procedure, arguments, carry })
        }
    }
}

/// A response of a handler.
pub fn response(response: galo_kit::Response) -> contract::Response {
    let galo_kit::Response { status, headers, body, log: _ } = response;
    let field = |galo_kit::Field { name, value }| contract::Field { name, value };
    contract::Response { status, headers: headers.into_iter().map(field).collect(), body, log: Vec::new() }
}

fn value(value: galo_kit::Value) -> contract::Value {
    match value {
        galo_kit::Value::Null => contract::Value::Null,
        galo_kit::Value::Boolean(value) => contract::Value::Boolean(value),
        galo_kit::Value::Integer(value) => contract::Value::Integer(value),
        galo_kit::Value::Float(value) => contract::Value::Float(value),
        galo_kit::Value::Text(value) => contract::Value::Text(value),
        galo_kit::Value::Bytes(value) => contract::Value::Bytes(value),
        galo_kit::Value::Timestamp(value) => contract::Value::Timestamp(value),
        galo_kit::Value::Json(value) => contract::Value::Json(value),
    }
}
