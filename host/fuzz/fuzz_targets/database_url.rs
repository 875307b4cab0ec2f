//! The database's URL: nothing panics, and a password of letters and digits is never shown.

#![no_main]

use galo::config::Secret;
use galo::database::Target;
use libfuzzer_sys::fuzz_target;

const PASSWORD: &str = "hunter2hunter2";

fuzz_target!(|text: &str| {
    let shown = |url: &str| match Target::parse(&Secret::new(url)) {
        Ok(target) => format!("{target} {target:?}"),
        Err(mistake) => mistake,
    };
    shown(text);
    if !text.contains(PASSWORD) {
        for url in [format!("postgres://galo:{PASSWORD}@{text}"), format!("password={PASSWORD} {text}")] {
            assert!(!shown(&url).contains(PASSWORD), "{url:?}: {}", shown(&url));
        }
    }
});
