//! Who may cancel an order, natively (`cargo test`) and on wasm (`galo test`).

use galo_kit::{Handler as _, Plan, test};

use crate::CancelOrder;

fn prepared(claims: &str) -> Plan {
    CancelOrder::prepare(
        &test::request("DELETE", "/orders/1", &[("id", "1")], "").with_claims(claims),
    )
}

#[test]
fn the_scope_is_one_of_those_of_the_token() {
    let call = test::call(prepared(r#"{"scope":"orders:read orders:cancel"}"#));
    assert_eq!((call.procedure.as_str(), call.arguments), ("cancel_order", vec![1.into()]));
}

#[test]
fn any_other_token_is_refused() {
    for claims in ["{}", r#"{"scope":""}"#, r#"{"scope":"orders:cancelled"}"#] {
        assert_eq!(test::reply(prepared(claims)).status, 403, "{claims}");
    }
}
