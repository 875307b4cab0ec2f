//! `galo new`: a generated handler passes every check and works; a refused one leaves the checkout unchanged.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use galo::contract::{Field, Outcome, Plan, Request, Rows, Value};
use galo::develop::build::{self, Cancel, Profile};
use galo::guest::{Component, Grants};
use galo::limits::HandlerLimits;

use crate::fixture;
use crate::handlers::Copy;
use crate::harness::{galo, one_build_at_a_time, verify};

fn new(copy: &Copy, arguments: &[&str]) -> (bool, String) {
    output(copy.galo().arg("new").args(arguments))
}

fn output(command: &mut Command) -> (bool, String) {
    let output = command.output().unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap())
}

#[track_caller]
fn assert_succeeds(command: &mut Command) -> String {
    let (success, shown) = output(command);
    assert!(success, "{shown}");
    shown
}

/// Everything in a folder, by its path.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.insert(path.clone(), Vec::new());
            found.extend(contents(&path));
        } else {
            found.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    found
}

fn request(method: &str, parameters: &[(&str, &str)]) -> Request {
    let parameters = parameters.iter().map(|(name, value)| Field { name: (*name).into(), value: (*value).into() });
    Request { parameters: parameters.collect(), ..fixture::request(method, "/") }
}

#[test]
fn a_new_handler_is_clean_passes_its_tests_and_answers() {
    let _turn = one_build_at_a_time();
    let copy = Copy::new("new");
    // Given one of each kind: a procedure with parameters, one without, and no procedure.
    let long = "GET /clientes/{id}/resumo/{Ano}/{type}/{um_parametro_bastante_longo}/{outro_parametro_bastante_longo}";
    for arguments in [
        ["resumo-anual", "--route", long, "--procedure", "rinha.resumo_anual"].as_slice(),
        &["total", "--route", "GET /total", "--route", "POST /total", "--procedure", "total()"],
        &["plan", "--route", "PUT /eco/{z}/{a}"],
    ] {
        let (success, shown) = new(&copy, arguments);
        assert!(success && shown.contains(&format!("galo test {}", arguments[0])), "{shown}");
    }
    let manifest = std::fs::read_to_string(copy.path("galo.toml")).unwrap();
    assert!(manifest.contains("routes = [\"GET /total\", \"POST /total\"]"), "{manifest}");
    // When they are checked like the rest of the checkout, then there are no findings.
    let cargo = |arguments: &[&str]| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(&copy.checkout.root).args(arguments);
        assert_succeeds(&mut cargo);
    };
    let crates = ["-p", "resumo-anual", "-p", "total", "-p", "plan"];
    cargo(&[&["fmt", "--check"], crates.as_slice()].concat());
    cargo(&[&["clippy", "--all-targets", "--offline"], crates.as_slice(), &["--", "-D", "warnings"]].concat());
    for (name, tests) in [("resumo-anual", 4), ("total", 3), ("plan", 1)] {
        let shown = assert_succeeds(copy.galo().args(["test", name]));
        assert!(shown.contains(&format!("test result: ok. {tests} passed; 0 failed; 0 ignored;")), "{shown}");
    }
    // Their components work as well.
    let folder = tempfile::tempdir().unwrap();
    build::handlers(&copy.checkout, Profile::Release, &Cancel::default()).unwrap().put(folder.path()).unwrap();
    let component = |name: &str| -> Component {
        let bytes = std::fs::read(folder.path().join(format!("{name}.wasm"))).unwrap();
        verify(&bytes, Grants { wasi: false }, HandlerLimits::default(), None).unwrap()
    };
    let reply = |plan| match plan {
        Plan::Reply(response) => (response.status, String::from_utf8(response.body).unwrap()),
        Plan::Call(call) => panic!("a call of {}", call.procedure),
    };
    let plan = component("plan").prepare(&request("PUT", &[("z", "1"), ("a", "x")])).unwrap();
    assert_eq!(reply(plan), (200, r#"{"a":"x","z":"1"}"#.to_owned()));
    let resumo = component("resumo-anual");
    let names = ["id", "Ano", "type", "um_parametro_bastante_longo", "outro_parametro_bastante_longo"];
    let asked = |values: [&'static str; 5]| {
        resumo.prepare(&request("GET", &names.into_iter().zip(values).collect::<Vec<_>>())).unwrap()
    };
    match asked(["5", "4", "3", "2", "1"]) {
        Plan::Call(call) => {
            assert_eq!(call.procedure, "rinha.resumo_anual");
            let numbers = call.arguments.iter().map(|value| match value {
                Value::Integer(number) => *number,
                other => panic!("{other:?}"),
            });
            assert_eq!(numbers.collect::<Vec<_>>(), [5, 4, 3, 2, 1]);
        }
        Plan::Reply(response) => panic!("a reply: {}", response.status),
    }
    assert_eq!(reply(asked(["5", "4", "x", "2", "1"])), (404, r#"{"error":"not found"}"#.to_owned()));
    let rows = |values| Outcome::Rows(Rows { columns: vec!["b".to_owned(), "a".to_owned()], values });
    let answered = |values| {
        let response = resumo.respond(b"", &rows(values)).unwrap().unwrap();
        (response.status, String::from_utf8(response.body).unwrap())
    };
    let answer = answered(vec![Value::Text("x".to_owned()), Value::Timestamp(0)]);
    assert_eq!(answer, (200, r#"{"b":"x","a":"1970-01-01T00:00:00.000000Z"}"#.to_owned()));
    assert_eq!(answered(Vec::new()), (404, r#"{"error":"not found"}"#.to_owned()));
}

#[test]
fn a_handler_that_is_not_a_crate_may_have_the_name_of_one() {
    let copy = Copy::new("new-name");
    for (name, language) in [("serde", "c"), ("core", "js")] {
        let (success, shown) = new(&copy, &[name, "--route", &format!("GET /{name}"), "--lang", language]);
        assert!(success, "{shown}");
    }
}

#[test]
fn a_refused_command_leaves_the_checkout_unchanged() {
    let copy = Copy::new("new-refused");
    let before = contents(&copy.checkout.root);
    for (name, route, procedure, expected) in [
        ("Resumo", "GET /r", "p", "invalid handler name `Resumo`"),
        ("2x", "GET /r", "p", "invalid handler name `2x`"),
        ("a--b", "GET /r", "p", "invalid handler name `a--b`"),
        ("", "GET /r", "p", "invalid handler name ``"),
        ("../x", "GET /r", "p", "invalid handler name `../x`"),
        ("fn", "GET /r", "p", "invalid handler name `fn`: a crate cannot have the name of a keyword"),
        ("proc-macro", "GET /r", "p", "invalid handler name `proc-macro`: a crate"),
        ("extrato", "GET /r", "p", "handlers/extrato already exists"),
        ("kit", "GET /r", "p", "handlers/kit already exists"),
        ("galo_kit", "GET /r", "p", "there already is a crate `galo-kit`"),
        ("serde", "GET /r", "p", "there already is a crate `serde`"),
        ("resumo", "GET r", "p", "route `GET r`: a path begins with `/`"),
        ("resumo", "GET /{id}/{id}", "p", "the parameter `id` appears twice"),
        (
            "resumo",
            "GET /clientes/{cliente}/extrato",
            "p",
            "the route `GET /clientes/{cliente}/extrato` of `resumo` takes the same requests as `GET /clientes/{id}/extrato` of `extrato`",
        ),
        ("resumo", "GET /r", "p q", "invalid procedure `p q`"),
        ("resumo", "GET /r", "a.b.c", "invalid procedure `a.b.c`"),
        ("resumo", "GET /r", "", "invalid procedure ``"),
        ("resumo", "GET /r", "p(integer", "invalid procedure `p(integer`"),
        ("resumo", "GET /r", "p(\"x\")", "invalid procedure `p(\"x\")`"),
    ] {
        let (success, shown) = new(&copy, &[name, "--route", route, "--procedure", procedure]);
        assert!(!success && shown.contains(expected), "`{expected}` is missing in: {shown}");
        assert!(contents(&copy.checkout.root) == before, "`{name}` `{route}` `{procedure}` left something behind");
    }
    for (further, expected) in [
        ("GET /r/{id}", "`GET /r/{id}` has other parameters than `GET /r`; add it to `routes` in galo.toml"),
        ("GET /r", "the route `GET /r` of `resumo` takes the same requests as `GET /r` of `resumo`"),
        ("GET /:id", "route `GET /:id`: the segment `:id`: a parameter is written `{id}`"),
    ] {
        let (success, shown) = new(&copy, &["resumo", "--route", "GET /r", "--route", further]);
        assert!(!success && shown.contains(expected), "`{expected}` is missing in: {shown}");
        assert!(contents(&copy.checkout.root) == before, "`{further}`");
    }
    // Names in the manifest count, with or without a crate.
    for (table, expected) in [
        ("name = \"resumo\"\ncomponent = \"x.wasm\"\nroute = \"GET /x\"", "the handler `resumo` is already defined"),
        ("name = \"re-sumo\"\ncomponent = \"x.wasm\"\nroute = \"GET /x\"", "there already is a handler `re-sumo`"),
        ("nome = 1", "unknown field `nome`"),
    ] {
        let manifest = copy.path("galo.toml");
        let text = std::fs::read(&manifest).unwrap();
        copy.edit("galo.toml", |text| format!("{text}\n[[handler]]\n{table}\n"));
        let before = contents(&copy.checkout.root);
        let name = if expected.contains("re-sumo") { "re_sumo" } else { "resumo" };
        let (success, shown) = new(&copy, &[name, "--route", "GET /r"]);
        assert!(!success && shown.contains(expected), "`{expected}` is missing in: {shown}");
        assert!(contents(&copy.checkout.root) == before, "`{table}`");
        std::fs::write(manifest, text).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let (success, shown) = output(galo().args(["new", "resumo", "--route", "GET /r"]).current_dir(folder.path()));
    assert!(!success && shown.contains("is not in a project"), "{shown}");
}
