//! The database's URL: nothing panics, and a password that was written with letters and digits is shown nowhere.

#![no_main]

use galo::config::Secret;
use galo::database::Target;
use libfuzzer_sys::fuzz_target;

const PASSWORD: &str = "hunter2hunter2";

fuzz_target!(|text: &str| {
    let told = |url: &str| match Target::parse(&Secret::new(url)) {
        Ok(target) => format!("{target} {target:?}"),
        Err(mistake) => mistake,
    };
    told(text);
    if !text.contains(PASSWORD) {
        for url in [format!("postgres://galo:{PASSWORD}@{text}"), format!("password={PASSWORD} {text}")] {
            assert!(!told(&url).contains(PASSWORD), "{url:?}: {}", told(&url));
        }
    }
});
