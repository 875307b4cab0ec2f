//! Tokens of clients, on a whole node: which requests are served, what a handler learns of a token, and how keys and
//! secrets come and go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use galo::config::{Settings, Variables};
use galo::registry::{Stage, Table};
use galo::route::Routes;
use galo::serve;
use http::{Method, StatusCode};
use ring::hmac;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use crate::fixture::{Part, echoing};
use crate::harness::{Answer, Guests, TestDatabase, TestNode, engine, request_with, settings, until};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn encoded(header: &Value, claims: &Value) -> String {
    format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()))
}

pub fn by_secret(claims: &Value) -> String {
    let message = encoded(&json!({ "alg": "HS256" }), claims);
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), message.as_bytes());
    format!("{message}.{}", BASE64.encode(signature))
}

pub fn in_seconds(seconds: i64) -> i64 {
    jiff::Timestamp::now().as_second() + seconds
}

pub fn good() -> Value {
    json!({ "sub": "ana", "aud": "shop", "iss": "id", "exp": in_seconds(60) })
}

async fn get(node: &TestNode, path: &str, authorization: &[&str]) -> Answer {
    let headers: Vec<_> = authorization.iter().map(|value| ("authorization", *value)).collect();
    request_with(&node.address(), Method::GET, path, &headers).await
}

fn guests(section: &str) -> Guests {
    Guests::new()
        .add("required", &echoing(Part::Claims), "claims = \"required\"")
        .add("optional", &echoing(Part::Claims), "claims = \"optional\"")
        .add("never", &echoing(Part::Claims), section)
}

pub const SHARED: &str = "[token]\nsecret = { variable = \"SHOP_TOKEN_SECRET\" }\nalgorithms = [\"HS256\"]\naudiences = [\"shop\"]\nissuer = \"id\"\n";

pub fn with_secret(guests: &Guests) -> Settings {
    let mut settings = settings(guests.folder.path());
    settings.sources.variables = Variables::from_iter([("SHOP_TOKEN_SECRET".to_owned(), SECRET.to_owned())]);
    settings
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_gets_the_claims_of_a_good_token_and_any_other_is_a_401() {
    let database = TestDatabase::new().await;
    let guests = guests(SHARED);
    let node = TestNode::with(&database, with_secret(&guests)).await;
    let bearer = |claims: &Value| format!("Bearer {}", by_secret(claims));
    let claims = good();
    for path in ["/required", "/optional"] {
        let answer = get(&node, path, &[&bearer(&claims)]).await;
        assert_eq!((answer.status, answer.text()), (StatusCode::OK, &*claims.to_string()), "{path}");
    }
    let unsigned = format!("Bearer {}.", encoded(&json!({ "alg": "none" }), &claims));
    let other = format!("Bearer {}.AAAA", encoded(&json!({ "alg": "RS256" }), &claims));
    let changed = |name: &str, value: Value| {
        let mut claims = good();
        claims[name] = value;
        bearer(&claims)
    };
    let expired = changed("exp", json!(in_seconds(-60)));
    for refused in
        [&unsigned, &other, &expired, &changed("aud", json!("other")), &changed("iss", json!("other")), "Bearer x"]
    {
        for path in ["/required", "/optional"] {
            let answer = get(&node, path, &[refused]).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path} {refused}");
            assert_eq!(answer.text(), r#"{"error":"unauthorized"}"#);
            let challenge = answer.header("www-authenticate");
            assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
            assert_eq!(challenge.contains("the token has expired"), *refused == expired, "{challenge}");
        }
        // Nothing is verified for a handler that gets no claims.
        let answer = get(&node, "/never", &[refused]).await;
        assert_eq!((answer.status, answer.text()), (StatusCode::OK, ""));
    }
    let twice = get(&node, "/optional", &[&bearer(&claims), &bearer(&claims)]).await;
    assert_eq!(twice.status, StatusCode::UNAUTHORIZED);
    let absent = get(&node, "/required", &[]).await;
    assert_eq!(absent.status, StatusCode::UNAUTHORIZED);
    assert_eq!(absent.header("www-authenticate"), "Bearer realm=\"api\"");
    for none in [&[][..], &["Basic YTpi"]] {
        let answer = get(&node, "/optional", none).await;
        assert_eq!((answer.status, answer.text()), (StatusCode::OK, ""));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_is_verified_while_too_many_requests_are_in_flight() {
    // Given a node that admits one request, and one in flight, when a request has a token, then it is shed unverified;
    // when the other one has ended, then the token is refused, and its place is free again.
    let database = TestDatabase::new().await;
    let guests = guests(SHARED);
    let node = TestNode::with(&database, Settings { in_flight_max: 1, ..with_secret(&guests) }).await;
    let inner = &node.running.node;
    let held = inner.admission.admit().unwrap();
    for path in ["/required", "/optional"] {
        let answer = get(&node, path, &["Bearer a.b.c"]).await;
        assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, "1"), "{path}");
    }
    assert_eq!((inner.metrics.shed.get(), inner.metrics.in_flight.get()), (2, 1));
    // Without a token nothing is verified.
    assert_eq!(get(&node, "/required", &[]).await.status, StatusCode::UNAUTHORIZED);
    drop(held);
    for path in ["/required", "/optional"] {
        assert_eq!(get(&node, path, &["Bearer a.b.c"]).await.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    assert_eq!(inner.metrics.in_flight.get(), 0);
    assert_eq!(get(&node, "/required", &[&format!("Bearer {}", by_secret(&good()))]).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_verified_with_the_keys_of_the_table_that_has_its_route() {
    // Given a table with a route and keys, and one with neither, when they replace each other while requests with a
    // good token arrive, then none of them is refused for its token.
    let database = TestDatabase::new().await;
    let guests = guests(SHARED);
    let node = TestNode::with(&database, with_secret(&guests)).await;
    let registry = &node.running.node.registry;
    let whole = registry.table();
    let copy = || {
        let handlers = whole.handlers.clone();
        let routes = handlers.iter().flat_map(|handler| {
            let routes = handler.entry.routes.iter().enumerate();
            routes.map(move |(place, route)| (route.clone(), (Arc::clone(handler), place)))
        });
        let routes = Routes::new(routes).unwrap();
        Table {
            cors: None,
            messages: whole.messages.clone(),
            token: whole.token.clone(),
            routes,
            handlers,
            loaded: whole.loaded,
        }
    };
    let done = AtomicBool::new(false);
    let bearer = format!("Bearer {}", by_secret(&good()));
    let statuses = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                registry.replace(Table::empty());
                registry.replace(copy());
            }
        });
        let requests = async {
            let mut statuses = BTreeMap::<u16, usize>::new();
            for _ in 0..2_000 {
                *statuses.entry(get(&node, "/required", &[&bearer]).await.status.as_u16()).or_default() += 1;
            }
            statuses
        };
        let statuses = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(requests));
        done.store(true, Ordering::Relaxed);
        statuses
    });
    assert_eq!(statuses.keys().copied().collect::<Vec<_>>(), [200, 404], "{statuses:?}");
}

