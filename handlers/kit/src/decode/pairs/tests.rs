//! How a query string and a config become a struct, and what is said about what is refused.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec;

use serde::Deserialize;

use super::*;
use crate::{Date, Decimal, Uuid};

#[derive(Deserialize, Debug, PartialEq, Default)]
#[serde(default)]
struct Search {
    q: Option<String>,
    tag: Vec<String>,
    ids: Vec<i64>,
    page: u16,
    ratio: f32,
    exact: bool,
    id: Option<Uuid>,
    day: Option<Date>,
    price: Option<Decimal>,
    order: Order,
    pair: Option<(u8, u8)>,
}

#[derive(Deserialize, Debug, PartialEq, Default)]
#[serde(rename_all = "lowercase")]
enum Order {
    #[default]
    Price,
    Name,
}

fn query<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Problem> {
    read(form_urlencoded::parse(text.as_bytes()))
}

#[test]
fn every_text_becomes_the_type_that_is_asked_for() {
    let text = "q=a+b%26c&tag=x&ids=1&tag=&ids=-2&page=65535&ratio=0.5&exact=true&day=2024-02-29&price=12.50&order=name\
                &id=8e03978e-40d5-43dd-bc93-6894a57f9324&pair=1&pair=2&unknown=1&unknown=2&&x";
    let search: Search = query(text).unwrap();
    assert_eq!(search.q.as_deref(), Some("a b&c"));
    assert_eq!((search.tag, search.ids), (vec!["x".into(), String::new()], vec![1, -2]));
    assert_eq!((search.page, search.ratio, search.exact, search.order), (65535, 0.5, true, Order::Name));
    assert_eq!(search.price.unwrap().as_str(), "12.50");
    assert_eq!((search.pair, search.day.is_some(), search.id.is_some()), (Some((1, 2)), true, true));
    assert_eq!(query::<Search>("").unwrap(), Search::default());
    assert_eq!(query::<Search>("q=&id=&day=&price=&exact=on").unwrap(), Search { exact: true, ..Search::default() });
}

#[test]
fn a_map_takes_every_name() {
    let all: BTreeMap<String, Vec<String>> = query("a=1&b=2&a=3&c").unwrap();
    assert_eq!(all["a"], ["1", "3"]);
    assert_eq!((all.len(), all["c"][0].as_str()), (3, ""));
}

#[test]
fn a_bad_value_is_named() {
    for (text, path, expected) in [
        ("page=-1", "page", "an integer from 0 to 65535"),
        ("page=65536", "page", "an integer from 0 to 65535"),
        ("page=01", "page", "an integer from 0 to 65535"),
        ("page=+1", "page", "an integer from 0 to 65535"),
        ("page=%2B1", "page", "an integer from 0 to 65535"),
        ("page=", "page", "an integer from 0 to 65535"),
        ("page=1&page=2", "page", "one value, and there are several"),
        ("ids=1&ids=x", "ids[1]", "an integer"),
        ("ratio=inf", "ratio", "a number"),
        ("exact=1", "exact", "true or false"),
        ("id=7", "id", "a UUID"),
        ("day=2023-02-29", "day", "a date such as 2024-02-29"),
        ("price=1e3", "price", "a decimal number such as 12.50"),
        ("price=1&price=2", "price", "one value, and there are several"),
        ("order=size", "order", "one of price, name"),
        ("q=%00", "q", "a string without U+0000"),
        ("pair=1", "pair", "a tuple of size 2"),
    ] {
        let (found, what) = query::<Search>(text).unwrap_err().into_parts();
        assert_eq!((found.as_str(), what.as_ref()), (path, expected), "{text}");
    }
    #[derive(Deserialize, Debug)]
    struct Wanted {
        #[expect(dead_code, reason = "only its name matters")]
        a: u8,
    }
    assert_eq!(query::<Wanted>("b=1").unwrap_err().into_parts().0, "a");
}

#[test]
fn names_and_values_are_bounded() {
    assert!(query::<Search>(&"tag=x&".repeat(PAIRS_MAX)).is_ok());
    let (path, expected) = query::<Search>(&"tag=x&".repeat(PAIRS_MAX + 1)).unwrap_err().into_parts();
    assert_eq!((path.as_str(), expected.as_ref()), ("", "at most 256 fields"));
}

#[test]
fn a_config_has_lists_and_tables_as_json() {
    #[derive(Deserialize, Debug, PartialEq)]
    struct Config {
        limit: u32,
        name: String,
        hosts: Vec<String>,
        prices: BTreeMap<String, Decimal>,
        place: Place,
        missing: Option<String>,
    }
    #[derive(Deserialize, Debug, PartialEq)]
    struct Place {
        x: i64,
    }
    let pairs = |limit: &'static str, place: &'static str| {
        [
            ("limit", limit),
            ("name", "[shop]"),
            ("hosts", r#"["a","b"]"#),
            ("prices", r#"{"pen":0.10}"#),
            ("place", place),
        ]
        .into_iter()
    };
    let config: Config = read_config(pairs("20", r#"{"x":1}"#)).unwrap();
    assert_eq!((config.limit, config.name.as_str(), config.hosts.len(), config.place.x), (20, "[shop]", 2, 1));
    assert_eq!(config.prices["pen"].as_str(), "0.10");
    for (limit, place, path) in [("x", r#"{"x":1}"#, "limit"), ("1", r#"{"x":"1"}"#, "place.x"), ("1", "7", "place")] {
        assert_eq!(read_config::<Config>(pairs(limit, place)).unwrap_err().into_parts().0, path);
    }
}
