//! The product does not depend on the example application: it has none of its words, and no Portuguese. The first line
//! of each folder's README states which of the two the folder belongs to.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::checkout;

/// The product. Its tests and benchmarks (`host/tests`, `host/bank`, `host/bench`, `host/benches`) may name the
/// example.
const PRODUCT: &[&str] = &["host/src", "wit", "handlers/kit"];

/// Words of the contest and of its API that are not the name of a handler, a procedure or a table.
const WORDS: &[&str] = &[
    "banco",
    "caminho",
    "chave",
    "codificado",
    "conta",
    "contest",
    "contests",
    "corpo",
    "credito",
    "debito",
    "descricao",
    "diario",
    "encontrado",
    "erro",
    "indisponivel",
    "inexistente",
    "interno",
    "limite",
    "metodo",
    "nao",
    "nome",
    "origem",
    "permitido",
    "requisicao",
    "resultado",
    "resumo",
    "rinha",
    "saldo",
    "servico",
    "tipo",
    "toma",
    "um",
    "uma",
    "usuario",
    "valor",
];

/// The kind of each folder, as the first line of its README states it.
const FOLDERS: &[(&str, &str)] = &[
    (".ci", "for CI"),
    ("deploy", "example application"),
    ("docs", "product"),
    ("handlers", "example application"),
    ("handlers/kit", "product"),
    ("host", "product"),
    ("host/bank", "proof"),
    ("host/bench", "proof"),
    ("host/tests", "proof"),
    ("sql", "example application"),
    ("wit", "product"),
];

/// Every text file below a folder.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true if !path.ends_with("target") => files(&path, found),
            true => {}
            false => found.push(path),
        }
    }
}

/// The words of a text, in lower case: `SaldoDiario` and `saldo_diario` are two words each.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for c in text.chars() {
        if !c.is_alphabetic() || (c.is_uppercase() && !before.is_uppercase()) {
            words.push(String::new());
        }
        if c.is_alphabetic() {
            words.last_mut().unwrap().extend(c.to_lowercase());
        }
        before = c;
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The names that follow this in a text: `f` after `FUNCTION public.`.
fn named<'a>(text: &'a str, before: &str) -> Vec<&'a str> {
    let rest = |part: &'a str| part.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
    text.split(before).skip(1).map(rest).collect()
}

/// The words of the example application: those above, and those in the names of its handlers, routes, procedures,
/// tables and domains.
fn of_the_application() -> BTreeSet<String> {
    let root = checkout().root;
    let mut found: BTreeSet<_> = WORDS.iter().map(|word| (*word).to_owned()).collect();
    let manifest = fs::read_to_string(root.join("galo.toml")).unwrap();
    let of_handlers = manifest.lines().filter(|line| {
        ["name", "route", "procedures", "batch"].iter().any(|key| line.starts_with(&format!("{key} = ")))
    });
    for line in of_handlers {
        found.extend(words(line.split_once(" = ").unwrap().1));
    }
    let mut sql = Vec::new();
    files(&root.join("sql"), &mut sql);
    for path in sql.iter().filter(|path| path.extension().is_some_and(|extension| extension == "sql")) {
        let text = fs::read_to_string(path).unwrap();
        for before in ["FUNCTION public.", "rinha."] {
            found.extend(named(&text, before).into_iter().flat_map(words));
        }
    }
    // These are English words too.
    let common = ["by", "form", "get", "id", "key", "lanes", "post", "seq"];
    found.retain(|word| word.len() > 1 && !common.contains(&word.as_str()));
    found
}

/// The words of a text that belong to the application, or that have letters of Portuguese.
fn foreign(text: &str, application: &BTreeSet<String>) -> BTreeSet<String> {
    let portuguese = |word: &str| word.contains(|c| "áàâãçéêíóôõú".contains(c));
    words(text).into_iter().filter(|word| application.contains(word) || portuguese(word)).collect()
}

#[test]
fn the_product_has_no_word_of_the_application() {
    let application = of_the_application();
    let root = checkout().root;
    let mut wrong = Vec::new();
    for folder in PRODUCT {
        let mut found = Vec::new();
        files(&root.join(folder), &mut found);
        assert!(!found.is_empty(), "{folder} is empty");
        for path in found {
            let shown = path.strip_prefix(&root).unwrap().display().to_string();
            let text = fs::read_to_string(&path).unwrap();
            for (number, line) in std::iter::once(shown.as_str()).chain(text.lines()).enumerate() {
                let foreign = foreign(line, &application);
                wrong.extend(foreign.into_iter().map(|word| format!("{shown}:{number}: {word}")));
            }
        }
    }
    assert!(wrong.is_empty(), "words of the example application; use a shop, its items and orders: {wrong:#?}");
}

#[test]
fn words_of_the_application_are_found() {
    let application = of_the_application();
    for (text, expected) in [
        ("struct SaldoDiario;", &["diario", "saldo"][..]),
        ("/// `POST /clientes/{id}/transacoes`", &["clientes", "transacoes"]),
        ("grant = [\"realizar_transacao\"]", &["realizar", "transacao"]),
        ("\"serviço não disponível\"", &["disponível", "não", "serviço"]),
        ("postgres://galo@db/rinha", &["rinha"]),
        ("the contest asks for 250 ms", &["contest"]),
        ("postgres://galo@db/shop: a transaction, an exact limit; exists, owner, Grüße", &[]),
    ] {
        let found: Vec<_> = foreign(text, &application).into_iter().collect();
        assert_eq!(found, expected, "{text}");
    }
    // The application's own files have many of them.
    for file in
        ["sql/procedures/1_procedures.sql", "handlers/transacoes/src/rules.rs", "handlers/extrato/src/render.rs"]
    {
        let text = fs::read_to_string(checkout().root.join(file)).unwrap();
        assert!(foreign(&text, &application).len() > 5, "{file}");
    }
}

/// The kind of a folder, as the first line below its README's title states it.
fn kind(readme: &str) -> Option<&str> {
    let mut lines = readme.lines().filter(|line| !line.is_empty());
    let line = lines.next().filter(|title| title.starts_with("# ")).and_then(|_| lines.next())?;
    line.strip_prefix('*')?.split_once('*').map(|(kind, _)| kind)
}

#[test]
fn the_first_line_of_a_folders_readme_states_its_kind() {
    let root = checkout().root;
    for (folder, expected) in FOLDERS {
        let readme = fs::read_to_string(root.join(folder).join("README.md"));
        let readme = readme.unwrap_or_else(|error| panic!("{folder}/README.md: {error}"));
        let found = kind(&readme).unwrap_or_else(|| panic!("{folder}/README.md does not begin with *{expected}*"));
        assert_eq!(found.to_lowercase(), expected.to_lowercase(), "{folder}/README.md");
        // The README of `deploy/` is the stack's manual, so it may be longer.
        let lines = readme.lines().count();
        assert!((10..=30).contains(&lines) || *folder == "deploy", "{folder}/README.md has {lines} lines");
    }
    // The other folders of the root hold only settings of tools.
    let others = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap()).filter(|entry| entry.path().is_dir());
    let others = others.map(|entry| entry.file_name().into_string().unwrap());
    let unknown: Vec<_> = others
        .filter(|name| !name.starts_with('.') && name != "target")
        .filter(|name| !FOLDERS.iter().any(|(folder, _)| folder == name))
        .collect();
    assert!(unknown.is_empty(), "folders that FOLDERS does not list: {unknown:?}");
    for none in ["", "# host/\n\nThe program.", "*Product*: the program.", "# host/\n\nThe *product*."] {
        assert_eq!(kind(none), None, "{none}");
    }
}