fn key(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

fn jwks(seeds: &[u8]) -> String {
    let keys = seeds.iter().map(|seed| {
        let x = BASE64.encode(key(*seed).public_key().as_ref());
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": seed.to_string(), "x": x })
    });
    json!({ "keys": keys.collect::<Vec<_>>() }).to_string()
}

fn signed(seed: u8) -> String {
    let message = encoded(&json!({ "alg": "EdDSA", "kid": seed.to_string() }), &json!({ "exp": in_seconds(60) }));
    format!("Bearer {message}.{}", BASE64.encode(key(seed).sign(message.as_bytes())))
}

async fn until_status(node: &TestNode, seed: u8, status: StatusCode) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while get(node, "/required", &[&signed(seed)]).await.status != status {
        assert!(std::time::Instant::now() < deadline, "the token of key {seed} is not answered with {status}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_keys_are_used_without_a_restart_and_broken_ones_change_nothing() {
    let database = TestDatabase::new().await;
    let guests = guests("[token]\njwks = \"keys.json\"\nalgorithms = [\"EdDSA\"]\n");
    guests.put_file("keys.json", jwks(&[1]).as_bytes());
    let node = TestNode::guests(&database, &guests).await;
    until_status(&node, 1, StatusCode::OK).await;
    until_status(&node, 2, StatusCode::UNAUTHORIZED).await;
    // A second key, then the first one withdrawn.
    guests.put_file("keys.json", jwks(&[1, 2]).as_bytes());
    until_status(&node, 2, StatusCode::OK).await;
    until_status(&node, 1, StatusCode::OK).await;
    guests.put_file("keys.json", jwks(&[2]).as_bytes());
    until_status(&node, 1, StatusCode::UNAUTHORIZED).await;
    until_status(&node, 2, StatusCode::OK).await;
    for broken in ["{", "{\"keys\":[]}", &jwks(&[3])[..20]] {
        guests.put_file("keys.json", broken.as_bytes());
        let (stage, message) = node.until_manifest_refused().await;
        assert_eq!(stage, Stage::Manifest);
        assert!(message.contains("[token]: the file ") && message.contains("keys.json: "), "{message}");
        until_status(&node, 2, StatusCode::OK).await;
        guests.put_file("keys.json", jwks(&[2]).as_bytes());
        let registry = &node.running.node.registry;
        until("the keys are accepted again", String::new, || registry.refusal().is_none()).await;
    }
    // The generation is the same: keys are not part of a handler.
    assert_eq!(node.generation("required"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_missing_or_weak_is_refused_with_the_remedy() {
    let database = TestDatabase::new().await;
    let by_variable = guests(SHARED);
    let refusal = by_variable.refusal(&database).await;
    assert!(
        refusal.contains("[token]: the variable SHOP_TOKEN_SECRET is not set; set it in the environment of the node"),
        "{refusal}"
    );
    let mut weak = with_secret(&by_variable);
    weak.sources.variables = Variables::from_iter([("SHOP_TOKEN_SECRET".to_owned(), "hunter2".to_owned())]);
    let refusal = serve::start(&weak, &database.target(), engine()).await.map(drop).unwrap_err().to_string();
    assert!(refusal.contains("the secret has 7 bytes, and HS256 needs at least 32"), "{refusal}");
    assert!(!refusal.contains("hunter2"), "{refusal}");
    let by_file = guests("[token]\nsecret = { file = \"secret\" }\nalgorithms = [\"HS256\"]\n");
    let refusal = by_file.refusal(&database).await;
    assert!(refusal.contains("[token]: the file ") && refusal.contains("/secret: No such file"), "{refusal}");
    by_file.put_file("secret", format!("{SECRET}\n").as_bytes());
    let node = TestNode::guests(&database, &by_file).await;
    let claims = json!({ "exp": in_seconds(60) });
    assert_eq!(get(&node, "/required", &[&format!("Bearer {}", by_secret(&claims))]).await.status, StatusCode::OK);
}
