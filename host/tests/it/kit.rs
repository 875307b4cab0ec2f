//! Properties of the library for handlers: whatever a client sends is read, or refused with a good 4xx; what is written
//! is read back.

use galo_kit::{Cookie, Date, Decimal, Keyset, Rejection, Request, Response, Timestamp, Uuid, test};
use http::HeaderValue;
use proptest::prelude::*;
use serde::Deserialize;

use crate::properties::{cases, damaged};

/// Types that serde_json reads too, so that the two readers can be compared.
#[derive(Deserialize, Debug, PartialEq)]
struct Order {
    name: String,
    note: Option<String>,
    #[serde(default)]
    paid: bool,
    items: Vec<Item>,
    payment: Payment,
}

#[derive(Deserialize, Debug, PartialEq)]
struct Item {
    quantity: u32,
    ratio: f64,
}

#[derive(Deserialize, Debug, PartialEq)]
enum Payment {
    Cash,
    Card { number: i64 },
}

const ORDER: &str = r#"{"name":"pen \u00fc","note":null,"paid":true,"items":[{"quantity":1,"ratio":0.5},{"quantity":0,"ratio":-2}],"payment":{"Card":{"number":-7}},"x":[{}]}"#;

/// Everything that a query or a form can be read as.
#[derive(Deserialize, Debug)]
struct Search {
    #[expect(dead_code, reason = "only read")]
    q: Option<String>,
    #[expect(dead_code, reason = "only read")]
    #[serde(default)]
    id: Vec<i64>,
    #[expect(dead_code, reason = "only read")]
    day: Option<Date>,
    #[expect(dead_code, reason = "only read")]
    price: Option<Decimal>,
    #[expect(dead_code, reason = "only read")]
    at: Option<Timestamp>,
    #[expect(dead_code, reason = "only read")]
    uuid: Option<Uuid>,
}

const SEARCH: &str = "q=a+b&id=1&id=-2&day=2024-02-29&price=12.50&at=2024-02-29T12:00:00.5%2B01:00&uuid=8e03978e-40d5-43dd-bc93-6894a57f9324";

/// A rejection is a 4xx whose JSON is bounded, whatever was sent.
fn is_good(rejection: Rejection, statuses: &[u16]) -> Result<(), TestCaseError> {
    let response = Response::from(rejection);
    prop_assert!(statuses.contains(&response.status), "{}", response.status);
    let body: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
    let members = ["error", "message", "in", "path", "expected"];
    prop_assert!(members.iter().all(|member| body[member].is_string()), "{body}");
    prop_assert!(response.body.len() < 4096);
    Ok(())
}

fn with_header(name: &str, value: &str) -> Request {
    test::get("/", &[]).with_header(name, value)
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn a_damaged_body_is_refused_or_read_as_serde_json_reads_it(body in damaged(ORDER)) {
        let request = test::post("/", &[], body.clone());
        match request.json::<Order>() {
            Ok(order) => prop_assert_eq!(order, serde_json::from_slice::<Order>(&body).unwrap()),
            Err(rejection) => {
                // It is stricter in two ways only, and for what is skipped: that must be UTF-8.
                let strict = rejection.expected.contains("U+0000") || rejection.expected == "an object";
                let skipped = std::str::from_utf8(&body).is_err();
                prop_assert!(strict || skipped || serde_json::from_slice::<Order>(&body).is_err(), "{rejection}");
                is_good(rejection, &[400, 422])?;
            }
        }
    }

    #[test]
    fn a_damaged_query_or_form_is_read_or_refused(bytes in damaged(SEARCH)) {
        let query = String::from_utf8_lossy(&bytes).into_owned();
        let request = test::post("/", &[], bytes).with_query(&query);
        if let Err(rejection) = request.query::<Search>() {
            is_good(rejection, &[400])?;
        }
        if let Err(rejection) = request.form::<Search>() {
            is_good(rejection, &[422])?;
        }
        let _ = request.keyset::<(Timestamp, i64)>(20, 100);
    }

    #[test]
    fn no_text_makes_a_reader_panic(text in "[a-z0-9=;,.\"%+&*\\\\/ W_-]{0,40}.{0,8}") {
        for name in ["cookie", "authorization", "x-a"] {
            let request = with_header(name, &text);
            let _ = (request.cookie("a").is_some(), request.bearer().is_ok(), request.header_as::<Uuid>("x-a").is_ok());
        }
        let _ = Response::json(200, &1).with_etag(&text).unless_matched(&text);
        let _ = (text.parse::<Date>(), text.parse::<Timestamp>(), text.parse::<Decimal>().is_ok());
        let _ = test::get("/", &[]).with_query(&format!("after={text}")).keyset::<(Timestamp, Uuid)>(20, 100);
    }

    #[test]
    fn what_goes_into_a_header_fits_into_one(text in "\\PC{0,20}[\u{0}-\u{20};\"\\\\%,é]{0,6}") {
        let response = Response::redirect(303, &text).with_cookie(&Cookie::new("a", &text)).with_etag(&text);
        prop_assert_eq!(response.headers.len(), 3);
        for header in &response.headers {
            prop_assert!(HeaderValue::from_str(&header.value).is_ok(), "{}", header.value);
        }
        let cookie = response.headers[1].value.split(';').next().unwrap();
        let request = with_header("cookie", cookie);
        prop_assert_eq!(request.cookie("a").unwrap(), text.as_str());
        prop_assert_eq!(response.headers[2].value.matches('"').count(), 2);
    }

    #[test]
    fn moments_and_numbers_are_read_as_they_are_written(
        micros in -62_135_596_800_000_000_i64..253_402_300_800_000_000,
        units in any::<i64>(),
        other in any::<i64>(),
        places in 0..30_u8,
    ) {
        let moment = Timestamp::from_micros(micros).unwrap();
        prop_assert_eq!(moment.to_string().parse::<Timestamp>(), Ok(moment));
        prop_assert_eq!(moment.date().to_string().parse::<Date>(), Ok(moment.date()));
        prop_assert!(moment.to_string().starts_with(&moment.date().to_string()));
        let decimal = Decimal::from_units(units, places);
        prop_assert_eq!(decimal.to_string().parse::<Decimal>(), Ok(decimal.clone()));
        prop_assert_eq!(decimal.units(places), Some(units));
        prop_assert_eq!(decimal.cmp(&Decimal::from_units(other, places)), units.cmp(&other));
    }

    #[test]
    fn the_next_of_a_page_is_its_last_key(key in any::<(i64, String)>().prop_filter("U+0000", |key| !key.1.contains('\0'))) {
        let rows = test::rows(["id"], [[1.into()], [2.into()]]);
        let page = rows.page(1, |_| Ok(key.clone())).unwrap();
        let request = test::get("/", &[]).with_query(&format!("limit=1&after={}", page.next.unwrap()));
        prop_assert_eq!(request.keyset(20, 100), Ok(Keyset { after: Some(key), limit: 1 }));
    }
}
