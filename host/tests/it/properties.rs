//! Properties of everything that comes from outside, tested on generated texts: request lines, headers, manifests,
//! examples, database URLs, values in both directions, and what a guest returns.
//!
//! The same parsers are fuzzed in `host/fuzz`; inputs that failed there are cases here.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use galo::admin::{Components, Gate};
use galo::config::{Readers, Secret, Token};
use galo::contract::{Field, Response, Value};
use galo::database::Target;
use galo::database::value::{self, Argument, Returned};
use galo::example::Example;
use galo::failure::{Failure, Phase};
use galo::limits::ClientTimeouts;
use galo::place::Place;
use galo::route::{Route, Routes};
use galo::token::{Algorithm, Keys, Policy, Verifier};
use galo::wire::{Incoming, Messages, Outgoing, Taken};
use galo::{limits, listen, manifest, wire};
use http::Method;
use http::header::AUTHORIZATION;
use http_body_util::Full;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{Format, FromSql as _, IsNull, ToSql as _, Type};

/// No file is written beside the sources: a failure prints the case, which then becomes a test of its own.
pub fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// A valid text with some of its bytes changed, removed or inserted.
pub fn damaged(text: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let edit = (any::<Index>(), 0..3_u8, any::<u8>());
    vec(edit, 0..8).prop_map(move |edits| {
        let mut bytes = text.as_bytes().to_vec();
        for (index, what, byte) in edits {
            match (index.index(bytes.len().max(1)), what) {
                (at, 0) if at < bytes.len() => bytes[at] = byte,
                (at, 1) if at < bytes.len() => drop(bytes.remove(at)),
                (at, _) => bytes.insert(at.min(bytes.len()), byte),
            }
        }
        bytes
    })
}

// ---- request line and path ---------------------------------------------------------------------------------------

fn segment() -> impl Strategy<Value = &'static str> {
    select(vec!["a", "b", "{x}", "{y}"])
}

fn route() -> impl Strategy<Value = String> {
    let method = select(vec!["GET", "POST"]);
    (method, vec(segment(), 1..4)).prop_map(|(method, segments)| format!("{method} /{}", segments.join("/")))
}

fn path() -> impl Strategy<Value = String> {
    let segment = select(vec!["a", "b", "c", "", "%61", "%C3%A7", "%ff", "%2F", "%", "{x}", "*"]);
    vec(segment, 0..5).prop_map(|segments| format!("/{}", segments.join("/")))
}

/// What the radix tree must return, found by trying every route.
fn found<'a>(routes: &'a [Route], method: &Method, path: &str) -> Result<(&'a Route, Vec<String>), u16> {
    let matches = routes.iter().filter_map(|route| Some((shape(route), route, matched(route, path)?)));
    // A literal segment wins over a parameter, from the left.
    let best = matches.clone().map(|(shape, ..)| shape).min().ok_or(404_u16)?;
    let mut best = matches.filter(|(shape, ..)| *shape == best);
    let (_, route, values) = best.find(|(_, route, _)| route.method() == *method).ok_or(405_u16)?;
    let decoded = values.iter().map(|value| percent_decode_str(value).decode_utf8().map(String::from));
    Ok((route, decoded.collect::<Result<_, _>>().map_err(|_| 404_u16)?))
}

/// Whether each segment is a parameter, and its text if it is not.
fn shape(route: &Route) -> Vec<(bool, String)> {
    let text = route.to_string();
    let (_, path) = text.split_once(" /").unwrap();
    let shape = path.split('/').map(|segment| match segment.starts_with('{') {
        true => (true, String::new()),
        false => (false, segment.to_owned()),
    });
    shape.collect()
}

