//! The bindings of the kit and of handlers in C are generated from `wit/` by wit-bindgen and checked in, so that a
//! handler compiles neither a macro nor a parser, and its author needs no generator. These tests compare them with
//! `wit/`, and generate them again:
//!
//! ```sh
//! UPDATE_BINDINGS=1 cargo test -p galo --test it bindings
//! ```

use std::fs;

use wit_bindgen_core::{Files, WorldGenerator as _};
use wit_bindgen_rust::Opts;
use wit_parser::{Resolve, WorldId};

use crate::harness::checkout;

/// The first lines of the file.
const HEAD: &str = r#"//! The contract in Rust, generated from `wit/` by wit-bindgen. Not written by hand: change `wit/` and run
//! `UPDATE_BINDINGS=1 cargo test -p galo --test it bindings`. Called by what `export!` emits. Nothing frees what a call
//! returned, because the instance ends with its call.

#![allow(unsafe_code, clippy::all, clippy::pedantic, clippy::restriction, reason = "generated")]

"#;

#[test]
fn the_bindings_of_the_kit_are_those_of_wit() {
    compare("handlers/kit/src/bindings.rs", &generate());
}

#[test]
fn the_bindings_of_handlers_in_c_are_those_of_wit() {
    let (mut resolve, world) = contract();
    let options = wit_bindgen_c::Opts {
        // `galo componentize` adds the description of the world.
        no_object_file: true,
        rename: vec![("galo:handler/types@2.0.0".to_owned(), "galo".to_owned())],
        ..wit_bindgen_c::Opts::default()
    };
    let mut files = Files::default();
    options.build().generate(&mut resolve, world, &mut files).unwrap();
    for name in ["handler.h", "handler.c"] {
        let (_, source) = files.iter().find(|(file, _)| *file == name).unwrap();
        compare(&format!("host/src/develop/languages/c/{name}"), std::str::from_utf8(source).unwrap());
    }
}

#[track_caller]
fn compare(file: &str, generated: &str) {
    let path = checkout().root.join(file);
    if std::env::var_os("UPDATE_BINDINGS").is_some() {
        fs::write(&path, generated).unwrap();
    }
    let checked_in = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        checked_in == generated,
        "{} is not what wit-bindgen generates from wit/; generate it again: \
         UPDATE_BINDINGS=1 cargo test -p galo --test it bindings",
        path.display()
    );
}

fn contract() -> (Resolve, WorldId) {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(checkout().root.join("wit")).unwrap();
    let world = resolve.select_world(&[package], Some("handler")).unwrap();
    (resolve, world)
}

fn generate() -> String {
    let (mut resolve, world) = contract();
    let options = Opts {
        format: true,
        pub_export_macro: true,
        additional_derive_attributes: vec!["PartialEq".to_owned()],
        // The description of the world must not be linked into the binary of a test, which is not a handler.
        disable_custom_section_link_helpers: true,
        ..Opts::default()
    };
    let mut files = Files::default();
    options.build().generate(&mut resolve, world, &mut files).unwrap();
    let (_, source) = files.iter().next().unwrap();
    HEAD.to_owned() + &without_post_return(std::str::from_utf8(source).unwrap())
}

/// The bindings without the two exports that free what a call returned. The instance ends with its call: the host would
/// enter it once more for nothing.
fn without_post_return(source: &str) -> String {
    ["prepare", "respond"].iter().fold(source.to_owned(), |source, function| {
        let name = source.find(&format!("\"cabi_post_{function}\"")).unwrap();
        let start = source[..name].rfind("#[unsafe").unwrap();
        let (_, rest) = source[name..].split_once("(arg0) } }").unwrap();
        source[..start].to_owned() + rest.trim_start()
    })
}
