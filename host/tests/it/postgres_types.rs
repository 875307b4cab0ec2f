//! The types of Postgres in both directions, compared with what Postgres itself makes of them; and the shapes of
//! procedures: defaults, overloaded names, void, sets, and what is refused.

use std::sync::Arc;

use galo::contract::{Rows, Value};
use galo::database::{Batch, Database, Procedure};
use galo::failure::Failure;
use galo::metrics::Metrics;
use http::Method;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;
use tokio::runtime::Handle;
use tokio_postgres::SimpleQueryMessage;

use crate::cli::Program;
use crate::fixture::{calling, calling_with};
use crate::harness::{Guests, PATIENCE, TestDatabase, TestNode, granted, request};

fn json(json: &str) -> Value {
    Value::Json(json.to_owned())
}

/// A value of a type that is sent as text: a json, or a text.
fn of(ty: &str, spelled: &str) -> Value {
    if ty.ends_with("[]") || ty.starts_with("json") || ty == "etiquetas" { json(spelled) } else { text(spelled) }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// A database, and a pool that calls its procedures.
struct Called {
    database: TestDatabase,
    pool: Arc<Database>,
    owner: tokio_postgres::Client,
}

impl Called {
    async fn new(sql: &str) -> Self {
        let database = TestDatabase::new().await;
        database.execute(sql).await;
        database.execute("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO galo").await;
        let pool = Arc::new(Database::new(&database.target(), 1, &Metrics::new()));
        pool.start(Vec::new()).await.unwrap();
        let owner = database.owner().await;
        Self { database, pool, owner }
    }

    async fn describe(&self, name: &str) -> Arc<Procedure> {
        let described = self.pool.describe(&granted(name, None)).await;
        Arc::new(described.unwrap_or_else(|refusal| panic!("{refusal}")))
    }

    async fn refusal(&self, name: &str) -> String {
        match self.pool.describe(&granted(name, None)).await {
            Ok(_) => panic!("{name} is granted"),
            Err(refusal) => refusal.to_string(),
        }
    }

    async fn call(&self, procedure: &Arc<Procedure>, arguments: Vec<Value>) -> Result<Rows, Failure> {
        procedure.check(&arguments).unwrap_or_else(|mismatch| panic!("{mismatch}"));
        self.pool.call(procedure, arguments).await
    }

    async fn call_by_name(&self, name: &str, arguments: Vec<Value>) -> Rows {
        self.call(&self.describe(name).await, arguments).await.unwrap()
    }

    /// The one text that a query returns, as Postgres writes it.
    async fn spelled(&self, sql: &str) -> Result<Option<String>, tokio_postgres::Error> {
        let messages = self.owner.simple_query(sql).await?;
        let row = messages.into_iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0).map(str::to_owned)),
            _ => None,
        });
        Ok(row.unwrap())
    }
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Types that the contract carries as text, each with values as a guest may write them.
const SPELLED: &[(&str, &[&str])] = &[
    (
        "numeric",
        &[
            "0",
            "-0.00",
            "12.50",
            "+7",
            "1e3",
            "-1.5E-4",
            "0.000001",
            "10000",
            "99990000.00010000",
            "NaN",
            "Infinity",
            "-inf",
            "1e131071",
            "-9.99e-16380",
            ".5",
            "5.",
            "00012",
        ],
    ),
    (
        "date",
        &[
            "2024-02-29",
            "1999-12-31",
            "0001-01-01",
            "0044-03-15 BC",
            "0001-02-29 BC",
            "4713-01-01 BC",
            "4714-11-24 BC",
            "5874897-12-31",
            "infinity",
            "-infinity",
            "2000-01-01",
            "1970-01-01",
            "1900-02-28",
            "10000-01-01",
        ],
    ),
    ("time", &["00:00", "13:05:09.25", "23:59:59.999999", "24:00:00", "12:00:60", "01:02:03.000001"]),
    (
        "timetz",
        &["13:05:09.25-03", "24:00:00+00", "00:00Z", "12:00:00+05:30", "12:00:00-15:59:59", "01:02:03.1+00:00:01"],
    ),
    (
        "interval",
        &[
            "0",
            "1 day",
            "-1 day",
            "1 year 2 mons -3 days +04:05:06.7",
            "-1 years +2 mons",
            "-00:00:00.000001",
            "P1Y2M3DT4H5M6S",
            "1 mon",
            "-1 mons 1 day",
            "100:00:00",
            "1 year",
            "-13 months",
            "178000000 years",
            "2 days ago",
        ],
    ),
    (
        "inet",
        &[
            "192.168.0.1",
            "10.1.2.3/8",
            "0.0.0.0/0",
            "::",
            "::1",
            "2001:db8::1/64",
            "::ffff:1.2.3.4",
            "::1.2.3.4",
            "1::",
            "1:0:0:2:0:0:0:3",
            "1:2:3:4:5:6:0:8",
            "fe80::1",
        ],
    ),
    ("cidr", &["10.1.0.0/16", "192.168.0.1", "0.0.0.0/0", "2001:db8::/32", "::/0", "::1"]),
    (
        "uuid",
        &[
            "0190163d-8694-739b-aea5-966c26f8ad91",
            "{0190163D8694739BAEA5966C26F8AD91}",
            "0190-163d-8694-739b-aea5-966c-26f8-ad91",
        ],
    ),
    ("json", &["{\"a\" : [1, null]}", " 1 ", "\"\\ud800\"", "1e400"]),
    ("jsonb", &["{\"b\": 1, \"a\": 2, \"a\": 3}", "null"]),
    ("money", &["12.50"]),
    ("bit varying", &["0101", ""]),
    ("macaddr", &["08:00:2b:01:02:03"]),
    ("int4range", &["[1,5]", "empty"]),
    ("point", &["(1.5,-2)"]),
    ("oid", &["4294967295"]),
    ("xml", &["<a>é</a>"]),
    ("tsvector", &["'a':1 'b':2"]),
    ("estado", &["aberto", "pago \"já\"", "o'k", ""]),
    ("preco", &["12.50", "0"]),
    ("preco_caro", &["1200.5"]),
    ("situacao", &["o'k"]),
    ("curto", &["abc"]),
    ("email", &["a@B.c"]),
];

const TYPES: &str = "
    CREATE TYPE estado AS ENUM ('aberto', 'pago \"já\"', 'o''k', '');
    CREATE DOMAIN preco AS numeric(12, 2) CHECK (VALUE >= 0);
    CREATE DOMAIN preco_caro AS preco CHECK (VALUE > 1000);
    CREATE DOMAIN curto AS varchar(3) NOT NULL;
    CREATE DOMAIN email AS text CHECK (VALUE LIKE '%@%');
    CREATE DOMAIN contagem AS integer CHECK (VALUE > 0);
    CREATE DOMAIN situacao AS estado CHECK (VALUE <> '');
    CREATE DOMAIN etiquetas AS text[] CHECK (cardinality(VALUE) < 3);";