fn matched(route: &Route, path: &str) -> Option<Vec<String>> {
    let segments: Vec<_> = path.strip_prefix('/')?.split('/').collect();
    let shape = shape(route);
    let fits = shape.len() == segments.len()
        && shape.iter().zip(&segments).all(|((is_parameter, literal), segment)| match is_parameter {
            true => !segment.is_empty(),
            false => literal == segment,
        });
    let values = shape.iter().zip(&segments).filter(|((is_parameter, _), _)| *is_parameter);
    fits.then(|| values.map(|(_, segment)| (*segment).to_owned()).collect())
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn a_path_finds_what_trying_every_route_finds(
        texts in vec(route(), 1..6),
        paths in vec(path(), 1..8),
    ) {
        let routes: Vec<_> = texts.iter().filter_map(|text| text.parse::<Route>().ok()).collect();
        let Ok(tree) = Routes::new(routes.iter().map(|route| (route.clone(), route.clone()))) else { return Ok(()) };
        for (path, method) in paths.iter().flat_map(|path| [(path, Method::GET), (path, Method::POST)]) {
            let expected = found(&routes, &method, path);
            let actual = tree.find(&method, path).map_err(|failure| failure.status().as_u16());
            let actual = actual.map(|(route, fields)| {
                (route, fields.into_iter().map(|field| field.value).collect::<Vec<_>>())
            });
            prop_assert_eq!(actual, expected, "{} {} in {:?}", method, path, texts);
        }
    }

    #[test]
    fn no_path_makes_the_search_panic_or_grow(path in "[/%a-fA-F0-9{}*:.?#\u{0}-\u{ff}]{0,64}") {
        let routes = ["GET /a/{x}", "POST /a/{y}/b", "GET /{z}"].map(|text| (text.parse::<Route>().unwrap(), ()));
        match Routes::new(routes).unwrap().find(&Method::GET, &path) {
            Ok(((), fields)) => prop_assert!(fields.iter().all(|field| field.value.len() <= path.len())),
            Err(failure) => {
                let expected = matches!(failure, Failure::NotFound | Failure::MethodNotAllowed { .. });
                prop_assert!(expected, "{failure}");
            }
        }
    }

    #[test]
    fn a_route_is_refused_or_written_as_it_was_read(text in "(GET|POST|get|) ?(/[a-z{}%*._-]{0,6}){0,4}.{0,3}") {
        if let Ok(route) = text.parse::<Route>() {
            prop_assert_eq!(route.to_string(), text);
        }
    }
}

// ---- the head of a request ---------------------------------------------------------------------------------------

const BODY_BYTES_MAX: usize = 64;

/// Answers with the body that was read.
async fn echo(incoming: Incoming, checked: Result<(), Failure>) -> Outgoing {
    if let Err(failure) = checked {
        return wire::failed(&failure, Messages::plain());
    }
    let (head, body) = incoming.into_parts();
    let taken = Taken {
        method: &Method::POST,
        route: &"POST /".into(),
        headers: &[],
        body_bytes_max: BODY_BYTES_MAX,
        config: &[].into(),
        id: String::new(),
        claims: None,
    };
    match wire::read(&head, body, Vec::new(), taken).await {
        Ok(request) => http::Response::new(Full::new(Bytes::from(request.body))),
        Err(failure) => wire::failed(&failure, Messages::plain()),
    }
}

/// The answer of a listener's connection to a client that sends these bytes and disconnects.
fn exchanged(bytes: &[u8]) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let (mut client, server) = tokio::io::duplex(limits::HEAD_BYTES_MAX);
        let place = Arc::new(Place::new(Instant::now(), ClientTimeouts::default()));
        let served = tokio::spawn(async move { listen::exchange(server, &place, echo).await });
        client.write_all(bytes).await.ok();
        client.shutdown().await.ok();
        let mut answered = Vec::new();
        client.read_to_end(&mut answered).await.ok();
        served.await.unwrap();
        answered
    })
}

const CHUNKED: &str = "POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
const SIZED: &str =
    "POST /a?b HTTP/1.1\r\nHost: a:1\r\ncontent-length: 3\r\nexpect: 100-continue\r\n\r\nabcGET / HTTP/1.1\r\n\r\n";

proptest! {
    #![proptest_config(cases(256))]

    /// The client is gone by the time of the answer, so the answer is often empty; it is never anything but HTTP.
    #[test]
    fn no_bytes_of_a_client_end_its_connection_but_with_an_answer(
        bytes in prop_oneof![damaged(CHUNKED), damaged(SIZED), vec(any::<u8>(), 0..64)],
    ) {
        let answered = exchanged(&bytes);
        prop_assert!(answered.is_empty() || answered.starts_with(b"HTTP/1."), "{answered:?}");
    }

    /// Without the token only the probes are answered, whatever else is sent.
    #[test]
    fn no_header_opens_the_admin_address(
        path in "/[a-z/]{0,12}",
        values in vec(("(authorization|host|origin|sec-fetch-site|cookie)", "(Bearer |bearer )?[ -~]{0,24}"), 0..5),
    ) {
        const TOKEN: &str = "0123456789abcdef";
        let token = Some(Token::new(TOKEN).unwrap());
        let gate = Gate { address: "127.0.0.1:1".parse().unwrap(), token, readers: Readers::Guarded, components: Components::Any };
        let mut request = http::Request::get(&path);
        for (name, value) in &values {
            request = request.header(name, value);
        }
        let Ok(request) = request.body(()) else { return Ok(()) };
        let shown = request.headers().get_all(AUTHORIZATION).iter().any(|value| value.as_bytes().ends_with(TOKEN.as_bytes()));
        if !shown && path != "/live" && path != "/ready" {
            prop_assert!(gate.pass(&request).is_err());
        }
    }
}

