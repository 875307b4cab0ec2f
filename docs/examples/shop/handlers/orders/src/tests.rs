//! The calls of `orders` and the answers, natively (`cargo test`) and on wasm (`galo test`).

use galo_kit::{Handler as _, Plan, Value, test};

use crate::Orders;

fn list(query: &str) -> Plan {
    Orders::prepare(&test::get("/orders", &[]).with_route("GET /orders").with_query(query))
}

fn one(id: &str) -> Plan {
    Orders::prepare(&test::get("/orders/x", &[("id", id)]).with_route("GET /orders/{id}"))
}

#[test]
fn a_page_has_the_next_one_behind_its_last_order() {
    let call = test::call(list("limit=2"));
    assert_eq!(
        (call.procedure.as_str(), call.arguments),
        ("orders_page", vec![Value::Null, 3.into()])
    );
    let rows = test::rows(["id"], [[9.into()], [7.into()], [4.into()]]);
    let response = Orders::respond(&call.carry, &rows).unwrap();
    test::assert_json(&response, 200, r#"{"items":[{"id":9},{"id":7}],"next":"Nw"}"#);
    assert_eq!(test::call(list("limit=2&after=Nw")).arguments, [7.into(), 3.into()]);
    assert_eq!(test::reply(list("limit=0")).status, 400);
}

#[test]
fn an_id_is_a_number() {
    let call = test::call(one("2147483648"));
    assert_eq!(
        (call.procedure.as_str(), call.arguments),
        ("order_by_id", vec![2_147_483_648_i64.into()])
    );
    test::assert_error(
        &Orders::respond(&call.carry, &test::rows(["id"], [])).unwrap(),
        404,
        "no such order",
    );
    for id in ["x", "-1", "01"] {
        test::assert_error(&test::reply(one(id)), 404, "no such order");
    }
}
