//! Tokens of clients and files of keys: nothing panics, and no token is accepted that the secret did not sign.

#![no_main]

use std::sync::LazyLock;

use galo::config::Secret;
use galo::token::{Algorithm, Keys, Policy, Verifier};
use libfuzzer_sys::fuzz_target;

const SECRET: &str = "a secret that the fuzzer does not know";

static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| {
    let algorithms = vec![Algorithm::HS256];
    let keys = Keys::shared(&Secret::new(SECRET), &algorithms).expect("the secret is long enough");
    Verifier::new(Policy { algorithms, audiences: Vec::new(), issuer: None }, keys).expect("the key is of the algorithm")
});

fuzz_target!(|input: (&str, &[u8])| {
    let (token, keys) = input;
    assert!(VERIFIER.claims(token, 0).is_err());
    let _ = Keys::public(keys);
});