// ---- files of the handlers' folder -------------------------------------------------------------------------------

const MANIFEST: &str = r#"
[[handler]]
name = "transacoes"
component = "transacoes.wasm"
route = "POST /clientes/{id}/transacoes"
headers = ["Idempotency-Key"]
procedures = ["realizar_transacao", "cliente_existe"]
limits = { deadline_ms = 20, body_bytes_max = 100, probation_calls = 1 }

[[handler]]
name = "extrato"
component = "extrato.wasm"
route = "GET /clientes/{id}/extrato"
"#;

const EXAMPLE: &str = r#"{
  "about": "x",
  "request": {"path": "/clientes/1/transacoes?a=b", "headers": {"a": "b"}, "body": {"valor": 1}},
  "plan": {"call": {"procedure": "p", "arguments": [1, null, 1.5, "x", {"base64": "AA=="}], "carry": "c"}},
  "rows": {"columns": ["a"], "values": [[{"timestamp": "2024-01-17T02:34:41.217753Z"}]]},
  "response": {"status": 200, "headers": {"content-type": "application/json"}, "body": {"a": 1}}
}"#;

fn is_within_limits(text: &str) -> Result<(), TestCaseError> {
    match manifest::parse(Path::new("h/galo.toml"), text) {
        Ok(manifest) => {
            let mut names: Vec<_> = manifest.handlers.iter().map(|entry| entry.name.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            prop_assert_eq!(names.len(), manifest.handlers.len(), "a name appears twice");
            for entry in &manifest.handlers {
                let limits = &entry.limits;
                prop_assert!((1..=limits::BODY_BYTES_CEILING).contains(&limits.body_bytes_max));
                prop_assert!((1..=limits::MEMORY_BYTES_CEILING).contains(&limits.memory_bytes_max));
                prop_assert!(!limits.deadline.is_zero() && limits.deadline <= limits::DEADLINE_CEILING);
                prop_assert!((1..=limits::REPLY_BYTES_CEILING).contains(&limits.reply_bytes_max));
                let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
                prop_assert!(!entry.name.is_empty() && entry.name.chars().all(plain), "{}", entry.name);
            }
        }
        Err(refused) => prop_assert!(!refused.mistakes.is_empty() && refused.to_string().starts_with("h/galo.toml:")),
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn a_damaged_manifest_is_refused_or_within_the_limits(bytes in damaged(MANIFEST)) {
        is_within_limits(&String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn no_text_makes_the_manifest_panic(text in "(\\[\\[?[a-z.]{0,8}\\]?\\]|[a-z]{1,5} ?= ?.{0,12}|\"|\n|.){0,12}") {
        is_within_limits(&text)?;
    }

    #[test]
    fn a_damaged_example_is_refused_with_its_file(bytes in damaged(EXAMPLE)) {
        if let Err(refused) = Example::parse(PathBuf::from("h/x/examples/a.json"), &bytes) {
            prop_assert!(format!("{refused:#}").starts_with("h/x/examples/a.json: "), "{refused:#}");
        }
    }
}

// ---- tokens ------------------------------------------------------------------------------------------------------

/// RFC 7515, A.2: a set of keys, and a token that one of them signed.
const KEYS: &str = r#"{ "keys": [{ "kty": "RSA", "e": "AQAB", "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ" }] }"#;
const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
/// A moment before it expires.
const BEFORE: i64 = 1_300_819_379_000_000;

fn verifier(keys: Keys) -> Result<Verifier, String> {
    let policy = Policy { algorithms: vec![Algorithm::RS256], audiences: Vec::new(), issuer: Some("joe".to_owned()) };
    Verifier::new(policy, keys)
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn only_the_token_that_was_signed_is_accepted(bytes in damaged(TOKEN)) {
        let text = String::from_utf8_lossy(&bytes);
        let verifier = verifier(Keys::public(KEYS.as_bytes()).unwrap()).unwrap();
        prop_assert_eq!(verifier.claims(&text, BEFORE).is_ok(), text == TOKEN, "{}", text);
    }

    #[test]
    fn no_text_makes_the_token_panic(header in "\\PC{0,30}", claims in "\\PC{0,30}", signature in "[A-Za-z0-9_-]{0,40}") {
        let verifier = verifier(Keys::public(KEYS.as_bytes()).unwrap()).unwrap();
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        for header in [header.as_str(), r#"{"alg":"RS256"}"#, r#"{"alg":"none"}"#] {
            let token = format!("{}.{}.{signature}", part(header), part(&claims));
            prop_assert!(verifier.claims(&token, BEFORE).is_err(), "{}", token);
        }
    }

    #[test]
    fn damaged_keys_never_make_the_host_panic(bytes in damaged(KEYS)) {
        if let Ok(verifier) = Keys::public(&bytes).and_then(verifier) {
            let _ = verifier.claims(TOKEN, BEFORE);
        }
    }
}

// ---- the database's address --------------------------------------------------------------------------------------

proptest! {
    #![proptest_config(cases(512))]

    /// The password appears in no message, whatever else is wrong with the URL.
    #[test]
    fn a_password_is_shown_nowhere(
        password in "[ -~]{1,4}hunter[0-9]{4}[ -~]{0,4}",
        rest in select(vec!["db:5433/rinha", "db", "", "db:x/y", "/", "a,b:1,2/x", "db/x?sslmode=require", "db/x?a=b", "[::1]/x"]),
        user in select(vec!["galo", "", "g%20"]),
    ) {
        let encoded = utf8_percent_encode(&password, NON_ALPHANUMERIC).to_string();
        let quoted = password.replace('\\', "\\\\").replace('\'', "\\'");
        for url in [
            format!("postgres://{user}:{encoded}@{rest}"),
            format!("postgresql://{rest}?user=galo&password={encoded}"),
            // Not escaped: it is used as it is, or refused.
            format!("postgres://{user}:{password}@{rest}"),
            format!("postgresql://{rest}?user=galo&password={password}"),
            format!("host=db user='{user}' password='{quoted}' dbname={}", rest.split('/').next().unwrap()),
        ] {
            let shown = match Target::parse(&Secret::new(&url)) {
                Ok(target) => format!("{target} {target:?}"),
                Err(mistake) => mistake,
            };
            prop_assert!(!shown.contains("hunter"), "{shown}");
        }
    }

    #[test]
    fn no_text_makes_the_url_panic(text in "(postgres(ql)?://|host=|user=|port=|sslmode=verify-full|ssl[a-z]{2,8}=|[a-z0-9:@/?&=%' ,\\\\\\[\\]]){0,12}.{0,8}") {
        let _ = Target::parse(&Secret::new(text)).map(|target| target.to_string());
    }
}

// ---- values, both ways -------------------------------------------------------------------------------------------

const TYPES: [Type; 28] = [
    Type::BOOL,
    Type::INT2,
    Type::INT4,
    Type::INT8,
    Type::FLOAT4,
    Type::FLOAT8,
    Type::TEXT,
    Type::VARCHAR,
    Type::BPCHAR,
    Type::NAME,
    Type::JSON,
    Type::JSONB,
    Type::UUID,
    Type::BYTEA,
    Type::TIMESTAMP,
    Type::TIMESTAMPTZ,
    Type::NUMERIC,
    Type::DATE,
    Type::TIME,
    Type::TIMETZ,
    Type::INTERVAL,
    Type::INET,
    Type::CIDR,
    Type::POINT,
    Type::INT4_ARRAY,
    Type::NUMERIC_ARRAY,
    Type::TEXT_ARRAY,
    Type::RECORD,
];

fn a_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Boolean),
        prop_oneof![any::<i64>(), -40_000..40_000_i64].prop_map(Value::Integer),
        any::<f64>().prop_map(Value::Float),
        "[\u{0}-\u{3}a-zç{}\":0-9-]{0,12}".prop_map(Value::Text),
        vec(any::<u8>(), 0..12).prop_map(Value::Bytes),
        // Within the range of Postgres's calendar.
        (-200_000_000_000_000_000..9_000_000_000_000_000_000_i64).prop_map(Value::Timestamp),
    ]
}

/// Types whose values are sent and returned in the same format. The others are sent as text and returned in binary.
fn returns(ty: &Type) -> bool {
    matches!(Argument(&Value::Null).encode_format(ty), Format::Binary)
}

proptest! {
    #![proptest_config(cases(1024))]

    #[test]
    fn a_value_that_fits_is_written_and_comes_back(value in a_value(), ty in select(TYPES.to_vec())) {
        let mut out = BytesMut::new();
        let written = Argument(&value).to_sql(&ty, &mut out);
        if value::check(&value, &ty).is_err() {
            return Ok(());
        }
        prop_assert!(value::supported(&ty));
        match written {
            Ok(IsNull::Yes) => prop_assert_eq!(value, Value::Null),
            Ok(IsNull::No) if returns(&ty) => {
                let back = Returned::from_sql(&ty, &out).map_err(|error| TestCaseError::fail(error.to_string()))?.0;
                match (&value, &back) {
                    (Value::Float(sent), Value::Float(back)) if ty == Type::FLOAT4 => {
                        #[expect(clippy::cast_possible_truncation, reason = "so does real")]
                        let sent = *sent as f32;
                        prop_assert!(f64::from(sent).to_bits() == back.to_bits() || sent.is_nan() && back.is_nan());
                    }
                    _ => prop_assert_eq!(&value, &back),
                }
            }
            Ok(IsNull::No) => {}
            Err(error) => prop_assert!(false, "{value:?} passed as {ty}, and was not written: {error}"),
        }
    }

    #[test]
    fn no_bytes_of_a_server_make_the_reader_panic(raw in vec(any::<u8>(), 0..40), ty in select(TYPES.to_vec())) {
        let numeric = matches!(ty, Type::NUMERIC | Type::NUMERIC_ARRAY);
        if let Ok(Returned(Value::Text(text))) = Returned::from_sql(&ty, &raw) {
            // A numeric has up to 131,072 digits before its point and 16,383 after it, however short its encoding is.
            let most = raw.len() * 10 + if numeric { 150_000 * raw.len() } else { 50 };
            prop_assert!(text.len() <= most, "{ty}: it grew to {} bytes", text.len());
        }
    }
}

// ---- what a guest returns ----------------------------------------------------------------------------------------

fn header() -> impl Strategy<Value = Field> {
    let name = prop_oneof![
        select(vec![
            "content-type",
            "X-A",
            "content-length",
            "Connection",
            "transfer-encoding",
            "date",
            "keep-alive",
            ""
        ])
        .prop_map(str::to_owned),
        "[a-zA-Z-]{1,12}",
        ".{0,4}",
    ];
    let value = prop_oneof!["[ -~]{0,16}", "[\r\n\u{0}-\u{ff}]{0,8}"];
    (name, value).prop_map(|(name, value)| Field { name, value })
}

proptest! {
    #![proptest_config(cases(1024))]

    /// Nothing that a guest returns can end the head early or change how the message is framed.
    #[test]
    fn a_guest_cannot_frame_a_message(
        status in prop_oneof![any::<u16>(), 200..600_u16],
        headers in vec(header(), 0..6),
        body in vec(any::<u8>(), 0..32),
    ) {
        let given = headers.clone();
        let response = Response { status, headers, body, log: Vec::new() };
        let Ok(outgoing) = wire::respond(response, Phase::Respond) else { return Ok(()) };
        prop_assert!((200..=599).contains(&outgoing.status().as_u16()));
        prop_assert!(outgoing.headers().len() <= given.len());
        for (name, value) in outgoing.headers() {
            let same = |field: &Field| field.name.eq_ignore_ascii_case(name.as_str()) && field.value.as_bytes() == value.as_bytes();
            prop_assert!(given.iter().any(same), "{name} is not the guest's");
            let framing = ["content-length", "connection", "transfer-encoding", "trailer", "upgrade", "date", "keep-alive"];
            prop_assert!(!framing.contains(&name.as_str()), "{name}");
            prop_assert!(!value.as_bytes().iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)), "{name}: {value:?}");
        }
    }
}
