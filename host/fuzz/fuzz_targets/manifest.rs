//! The text of a manifest: nothing panics, an accepted one is within the ceilings, and a refused one has a reason.

#![no_main]

use std::path::Path;

use galo::{limits, manifest};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match manifest::parse(Path::new("galo.toml"), text) {
        Ok(manifest) => {
            for entry in manifest.handlers {
                assert!(entry.limits.memory_bytes_max <= limits::MEMORY_BYTES_CEILING);
                assert!(entry.limits.deadline <= limits::DEADLINE_CEILING);
                assert!((1..=text.lines().count()).contains(&entry.line));
            }
        }
        Err(refused) => assert!(!refused.mistakes.is_empty() && !refused.to_string().is_empty()),
    }
});
