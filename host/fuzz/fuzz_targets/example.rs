//! The text of an example: nothing panics, and the error for a refused one names its file.

#![no_main]

use std::path::PathBuf;

use galo::example::Example;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    if let Err(refused) = Example::parse(PathBuf::from("a.json"), text) {
        assert!(format!("{refused:#}").starts_with("a.json: "), "{refused:#}");
    }
});
