//! The call of `place_order` and the answers, natively (`cargo test`) and on wasm (`galo test`).

use galo_kit::{Handler as _, Value, test};

use crate::PlaceOrder;

#[test]
fn an_order_becomes_one_call() {
    let request = test::post("/orders", &[], r#"{"product": 2, "quantity": 3}"#);
    let call = test::call(PlaceOrder::prepare(&request));
    assert_eq!(call.procedure, "place_order");
    assert_eq!(call.arguments, [2.into(), 3.into(), Value::Null]);
}

#[test]
fn what_is_not_an_order_is_refused() {
    for body in [
        "",
        "[]",
        "{}",
        r#"{"product": 2}"#,
        r#"{"product": 2, "quantity": 0}"#,
        r#"{"product": 2, "quantity": 101}"#,
        r#"{"product": "2", "quantity": 1}"#,
    ] {
        let reply = test::reply(PlaceOrder::prepare(&test::post("/orders", &[], body)));
        assert_eq!(reply.status, 422, "{body}");
    }
}

#[test]
fn a_key_that_is_not_one_is_refused() {
    let mut request = test::post("/orders", &[], r#"{"product": 2, "quantity": 3}"#);
    request.headers = test::fields(&[("idempotency-key", "")]);
    assert_eq!(test::reply(PlaceOrder::prepare(&request)).status, 400);
}
