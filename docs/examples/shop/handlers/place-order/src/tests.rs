//! The call of `place_order` and the answers, natively (`cargo test`) and on wasm (`galo test`).

use galo_kit::{Handler as _, Plan, Value, test};

use crate::PlaceOrder;

fn prepared(key: Option<&str>, body: &str) -> Plan {
    let request = test::post("/orders", &[], body)
        .with_config(&[("bulk_code", "b"), ("quantity_max", "100")]);
    PlaceOrder::prepare(&match key {
        Some(key) => request.with_header("idempotency-key", key),
        None => request,
    })
}

#[test]
fn an_order_becomes_one_call() {
    let call = test::call(prepared(None, r#"{"product": 2, "quantity": 3}"#));
    assert_eq!(call.procedure, "place_order");
    assert_eq!(call.arguments, [2.into(), 3.into(), 100.into(), Value::Null]);
}

#[test]
fn only_the_bulk_code_lifts_the_limit() {
    for (code, most) in [("b", u32::MAX), ("", 100), ("B", 100)] {
        let body = format!(r#"{{"product": 2, "quantity": 3, "code": "{code}"}}"#);
        assert_eq!(test::call(prepared(None, &body)).arguments[2], most.into(), "{code}");
    }
}

#[test]
fn what_is_not_an_order_is_refused() {
    for (body, status) in [
        ("", 400),
        ("[]", 422),
        (r#"{"product": 2}"#, 422),
        (r#"{"product": 2, "quantity": -1}"#, 422),
        (r#"{"product": "2", "quantity": 1}"#, 422),
    ] {
        assert_eq!(test::reply(prepared(None, body)).status, status, "{body}");
    }
}

#[test]
fn a_key_that_is_not_one_is_refused() {
    assert_eq!(test::reply(prepared(Some(""), r#"{"product": 2, "quantity": 3}"#)).status, 400);
}