/// A function for each type that returns what it takes.
fn echoes<'a>(types: impl IntoIterator<Item = &'a str>) -> String {
    let echo = |ty| format!("CREATE FUNCTION {}(x {ty}) RETURNS {ty} LANGUAGE sql AS 'SELECT $1';", echo(ty));
    TYPES.to_owned() + &types.into_iter().map(echo).collect::<String>()
}

fn echo(ty: &str) -> String {
    format!("eco_{}", ty.replace([' ', '[', ']'], "_"))
}

#[tokio::test(flavor = "multi_thread")]
async fn values_without_a_case_come_back_as_postgres_spells_them() {
    let called = Called::new(&echoes(SPELLED.iter().map(|(ty, _)| *ty))).await;
    for (ty, values) in SPELLED {
        let eco = called.describe(&echo(ty)).await;
        for value in *values {
            let expected = called.spelled(&format!("SELECT {}::{ty}", literal(value))).await.unwrap().unwrap();
            let rows =
                called.call(&eco, vec![of(ty, value)]).await.unwrap_or_else(|error| panic!("{ty} {value}: {error:?}"));
            assert_eq!(rows.values, [of(ty, &expected)], "{ty} {value}");
            // A value that came back may be sent again.
            let again = called.call(&eco, vec![of(ty, &expected)]).await.unwrap();
            assert_eq!(again.values, rows.values, "{ty} {value}");
        }
        if *ty != "curto" {
            assert_eq!(called.call(&eco, vec![Value::Null]).await.unwrap().values, [Value::Null], "{ty}");
        }
    }
    let numeric = called.describe(&echo("numeric")).await;
    let rows = called.call(&numeric, vec![Value::Integer(i64::MIN)]).await.unwrap();
    assert_eq!(rows.values, [text("-9223372036854775808")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_settings_of_a_session_do_not_change_the_spelling() {
    // Given a role with every setting that changes how Postgres writes values, then values arrive as under the
    // defaults.
    let types =
        ["date", "interval", "date[]", "timestamptz[]", "double precision[]", "bytea[]", "interval[]", "timetz"];
    let called = Called::new(&echoes(types)).await;
    let set = [("DateStyle", "SQL, DMY"), ("IntervalStyle", "sql_standard"), ("TimeZone", "America/Sao_Paulo")]
        .into_iter()
        .chain([("extra_float_digits", "-5"), ("bytea_output", "escape")]);
    let name: String = called.spelled("SELECT current_database()").await.unwrap().unwrap();
    for (setting, value) in set {
        called.database.execute(&format!("ALTER ROLE galo IN DATABASE {name} SET {setting} = '{value}'")).await;
    }
    let pool = Arc::new(Database::new(&called.database.target(), 1, &Metrics::new()));
    pool.start(Vec::new()).await.unwrap();
    let called = Called { pool, ..called };
    for (ty, value) in [
        ("date", "2024-02-03"),
        ("date", "0004-05-06 BC"),
        ("date", "10000-05-06"),
        ("interval", "-1 years -2 mons +3 days -04:05:06.7"),
        ("interval", "1 year -00:00:01"),
        ("timetz", "13:05:00-03"),
        ("date[]", r#"["2024-02-03"]"#),
        ("timestamptz[]", r#"["2024-02-03T04:05:06.7+00:00"]"#),
        ("double precision[]", "[0.1234567890123456]"),
        ("bytea[]", r#"["\\x00ff41"]"#),
        ("interval[]", r#"["-1 days +00:00:01"]"#),
    ] {
        let rows = called.call_by_name(&echo(ty), vec![of(ty, value)]).await;
        assert_eq!(rows.values, [of(ty, value)], "{ty}");
    }
}

/// Arrays as a guest may write them, and as they come back.
const ARRAYS: &[(&str, &[(&str, &str)])] = &[
    (
        "integer[]",
        &[("[]", "[]"), ("[1, null,-3]", "[1,null,-3]"), ("[[1,2],[3,4]]", "[[1,2],[3,4]]"), ("[[[7]]]", "[[[7]]]")],
    ),
    ("bigint[]", &[("[9223372036854775807]", "[9223372036854775807]")]),
    ("boolean[]", &[("[true,false,null]", "[true,false,null]")]),
    ("double precision[]", &[("[1, 0.1, -1e300, \"NaN\", \"-Infinity\"]", "[1.0,0.1,-1e+300,\"NaN\",\"-Infinity\"]")]),
    ("real[]", &[("[0.1]", "[0.1]")]),
    (
        "text[]",
        &[
            (r#"["a", "", "NULL", null, "é \"{},\\ 😀", "x\n"]"#, r#"["a","","NULL",null,"é \"{},\\ 😀","x\n"]"#),
            (r#"["\u0041\ud83d\ude00"]"#, r#"["A😀"]"#),
        ],
    ),
    ("numeric[]", &[("[12.50, 1e2, \"NaN\", \"0.10\"]", "[12.50,100,\"NaN\",0.10]")]),
    ("date[]", &[(r#"["2024-02-29","infinity",null]"#, r#"["2024-02-29","infinity",null]"#)]),
    ("timestamp[]", &[(r#"["2024-02-29 13:05","infinity"]"#, r#"["2024-02-29T13:05:00","infinity"]"#)]),
    (
        "timestamptz[]",
        &[(
            r#"["2024-02-29T13:05-03","0044-03-15T00:00:00Z BC"]"#,
            r#"["2024-02-29T16:05:00+00:00","0044-03-15T00:00:00+00:00 BC"]"#,
        )],
    ),
    ("uuid[]", &[(r#"["0190163d8694739baea5966c26f8ad91"]"#, r#"["0190163d-8694-739b-aea5-966c26f8ad91"]"#)]),
    ("jsonb[]", &[(r#"[{"a": [1]}, [2], null, "x"]"#, r#"[{"a": [1]},[2],null,"x"]"#)]),
    ("bytea[]", &[(r#"["\\x", "\\x00FF"]"#, r#"["\\x","\\x00ff"]"#)]),
    ("inet[]", &[(r#"["10.0.0.1/8"]"#, r#"["10.0.0.1/8"]"#)]),
    ("estado[]", &[(r#"["pago \"já\"", null, ""]"#, r#"["pago \"já\"",null,""]"#)]),
    ("preco[]", &[("[1, 2.5]", "[1.00,2.50]")]),
    ("contagem[]", &[("[1,2]", "[1,2]")]),
    ("etiquetas", &[(r#"["a"]"#, r#"["a"]"#)]),
    ("point[]", &[(r#"["(1,2)"]"#, r#"["(1,2)"]"#)]),
];

#[tokio::test(flavor = "multi_thread")]
async fn arrays_travel_as_json() {
    let called = Called::new(&echoes(ARRAYS.iter().map(|(ty, _)| *ty))).await;
    called.owner.batch_execute("SET TimeZone = 'UTC'").await.unwrap();
    for (ty, values) in ARRAYS {
        let eco = called.describe(&echo(ty)).await;
        for (sent, expected) in *values {
            let rows =
                called.call(&eco, vec![of(ty, sent)]).await.unwrap_or_else(|error| panic!("{ty} {sent}: {error:?}"));
            assert_eq!(rows.values, [of(ty, expected)], "{ty} {sent}");
        }
        assert_eq!(called.call(&eco, vec![Value::Null]).await.unwrap().values, [Value::Null], "{ty}");
        // Postgres converts an array of the same elements to the same JSON.
        let json: serde_json::Value = serde_json::from_str(values[0].1).unwrap();
        if let Some(array) = json.as_array().filter(|array| !array.is_empty() && *ty != "double precision[]") {
            let elements = array.iter().map(|element| match element {
                serde_json::Value::String(text) => literal(text),
                serde_json::Value::Null => "NULL".to_owned(),
                other if *ty == "jsonb[]" => literal(&other.to_string()),
                other => other.to_string(),
            });
            let elements = elements.collect::<Vec<_>>().join(",").replace("'x'", "'\"x\"'");
            let sql = format!("SELECT to_json(ARRAY[{elements}]::{ty})");
            let theirs: serde_json::Value =
                serde_json::from_str(&called.spelled(&sql).await.unwrap().unwrap()).unwrap();
            assert_eq!(theirs, json, "{sql}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_is_not_of_its_type_is_found_before_postgres_is_asked() {
    let types = ["uuid", "date", "time", "timetz", "numeric", "interval", "inet", "cidr", "json", "jsonb"];
    let arrays =
        ["integer[]", "text[]", "date[]", "numeric[]", "boolean[]", "timestamptz[]", "bytea[]", "bigint[]", "real[]"];
    let called = Called::new(&echoes(types.into_iter().chain(arrays).chain(["preco", "contagem"]))).await;
    for (ty, wrong) in [
        (
            "uuid",
            &[
                "",
                "a190163d-8694-739b-aea5-966c26f8ad9",
                "a190163d-8694-739b-aea5-966c26f8ad911",
                "g1a0163d8694739baea5966c26f8ad91",
                "a1-90163d8694739baea5966c26f8ad91",
            ][..],
        ),
        (
            "date",
            &[
                "",
                "31/12/2024",
                "2024-02-30",
                "2023-02-29",
                "1900-02-29",
                "0000-01-01",
                "2024-1-1",
                "today",
                "now",
                "2024-13-01",
                "2024-01-01 12:00",
                "5874898-01-01",
                "4714-11-23 BC",
                "2024-01-01\0",
            ],
        ),
        ("time", &["", "24:00:01", "24:00:00.1", "12:60", "12", "1:00", "12:00:61", "now", "12:00:00.", "12:00+00"]),
        ("timetz", &["12:00", "12:00 America/Sao_Paulo", "12:00+16", "12:00+3", "12:00+05:60"]),
        (
            "numeric",
            &["", " 1", "1,50", "12a", "0x10", "1e", "--1", ".", "e5", "1e131072", "-NaN", "1e-16384", "1_000"],
        ),
        ("interval", &["", "day", "1 day;", "'1'"]),
        ("inet", &["", "1.2.3", "1.2.3.256", "10.0.0.1/33", "::1/129", "x", "fe80::1%eth0"]),
        ("cidr", &["10.1.2.3/8", "2001:db8::1/32"]),
        ("json", &["", "{", "{a:1}", "[1,]", "'a'", "1 2"]),
        ("jsonb", &["nul"]),
        (
            "integer[]",
            &[
                "",
                "{}",
                "1",
                "[1",
                "[\"1\"]",
                "[1.0]",
                "[2147483648]",
                "[1,[2]]",
                "[[1],[2,3]]",
                "[[1],2]",
                "[[]]",
                "[[1],[[2]]]",
                "[[[[[[[1]]]]]]]",
                "{\"a\":1}",
                "[[1],null]",
            ],
        ),
        ("text[]", &["[1]", "[\"a\\u0000\"]"]),
        ("date[]", &["[\"31/12/2024\"]", "[20240101]"]),
        ("numeric[]", &["[\"1,5\"]", "[true]"]),
        ("boolean[]", &["[\"true\"]", "[1]"]),
        ("timestamptz[]", &["[\"2024-01-01T00:00:00\"]", "[\"2024-01-01\"]", "[0]"]),
        ("bytea[]", &["[\"00\"]", "[\"\\\\x0\"]"]),
        ("bigint[]", &["[9223372036854775808]"]),
        ("real[]", &["[\"1\"]", "[1e999]"]),
        ("preco", &["12,50"]),
    ] {
        let eco = called.describe(&echo(ty)).await;
        for value in wrong {
            let message = eco.check(&[of(ty, value)]).expect_err(value);
            assert!(message.starts_with(&format!("argument 1 (x) of `{}`: ", echo(ty))), "{message}");
            assert!(value.len() < 4 || !message.contains(value), "a client's text is in the log: {message}");
        }
    }
    let date = called.describe(&echo("date")).await;
    let message = date.check(&[text("31/12/2024")]).unwrap_err();
    let expected = "argument 1 (x) of `eco_date`: a text does not fit date: expected a date, as in 2024-02-29, 0044-03-15 BC or infinity";
    assert_eq!(message, expected);
    let contagem = called.describe(&echo("contagem")).await;
    assert!(
        contagem
            .check(&[Value::Integer(1 << 31)])
            .unwrap_err()
            .contains("the integer 2147483648 does not fit contagem")
    );
    assert!(date.check(&[Value::Integer(1)]).unwrap_err().contains("the integer 1 does not fit date"));
    let array = called.describe(&echo("integer[]")).await;
    let message = array.check(&[json("[1, \"x\"]")]).unwrap_err();
    assert!(message.ends_with("an array with an element that is not an integer does not fit int4[]"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_checks_what_only_it_can_check() {
    let called = Called::new(&echoes(["estado", "preco", "curto", "interval", "jsonb", "integer[]", "contagem"])).await;
    for (ty, value, sqlstate) in [
        ("estado", text("desconhecido"), "22P02"),
        ("preco", text("-1"), "23514"),
        ("preco", text("10000000000"), "22003"),
        ("curto", text("abcd"), "22001"),
        ("curto", Value::Null, "23502"),
        ("interval", text("1 lightyear"), "22007"),
        ("jsonb", json("\"\\u0000\""), "22P05"),
        ("contagem", Value::Integer(0), "23514"),
    ] {
        let eco = called.describe(&echo(ty)).await;
        match called.call(&eco, vec![value]).await {
            Err(Failure::Raised(raised)) => assert_eq!(raised.error.sqlstate, sqlstate, "{ty}"),
            other => panic!("{ty}: {other:?}"),
        }
    }
    // A label that is added later needs no new lookup.
    let eco = called.describe(&echo("estado")).await;
    called.database.execute("ALTER TYPE estado ADD VALUE 'novo'").await;
    assert_eq!(called.call(&eco, vec![text("novo")]).await.unwrap().values, [text("novo")]);
    called.database.kill_connections().await;
    let pool = Arc::new(Database::new(&called.database.target(), 1, &Metrics::new()));
    pool.start(vec![Arc::clone(&eco)]).await.unwrap();
    assert_eq!(pool.call(&eco, vec![text("novo")]).await.unwrap().values, [text("novo")]);
}

/// Texts of a type, valid or nearly so.
fn spelling_of(ty: &str) -> BoxedStrategy<String> {
    match ty {
        "numeric" => prop_oneof![
            "[-+]?[0-9]{0,20}[.]?[0-9]{0,20}(e[-+]?[0-9]{1,2})?",
            "[-+]?[0-9]{1,3}e[-+]?(1310[67][0-9]|1638[0-9])",
            "-?0{0,5}[.]0{0,9}[1-9]e[0-9]{1,3}",
            "-?[1-9]0{0,9}[.]?0{0,9}",
        ]
        .boxed(),
        "date" => prop_oneof![
            "(19|20)[0-9]{2}-[01][0-9]-[0-3][0-9]",
            "[0-9]{4,7}-(0[1-9]|1[0-2])-([0-2][0-9]|3[01])( BC)?",
            "[0-9]{3}[048]-02-29( BC)?",
        ]
        .boxed(),
        "time" => "([01][0-9]|2[0-4]):[0-6][0-9](:[0-6][0-9]([.][0-9]{1,7})?)?".boxed(),
        "timetz" => "([01][0-9]|2[0-4]):[0-5][0-9](:[0-6][0-9]([.][0-9]{1,6})?)?(Z|[-+][01][0-9](:[0-6][0-9]){0,2})".boxed(),
        "interval" => prop_oneof![
            "-?[0-9]{1,4} years? [-+][0-9]{1,3} mons? [-+]?[0-9]{1,5} days? [-+]?[0-9]{1,3}:[0-5][0-9]:[0-5][0-9]([.][0-9]{1,6})?",
            "-?[0-9]{1,9} (days?|mons?|hours?|secs?|us|weeks?)( ago)?",
            "P[0-9]{1,2}Y[0-9]{1,2}M[0-9]{1,2}DT[0-9]{1,2}H",
        ]
        .boxed(),
        "inet" => prop_oneof![
            "[0-9]{1,3}[.][0-9]{1,3}[.][0-9]{1,3}[.][0-9]{1,3}(/[0-9]{1,2})?",
            "(0|1|a|ffff)(:(0|0|2|ffff)){7}(/[0-9]{1,3})?",
            "(1:){0,3}:(2:){0,2}[0-9a-f]{1,4}",
            "::(ffff:)?[0-9]{1,2}[.]1[.]2[.]3",
        ]
        .boxed(),
        "cidr" => prop_oneof![
            "(10|172)[.](1|64)[.](0|64)[.]0(/(8|1[6-9]|2[0-9]|33))?",
            "[0-9a-f]{1,4}:[0-9a-f]{1,4}::/(31|32|48|64|129)",
        ]
        .boxed(),
        "uuid" => "[{]?[0-9a-fA-F]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}[}]?".boxed(),
        "json" => prop_oneof![
            r#"[\[{"]?("[ab]"|[0-9.e-]{1,4}|null|true)([,:]("a"|1|\[\]))?[\]}"]?"#,
            r#"\{("[a-z]{0,2}":( |\t)?(-?[1-9][0-9]{0,3}|true|"\\u00e9"|\[1,2\]),){0,3}"z":null\}"#,
        ]
        .boxed(),
        "jsonb" => r#"(\{"a":-?[0-9]{1,3}([.][0-9]{1,3})?\}|\["[ -~&&[^"\\]]{0,5}"\]|null)"#.boxed(),
        "text[]" => vec(vec(proptest::option::of("[ -~é\n{}\",\\\\]{0,6}|NULL"), 2), 1..3)
            .prop_map(|rows| serde_json::to_string(&rows).unwrap())
            .boxed(),
        "integer[]" => vec(proptest::option::of(any::<i32>()), 0..5).prop_map(|row| serde_json::to_string(&row).unwrap()).boxed(),
        "double precision[]" => vec(any::<f64>().prop_filter("JSON has it", |x| x.is_finite()), 0..4)
            .prop_map(|row| serde_json::to_string(&row).unwrap())
            .boxed(),
        _ => select(vec!["aberto", "pago \"já\"", "o'k", ""]).prop_map(str::to_owned).boxed(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_text_that_fits_is_taken_and_comes_back_as_postgres_spells_it() {
    let scalars = ["numeric", "date", "time", "timetz", "interval", "inet", "cidr", "uuid", "json", "jsonb", "estado"];
    let arrays = ["text[]", "integer[]", "double precision[]"];
    let called = Called::new(&echoes(scalars.into_iter().chain(arrays))).await;
    let here = Handle::current();
    for ty in scalars.into_iter().chain(arrays) {
        let eco = called.describe(&echo(ty)).await;
        let config = ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() };
        let (mut fitted, mut refused) = (0, 0);
        let property = |value: String| {
            let fits = eco.check(&[of(ty, &value)]).is_ok();
            let array = ty.ends_with("[]");
            let (theirs, ours) = here.block_on(async {
                let sql = match array {
                    true => format!("SELECT {}::jsonb", literal(&value)),
                    false => format!("SELECT {}::{ty}", literal(&value)),
                };
                (called.spelled(&sql).await, called.pool.call(&eco, vec![of(ty, &value)]).await)
            });
            match (fits, theirs, ours) {
                (true, Ok(theirs), Ok(rows)) if array => {
                    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
                    let [Value::Json(ours)] = rows.values.as_slice() else { panic!("{rows:?}") };
                    let sent: serde_json::Value = json(&value);
                    prop_assert!(json(ours) == sent, "{} came back as {}; {:?}", value, ours, theirs);
                }
                (true, Ok(theirs), Ok(rows)) => prop_assert_eq!(rows.values, [of(ty, &theirs.unwrap())], "{}", value),
                // Of an interval only the letters are checked, and it may be too long.
                (true, Err(_), Err(_)) if ty == "interval" => {}
                (true, Err(error), _) => prop_assert!(false, "{ty} `{value}` fits, and Postgres refuses it: {error:?}"),
                (true, _, ours) => prop_assert!(false, "{ty} `{value}`: {ours:?}"),
                (false, ..) => {}
            }
            Ok(fits)
        };
        let mut runner = TestRunner::new(config);
        let strategy = spelling_of(ty);
        let outcome = tokio::task::block_in_place(|| {
            let counted = std::cell::RefCell::new((&mut fitted, &mut refused));
            runner.run(&strategy, |value| {
                let fits = property(value)?;
                let mut counted = counted.borrow_mut();
                if fits {
                    *counted.0 += 1
                } else {
                    *counted.1 += 1
                }
                Ok(())
            })
        });
        outcome.unwrap_or_else(|failed| panic!("{ty}: {failed}"));
        assert!(fitted > 40, "{ty}: only {fitted} of {} fitted", fitted + refused);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_is_long_only_when_it_is_spelled_is_bounded() {
    let called = Called::new(
        "CREATE FUNCTION longos() RETURNS SETOF numeric LANGUAGE sql AS 'SELECT 1e131000 FROM generate_series(1, 100)';
         CREATE FUNCTION longa() RETURNS numeric[] LANGUAGE sql AS 'SELECT array_agg(1e131000) FROM generate_series(1, 100)';
         CREATE FUNCTION longo() RETURNS numeric LANGUAGE sql AS 'SELECT 1e131071'",
    )
    .await;
    for (name, expected) in [("longos", None), ("longa", None), ("longo", Some(131_072))] {
        // A separate pool: a value that is too long costs the connection.
        let pool = Arc::new(Database::new(&called.database.target(), 1, &Metrics::new()));
        pool.start(Vec::new()).await.unwrap();
        match (pool.call(&called.describe(name).await, Vec::new()).await, expected) {
            (Err(Failure::Procedure { .. }), None) => {}
            (Ok(rows), Some(length)) => {
                assert!(matches!(&rows.values[..], [Value::Text(text)] if text.len() == length))
            }
            (outcome, _) => panic!("{name}: {outcome:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shapes_of_procedures_that_are_called() {
    let called = Called::new(
        "CREATE TABLE feito (x text);
         CREATE TYPE estado AS ENUM ('aberto', 'pago');
         CREATE TABLE pedidos (id integer, estado estado, total numeric(12, 2));
         INSERT INTO pedidos VALUES (1, 'aberto', 1), (2, 'pago', 2.5);
         CREATE FUNCTION nada(x text) RETURNS void LANGUAGE sql SECURITY DEFINER AS 'INSERT INTO feito VALUES (x)';
         CREATE FUNCTION nada_plpgsql(x text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
             AS 'BEGIN INSERT INTO feito VALUES (x); END';
         CREATE FUNCTION saidas(a integer, OUT b numeric, INOUT c date, OUT d estado) LANGUAGE sql
             AS $$SELECT a + 0.5, c + 1, 'pago'::estado$$;
         CREATE FUNCTION uma_saida(OUT quantos numeric) LANGUAGE sql AS 'SELECT 1.0';
         CREATE FUNCTION conjunto(n integer) RETURNS SETOF integer LANGUAGE sql AS 'SELECT generate_series(1, n)';
         CREATE FUNCTION estados() RETURNS SETOF estado LANGUAGE sql AS 'SELECT unnest(enum_range(NULL::estado))';
         CREATE FUNCTION tabela() RETURNS TABLE (\"dia do \"\"mês\"\"\" date, e estado) LANGUAGE sql
             AS $$SELECT date '2024-01-31', 'aberto'::estado$$;
         CREATE FUNCTION linhas() RETURNS SETOF pedidos LANGUAGE sql SECURITY DEFINER AS 'SELECT * FROM pedidos ORDER BY id'",
    )
    .await;
    for name in ["nada", "nada_plpgsql"] {
        let rows = called.call_by_name(name, vec![text(name)]).await;
        assert_eq!((rows.columns.len(), rows.values.len()), (0, 0));
    }
    assert_eq!(called.spelled("SELECT string_agg(x, ' ') FROM feito").await.unwrap().unwrap(), "nada nada_plpgsql");
    assert!(called.describe("nada").await.check_columns(&[]).is_ok());
    let message = called.describe("nada").await.check_columns(&["x".to_owned()]).unwrap_err();
    assert_eq!(message, "`nada` returns no columns, not x");

    for (name, arguments, columns, values) in [
        (
            "saidas",
            vec![Value::Integer(1), text("2024-02-28")],
            vec!["b", "c", "d"],
            vec![text("1.5"), text("2024-02-29"), text("pago")],
        ),
        ("uma_saida", vec![], vec!["quantos"], vec![text("1.0")]),
        ("conjunto", vec![Value::Integer(2)], vec!["conjunto"], vec![Value::Integer(1), Value::Integer(2)]),
        ("estados", vec![], vec!["estados"], vec![text("aberto"), text("pago")]),
        ("tabela", vec![], vec!["dia do \"mês\"", "e"], vec![text("2024-01-31"), text("aberto")]),
        (
            "linhas",
            vec![],
            vec!["id", "estado", "total"],
            vec![Value::Integer(1), text("aberto"), text("1.00"), Value::Integer(2), text("pago"), text("2.50")],
        ),
    ] {
        let rows = called.call_by_name(name, arguments).await;
        assert_eq!((rows.columns, rows.values), (columns.into_iter().map(str::to_owned).collect(), values), "{name}");
    }
    // A column that is added later does not disturb a call.
    let linhas = called.describe("linhas").await;
    called.database.execute("ALTER TABLE pedidos ADD COLUMN pontos point").await;
    assert_eq!(called.call(&linhas, vec![]).await.unwrap().values.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_with_a_default_may_be_left_out() {
    let called = Called::new(
        "CREATE FUNCTION soma(a integer, b numeric DEFAULT 10, c date DEFAULT '2024-01-01') RETURNS text
             LANGUAGE sql AS $$SELECT format('%s %s %s', a, b, c)$$;
         CREATE FUNCTION tudo(a integer DEFAULT 1) RETURNS integer LANGUAGE sql AS 'SELECT a'",
    )
    .await;
    let soma = called.describe("soma").await;
    for (arguments, expected) in [
        (vec![Value::Integer(1)], "1 10 2024-01-01"),
        (vec![Value::Integer(1), text("2.5")], "1 2.5 2024-01-01"),
        (vec![Value::Integer(1), text("2.5"), text("2024-02-29")], "1 2.5 2024-02-29"),
    ] {
        assert_eq!(called.call(&soma, arguments).await.unwrap().values, [text(expected)]);
    }
    assert_eq!(soma.check(&[]).unwrap_err(), "`soma` takes 1 to 3 arguments, 0 given");
    let four = [Value::Integer(1), Value::Null, Value::Null, Value::Null];
    assert_eq!(soma.check(&four).unwrap_err(), "`soma` takes 1 to 3 arguments, 4 given");
    assert!(soma.check(&[Value::Integer(1), text("x")]).unwrap_err().starts_with("argument 2 (b) of `soma`: "));
    assert_eq!(called.call_by_name("tudo", vec![]).await.values, [Value::Integer(1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_selects_an_overloaded_procedure_by_its_parameter_types() {
    let called = Called::new(
        "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$SELECT 'nada'$$;
         CREATE FUNCTION f(integer) RETURNS text LANGUAGE sql AS $$SELECT 'integer'$$;
         CREATE FUNCTION f(bigint, b integer DEFAULT 1) RETURNS text LANGUAGE sql AS $$SELECT 'bigint'$$;
         CREATE FUNCTION f(numeric(12,2)) RETURNS text LANGUAGE sql AS $$SELECT 'numeric'$$;
         CREATE TYPE estado AS ENUM ('aberto');
         CREATE DOMAIN contagem AS integer;
         CREATE FUNCTION f(estado) RETURNS estado LANGUAGE sql AS $$SELECT $1$$;
         CREATE FUNCTION f(contagem) RETURNS text LANGUAGE sql AS $$SELECT 'contagem'$$;
         CREATE FUNCTION f(text[]) RETURNS text LANGUAGE sql AS $$SELECT 'text[]'$$;
         CREATE SCHEMA outro; GRANT USAGE ON SCHEMA outro TO galo;
         CREATE FUNCTION outro.f(date) RETURNS date LANGUAGE sql AS 'SELECT $1'",
    )
    .await;
    for (name, arguments, expected) in [
        ("f()", vec![], "nada"),
        ("f(integer)", vec![Value::Integer(1)], "integer"),
        ("f(int)", vec![Value::Integer(1)], "integer"),
        ("public.f( bigint , int4 )", vec![Value::Integer(1), Value::Integer(2)], "bigint"),
        ("f(numeric(12,2))", vec![text("1")], "numeric"),
        ("f(estado)", vec![text("aberto")], "aberto"),
        ("f(contagem)", vec![Value::Integer(1)], "contagem"),
        ("f(text[])", vec![json("[]")], "text[]"),
        ("outro.f(date)", vec![text("2024-01-01")], "2024-01-01"),
        ("outro.f", vec![text("2024-01-01")], "2024-01-01"),
    ] {
        assert_eq!(called.call_by_name(name, arguments).await.values, [text(expected)], "{name}");
    }
    // With an argument left out, the call would mean another one of them.
    let bigint = called.describe("f(bigint, integer)").await;
    assert!(bigint.check(&[Value::Integer(1)]).unwrap_err().contains("takes 2 arguments, 1 given"));
    let all = "`f()`, `f(bigint, integer)`, `f(contagem)`, `f(estado)`, `f(integer)`, `f(numeric)`, `f(text[])`";
    assert_eq!(called.refusal("f").await, format!("the procedure `f` is overloaded: grant one of {all}"));
    assert_eq!(called.refusal("f(text)").await, format!("the database has no procedure `f(text)`; there are {all}"));
    assert_eq!(
        called.refusal("f(inteiro)").await,
        "`f(inteiro)` names the type `inteiro`, which the database does not have"
    );
    assert_eq!(called.refusal("g(integer)").await, "the database has no procedure `g(integer)`");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsupported_procedure_is_refused_with_the_remedy() {
    let called = Called::new(
        "CREATE TYPE endereco AS (rua text, numero integer);
         CREATE FUNCTION muito(a endereco, b integer, c endereco[], caixas box[]) RETURNS TABLE (x integer, y endereco)
             LANGUAGE sql AS 'SELECT 1, a';
         CREATE FUNCTION qualquer(a anyelement, b anyarray) RETURNS integer LANGUAGE sql AS 'SELECT 1';
         CREATE FUNCTION registro() RETURNS record LANGUAGE sql AS 'SELECT 1, 2';
         CREATE FUNCTION gatilho() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
         CREATE FUNCTION varios(VARIADIC x integer[]) RETURNS integer LANGUAGE sql AS 'SELECT 1';
         CREATE PROCEDURE faz() LANGUAGE sql AS '';
         CREATE AGGREGATE agrega(integer) (SFUNC = int4pl, STYPE = integer)",
    )
    .await;
    for (name, expected) in [
        (
            "muito",
            "`muito` has a parameter 1 `a` of type endereco, which the contract has no value for: take its fields as parameters of \
             their own, or one jsonb; a parameter 3 `c` of type endereco[], which the contract has no value for: take it as text or \
             jsonb; a parameter 4 `caixas` of type box[], which the contract has no value for: take it as text or jsonb; a column \
             `y` of type endereco, which the contract has no value for: return its fields as columns of their own, or to_jsonb of it",
        ),
        (
            "qualquer",
            "`qualquer` has a parameter 1 `a` of type anyelement, which the contract has no value for: it is polymorphic, so grant a \
             function with the types themselves; a parameter 2 `b` of type anyarray, which the contract has no value for: it is \
             polymorphic, so grant a function with the types themselves",
        ),
        (
            "registro",
            "`registro` has a result of type record, which the contract has no value for: declare what it is made of, as in RETURNS \
             TABLE (x integer)",
        ),
        (
            "gatilho",
            "`gatilho` has a result of type trigger, which the contract has no value for: no value is of this type",
        ),
        ("varios", "`varios` is variadic: grant a function that takes an array"),
        (
            "faz",
            "`faz` is not a plain function but a procedure, which returns no rows; make it a function, which may return void",
        ),
        ("agrega", "`agrega` is not a plain function but an aggregate; make a function that selects it"),
        (
            "pg_catalog.row_number",
            "`pg_catalog.row_number` is not a plain function but a window function; make a function that selects it",
        ),
    ] {
        assert_eq!(called.refusal(name).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_carries_the_same_types_as_a_call_by_itself() {
    const SQL: &str = "
        CREATE TYPE estado AS ENUM ('aberto', 'pago \"já\"');
        CREATE DOMAIN preco AS numeric(12, 2) CHECK (VALUE >= 0);
        CREATE FUNCTION um(id uuid, a numeric, b date, c estado, d jsonb, e interval, f inet, g preco, h text, i integer,
                OUT id2 uuid, OUT a2 numeric, OUT b2 date, OUT c2 estado, OUT d2 jsonb, OUT e2 interval, OUT f2 inet,
                OUT g2 preco, OUT h2 text, OUT i2 integer[], OUT por text)
            LANGUAGE sql AS 'SELECT id, a, b, c, d, e, f, g, h, ARRAY[i], ''um''';
        CREATE FUNCTION muitos(ordinals integer[], id uuid[], a numeric[], b date[], c estado[], d jsonb[], e interval[], f inet[], g preco[],
                h text[], i integer[])
            RETURNS TABLE (ordinal integer, id2 uuid, a2 numeric, b2 date, c2 estado, d2 jsonb, e2 interval, f2 inet, g2 preco, h2 text,
                i2 integer[], por text)
            LANGUAGE sql AS 'SELECT ordinals[n], x.*, ARRAY[y.i], ''muitos'' FROM unnest(id, a, b, c, d, e, f, g, h) WITH ORDINALITY
                AS z(id, a, b, c, d, e, f, g, h, n) JOIN unnest(i) WITH ORDINALITY AS y(i, n) USING (n),
                LATERAL (SELECT z.id, z.a, z.b, z.c, z.d, z.e, z.f, z.g, z.h) AS x ORDER BY n';
        CREATE FUNCTION lista(id integer, x integer[], OUT y integer) LANGUAGE sql AS 'SELECT 1';
        CREATE FUNCTION listas(ordinals integer[], id integer[], x integer[]) RETURNS TABLE (ordinal integer, y integer)
            LANGUAGE sql AS 'SELECT 1, 1';
        CREATE FUNCTION valor(id numeric, OUT y integer) LANGUAGE sql AS 'SELECT 1';
        CREATE FUNCTION valores(ordinals integer[], id numeric[]) RETURNS TABLE (ordinal integer, y integer)
            LANGUAGE sql AS 'SELECT 1, 1';
        CREATE FUNCTION nada(id integer) RETURNS void LANGUAGE sql AS '';
        CREATE FUNCTION nadas(id integer[]) RETURNS SETOF void LANGUAGE sql AS ''";
    let called = Called::new(SQL).await;
    let batch = |form: &str| Batch::new(form, "id");
    let um = Arc::new(called.pool.describe(&granted("um", Some(&batch("muitos")))).await.unwrap());
    let pool = Arc::new(Database::new(&called.database.target(), 1, &Metrics::new()));
    pool.start(vec![Arc::clone(&um)]).await.unwrap();
    let uuid = |n: i64| text(&format!("0190163d-8694-739b-aea5-{n:012}"));
    let arguments = |n: i64| {
        vec![
            uuid(n),
            text(&format!("{n}.50")),
            text("2024-02-29"),
            text("pago \"já\""),
            json(r#"{"a": "\"{x},\\"}"#),
            text("-1 days +00:00:01"),
            text("10.0.0.1/8"),
            Value::Integer(n),
            text("NULL"),
            Value::Integer(n),
        ]
    };
    let nulls = |n: i64| [vec![uuid(n)], vec![Value::Null; 9]].concat();
    let expected = |arguments: Vec<Value>, n: i64| {
        let mut row = arguments;
        let nothing = row[9] == Value::Null;
        row[9] = json(&if nothing { "[null]".to_owned() } else { format!("[{n}]") });
        if !nothing {
            row[7] = text(&format!("{n}.00"));
        }
        row
    };
    let (mut together, mut alone) = (0, 0);
    let begun = std::time::Instant::now();
    while together == 0 || alone == 0 {
        assert!(begun.elapsed() < PATIENCE, "{together} went together, {alone} alone");
        let calls = (0..20).map(|n| if n % 5 == 4 { nulls(n) } else { arguments(n) }).collect::<Vec<_>>();
        let calls = if together == 0 { calls } else { calls[..1].to_vec() };
        calls.iter().for_each(|arguments| um.check(arguments).unwrap());
        let outcomes =
            futures_util::future::join_all(calls.iter().map(|arguments| pool.call(&um, arguments.clone()))).await;
        for ((n, arguments), outcome) in (0..).zip(calls).zip(outcomes) {
            let mut row = outcome.unwrap().values;
            match row.pop() {
                Some(Value::Text(by)) if by == "muitos" => together += 1,
                _ => alone += 1,
            }
            assert_eq!(row, expected(arguments, n), "call {n}");
        }
    }
    for (procedure, form, expected) in [
        ("lista", "listas", "parameter 2 `x` is of type int4[], which does not travel in an array"),
        ("nada", "nadas", "what returns void has no batch form"),
        ("valor", "valores", "`valor` cannot be batched by `id`: a value of type numeric has several spellings"),
    ] {
        let refused = called.pool.describe(&granted(procedure, Some(&batch(form)))).await.unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn types_with_a_case_cost_no_cast() {
    let called = Called::new(
        "CREATE DOMAIN contagem AS integer; CREATE TYPE estado AS ENUM ('aberto');
         CREATE FUNCTION simples(a integer, b text, c contagem) RETURNS TABLE (x integer, y numeric, z date[])
             LANGUAGE sql AS 'SELECT 1, 2.5, NULL::date[]';
         CREATE FUNCTION cara(a estado) RETURNS TABLE (x integer, y estado, z contagem[])
             LANGUAGE sql AS 'SELECT 1, a, ARRAY[1]::contagem[]'",
    )
    .await;
    for (name, arguments, sent) in [
        (
            "simples",
            vec![Value::Integer(1), text(""), Value::Integer(1)],
            r#"SELECT * FROM "public"."simples"($1, $2, $3)"#,
        ),
        (
            "cara",
            vec![text("aberto")],
            "SELECT r.c0 AS \"x\", r.c1::pg_catalog.text AS \"y\", r.c2::\"pg_catalog\".\"int4\"[] AS \"z\" \
             FROM \"public\".\"cara\"($1) AS r(c0, c1, c2)",
        ),
    ] {
        called.call_by_name(name, arguments).await;
        let sql = "SELECT query FROM pg_stat_activity WHERE datname = current_database() AND usename = 'galo'";
        let queries = called.owner.query(sql, &[]).await.unwrap();
        let queries: Vec<String> = queries.iter().map(|row| row.get(0)).collect();
        assert!(queries.iter().any(|query| query.split(" WHERE CASE").next() == Some(sent)), "{queries:#?}");
    }
}

/// The schema of an ordinary application: keys, prices, states, dates, labels, documents.
const LOJA: &str = "
    CREATE TYPE status AS ENUM ('aberto', 'pago', 'cancelado');
    CREATE DOMAIN preco AS numeric(12, 2) CHECK (VALUE >= 0);
    CREATE TABLE pedidos (
        id uuid PRIMARY KEY, status status NOT NULL DEFAULT 'aberto', total preco NOT NULL, itens bigint NOT NULL,
        etiquetas text[] NOT NULL DEFAULT '{}', dados jsonb, vencimento date, prazo interval, criado timestamptz NOT NULL
    );
    CREATE FUNCTION pedir(id uuid, total preco, itens bigint, etiquetas text[], dados jsonb, vencimento date,
            prazo interval, criado timestamptz, status status DEFAULT 'aberto')
        RETURNS void LANGUAGE sql SECURITY DEFINER AS
        'INSERT INTO pedidos (id, total, itens, etiquetas, dados, vencimento, prazo, criado, status)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)';
    CREATE FUNCTION pedidos_de(status) RETURNS SETOF pedidos LANGUAGE sql SECURITY DEFINER AS
        'SELECT * FROM pedidos p WHERE p.status = $1 ORDER BY id';
    CREATE FUNCTION pedidos_de(desde date, ate date) RETURNS SETOF pedidos LANGUAGE sql SECURITY DEFINER AS
        'SELECT * FROM pedidos WHERE vencimento BETWEEN desde AND ate ORDER BY id';
    CREATE FUNCTION resumo() RETURNS TABLE (itens numeric, total numeric, media numeric, ultimo date, por_status jsonb)
        LANGUAGE sql SECURITY DEFINER AS
        'SELECT sum(itens), sum(total), avg(itens), max(vencimento), jsonb_object_agg(status, 1) FROM pedidos';
    CREATE FUNCTION limpar() RETURNS void LANGUAGE sql SECURITY DEFINER AS 'DELETE FROM pedidos'";

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_as_applications_have_it_is_served() {
    let called = Called::new(LOJA).await;
    let pedir = called.describe("pedir").await;
    let id = "0190163d-8694-739b-aea5-966c26f8ad91";
    let arguments = |id: &str, rest: &[Value]| {
        let all = vec![
            text(id),
            text("1999.90"),
            Value::Integer(3),
            json(r#"["novo", "à vista"]"#),
            json(r#"{"obs": "ok"}"#),
            text("2024-02-29"),
            text("30 days"),
            Value::Timestamp(1_705_458_881_217_753),
        ];
        [all, rest.to_vec()].concat()
    };
    assert!(called.call(&pedir, arguments(id, &[])).await.unwrap().values.is_empty());
    let other = "0190163d-8694-739b-aea5-966c26f8ad92";
    called.call(&pedir, arguments(other, &[text("pago")])).await.unwrap();
    let row = |id: &str, status: &str| {
        vec![
            text(id),
            text(status),
            text("1999.90"),
            Value::Integer(3),
            json(r#"["novo","à vista"]"#),
            json(r#"{"obs": "ok"}"#),
            text("2024-02-29"),
            text("30 days"),
            Value::Timestamp(1_705_458_881_217_753),
        ]
    };
    let rows = called.call_by_name("pedidos_de(status)", vec![text("pago")]).await;
    assert_eq!((rows.columns[1].as_str(), rows.values), ("status", row(other, "pago")));
    let between = vec![text("2024-02-29"), text("2024-03-01")];
    let rows = called.call_by_name("pedidos_de(date, date)", between).await;
    assert_eq!(rows.values, [row(id, "aberto"), row(other, "pago")].concat());
    let rows = called.call_by_name("resumo", vec![]).await;
    let [sum, total, mean, last] = ["6", "3999.80", "3.0000000000000000", "2024-02-29"].map(text);
    assert_eq!(rows.values, [sum, total, mean, last, json(r#"{"pago": 1, "aberto": 1}"#)]);

    // Through a node as well, as a whole.
    let guests = Guests::new()
        .add("resumo", &calling("resumo"), "procedures = [\"resumo\"]")
        .add("limpar", &calling("limpar"), "procedures = [\"limpar\"]")
        .add("pagos", &calling_with("pedidos_de(status)", "pago"), "procedures = [\"pedidos_de(status)\"]");
    let node = TestNode::guests(&called.database, &guests).await;
    for path in ["/resumo", "/pagos", "/limpar"] {
        assert_eq!(node.get(path).await.status, 200, "{path}");
    }
    assert_eq!(called.spelled("SELECT count(*) FROM pedidos").await.unwrap().unwrap(), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_of_the_wrong_spelling_is_the_guests_fault_and_named() {
    let database = TestDatabase::new().await;
    database
        .execute(
            "CREATE TABLE feito (x int);
             CREATE FUNCTION prazo(vencimento date) RETURNS void LANGUAGE sql SECURITY DEFINER AS 'INSERT INTO feito VALUES (1)'",
        )
        .await;
    let guests = Guests::new().add("certo", &calling_with("prazo", "2024-12-31"), "procedures = [\"prazo\"]").add(
        "errado",
        &calling_with("prazo", "31/12/2024"),
        "procedures = [\"prazo\"]",
    );
    let node = tokio::task::block_in_place(|| Program::serve(&database, guests.folder.path()));
    assert_eq!(request(&node.listen, Method::GET, "/errado", "").await.status, 500);
    let line = tokio::task::block_in_place(|| node.wait_for("guest faulted handler=\"errado\""));
    assert!(line.contains("argument 1 (vencimento) of `prazo`: a text does not fit date: expected a date"), "{line}");
    assert_eq!(request(&node.listen, Method::GET, "/certo", "").await.status, 200);
    let done: i64 = database.owner().await.query_one("SELECT count(*) FROM feito", &[]).await.unwrap().get(0);
    assert_eq!(done, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_change_places_keep_their_names() {
    // Given a function whose columns are read with casts, when it is recreated with these in another order, then no
    // value is returned under the name of another.
    let database = TestDatabase::new().await;
    let create = |columns: &str, values: &str| {
        format!("CREATE FUNCTION f() RETURNS TABLE ({columns}) LANGUAGE sql AS $$SELECT {values}$$")
    };
    let first = create("estado st, tipo text", "'a'::st, 'x'");
    database.execute(&format!("CREATE TYPE st AS ENUM ('a'); {first}")).await;
    let pool = Arc::new(Database::new(&database.target(), 1, &Metrics::new()));
    let procedure = Arc::new(pool.describe(&granted("f", None)).await.unwrap());
    pool.start(vec![Arc::clone(&procedure)]).await.unwrap();
    let rows = pool.call(&procedure, vec![]).await.unwrap();
    assert_eq!((rows.columns.join(" "), rows.values), ("estado tipo".to_owned(), vec![text("a"), text("x")]));
    let second = create("tipo text, estado st", "'x', 'a'::st");
    database.execute(&format!("BEGIN; DROP FUNCTION f(); {second}; COMMIT")).await;
    let rows = pool.call(&procedure, vec![]).await.unwrap();
    assert_eq!((rows.columns.join(" "), rows.values), ("tipo estado".to_owned(), vec![text("x"), text("a")]));
}
