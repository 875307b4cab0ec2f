//! Checks of the documents, `*.md`: links and their anchors, commands and the paths in them, the maximum lengths of
//! README, ARCHITECTURE and CONTRIBUTING, that no sentence is in two documents, that README and its translation agree,
//! that code in Rust is a documentation test of the kit, and that manifests are valid.
//!
//! Each check is a function from text to a list of mistakes; its test also gives it text with a mistake.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use galo::manifest;

use crate::harness::{GALO, checkout};

/// Folders without files that a person wrote.
const SKIPPED: &[&str] = &["target", ".git", ".galo", "dist", "node_modules"];

/// A sentence below this length may be in two documents: it is a heading or a cell of a table.
const SENTENCE_CHARS_MIN: usize = 50;

static ROOT: LazyLock<PathBuf> = LazyLock::new(|| checkout().root);

struct Document {
    /// From the root of the checkout.
    path: PathBuf,
    text: String,
}

/// A fenced or an indented block.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    language: String,
    text: String,
}

/// The files of the checkout with this extension, by their paths from its root.
fn files(extension: &str) -> Vec<PathBuf> {
    fn collect(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let skipped = SKIPPED.iter().any(|name| path.ends_with(name));
            if path.is_dir() && !path.is_symlink() && !skipped {
                collect(&path, extension, found);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path.strip_prefix(&*ROOT).unwrap().to_owned());
            }
        }
    }
    let mut found = Vec::new();
    collect(&ROOT, extension, &mut found);
    found.sort();
    found
}

fn document(path: impl Into<PathBuf>) -> Document {
    let path = path.into();
    Document { text: fs::read_to_string(ROOT.join(&path)).unwrap(), path }
}

fn documents() -> Vec<Document> {
    let all: Vec<_> = files("md").into_iter().map(document).collect();
    assert!(all.len() > 10, "{} documents", all.len());
    all
}

/// The blocks of a document, and the text outside of them.
fn split(text: &str) -> (Vec<Block>, String) {
    let (mut blocks, mut prose) = (Vec::new(), String::new());
    let (mut open, mut fence, mut blank): (Option<Block>, _, _) = (None, false, true);
    for line in text.lines() {
        let indented = line.strip_prefix("    ");
        match (open.as_mut(), line.trim_start().strip_prefix("```")) {
            (Some(_), Some(_)) if fence => {
                fence = false;
                blocks.extend(open.take());
            }
            (Some(block), _) if fence => block.text += &format!("{line}\n"),
            (_, Some(language)) => {
                blocks.extend(open.take());
                fence = true;
                open = Some(Block { language: language.to_owned(), text: String::new() });
            }
            (Some(block), None) if indented.is_some() || line.is_empty() => {
                block.text += &format!("{}\n", indented.unwrap_or_default());
            }
            (None, None) if indented.is_some() && blank => {
                open = Some(Block { language: String::new(), text: format!("{}\n", indented.unwrap()) });
            }
            _ => {
                blocks.extend(open.take());
                prose += &format!("{line}\n");
            }
        }
        blank = line.is_empty();
    }
    blocks.extend(open);
    blocks.iter_mut().for_each(|block| block.text.truncate(block.text.trim_end().len()));
    (blocks, prose)
}

/// The targets of the links of a document.
fn links(prose: &str) -> Vec<&str> {
    prose.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect()
}

/// The anchors that GitHub gives to the headings of a document.
fn anchors(text: &str) -> BTreeSet<String> {
    let (_, prose) = split(text);
    let headings = prose.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let kept = |c: &char| c.is_alphanumeric() || " -_".contains(*c);
    let mut seen = BTreeMap::<String, usize>::new();
    let anchor = |heading: &str| {
        let anchor = heading.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-");
        let times = seen.entry(anchor.clone()).and_modify(|times| *times += 1).or_insert(0);
        if *times == 0 { anchor } else { format!("{anchor}-{times}") }
    };
    headings.map(anchor).collect()
}

fn wrong_links(Document { path, text }: &Document) -> Vec<String> {
    let (_, prose) = split(text);
    let mut wrong = Vec::new();
    for target in links(&prose).into_iter().filter(|target| !target.contains(':')) {
        let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
        let there = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
        if !file.is_empty() && !ROOT.join(&there).exists() {
            wrong.push(format!("{}: the link to {target} leads nowhere", path.display()));
        } else if anchor.is_some_and(|anchor| {
            let text = if file.is_empty() { text.clone() } else { document(there).text };
            !anchors(&text).contains(anchor)
        }) {
            wrong.push(format!("{}: there is no heading for {target}", path.display()));
        }
    }
    wrong
}

/// The commands of a line of shell, each as its words, without comments, quotes and assignments before the program.
fn commands(line: &str) -> Vec<Vec<String>> {
    let (mut all, mut words, mut word, mut quote) = (Vec::new(), Vec::new(), String::new(), None);
    for c in line.chars().chain([' ']) {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => word.push(c),
            None if c == '\'' || c == '"' => quote = Some(c),
            None if c == '#' && word.is_empty() => break,
            None if c.is_whitespace() || "|&;".contains(c) => {
                let assigns = words.is_empty() && word.contains('=');
                if !word.is_empty() && !assigns {
                    words.push(std::mem::take(&mut word));
                }
                word.clear();
                if "|&;".contains(c) {
                    all.push(std::mem::take(&mut words));
                }
            }
            None => word.push(c),
        }
    }
    all.push(words);
    all.retain(|words| !words.is_empty());
    all
}

/// The arguments of `galo`, if the command runs it: by name, by Cargo, or in a container.
fn arguments_of_galo(words: &[String]) -> Option<&[String]> {
    let is_galo = |word: &String| word == "galo" || word.ends_with("/galo");
    if words.windows(2).any(|pair| pair == ["cargo", "run"]) && words.windows(2).any(|pair| pair == ["-p", "galo"]) {
        return Some(words.split(|word| word == "--").nth(1).unwrap_or_default());
    }
    let inside = words.iter().any(|word| word == "exec");
    let at = words.iter().position(is_galo).filter(|at| *at == 0 || inside)?;
    Some(&words[at + 1..])
}

/// What `galo … --help` prints.
fn help(subcommand: &[&str]) -> String {
    let output = Command::new(GALO).args(subcommand).arg("--help").output().unwrap();
    assert!(output.status.success(), "galo {subcommand:?} --help");
    String::from_utf8(output.stdout).unwrap()
}

/// The subcommands that a help lists.
fn subcommands(help: &str) -> Option<Vec<&str>> {
    let list = help.split_once("\nCommands:\n")?.1.split("\n\n").next()?;
    Some(list.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).collect())
}

fn wrong_with_galo(arguments: &[String]) -> Option<String> {
    let mut subcommand: Vec<&str> = Vec::new();
    let mut known = help(&[]);
    for argument in arguments {
        if argument.starts_with('-') {
            let flag = argument.split(['=', '[']).next().unwrap();
            let is_known = |word: &str| word.trim_end_matches([',', ']']).split(['=', '[']).next() == Some(flag);
            if !known.split_whitespace().any(is_known) {
                return Some(format!("galo {} has no {flag}", subcommand.join(" ")));
            }
        } else if let Some(all) = subcommands(&known) {
            if !all.contains(&argument.as_str()) {
                return Some(format!("galo has no subcommand {argument}"));
            }
            subcommand.push(argument.as_str());
            known = help(&subcommand);
        }
    }
    None
}

/// Names of packages and targets: of every manifest of Cargo, and of every test program that Cargo finds by itself.
fn cargo_names() -> BTreeSet<String> {
    let manifests = files("toml").into_iter().filter(|path| path.ends_with("Cargo.toml"));
    let texts = manifests.map(|path| fs::read_to_string(ROOT.join(path)).unwrap());
    let name = |line: &str| Some(line.strip_prefix("name = \"")?.split('"').next()?.to_owned());
    let mut names: BTreeSet<_> = texts.flat_map(|text| text.lines().filter_map(name).collect::<Vec<_>>()).collect();
    let mains = files("rs").into_iter().filter(|path| path.ends_with("main.rs"));
    names.extend(mains.filter_map(|path| Some(path.parent()?.file_name()?.to_str()?.to_owned())));
    names
}

fn wrong_with_cargo(words: &[String], names: &BTreeSet<String>) -> Option<String> {
    let at = words.iter().position(|word| word == "cargo")?;
    let own = words[at..].split(|word| word == "--").next()?;
    if !["run", "test", "bench", "build"].contains(&own.get(1)?.as_str()) {
        return None;
    }
    let named = own.windows(2).filter(|pair| ["-p", "--package", "--test", "--bench"].contains(&pair[0].as_str()));
    let unknown = named.into_iter().find(|pair| !names.contains(&pair[1]))?;
    Some(format!("Cargo has no {} {}", unknown[0], unknown[1]))
}

/// Whether a word of a command is a path of this repository, as seen from the folder of the document or the root.
fn is_missing(word: &str, folder: &Path) -> bool {
    let path = word.trim_start_matches(['<', '>']);
    let first = path.split('/').next().unwrap();
    let places = [ROOT.join(folder), ROOT.clone()];
    let is_path = path.contains('/')
        && !path.contains(['$', '*', '{', '[', '<', ':', '='])
        && !SKIPPED.contains(&first)
        && places.iter().any(|place| !first.is_empty() && place.join(first).exists());
    is_path && !places.iter().any(|place| place.join(path).exists())
}

fn wrong_commands(Document { path, text }: &Document, names: &BTreeSet<String>) -> Vec<String> {
    let folder = path.parent().unwrap();
    let (blocks, _) = split(text);
    let shell = blocks.iter().filter(|block| ["", "sh", "bash"].contains(&block.language.as_str()));
    let lines: Vec<_> = shell
        .flat_map(|block| block.text.replace("\\\n", " ").lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let mut wrong = Vec::new();
    for words in lines.iter().flat_map(|line| commands(line)) {
        let composed = words.starts_with(&["docker".to_owned(), "compose".to_owned()]);
        // Only options before the subcommand: `-f` of `logs -f` is another option.
        let options = words.get(2..).unwrap_or_default().chunks_exact(2).take_while(|pair| pair[0].starts_with('-'));
        let files = options.filter(|pair| composed && ["-f", "--file"].contains(&pair[0].as_str()));
        let gone = |file: &str| !ROOT.join(folder).join(file).exists() && !ROOT.join(file).exists();
        wrong.extend(files.filter(|pair| gone(&pair[1])).map(|pair| format!("there is no {}", pair[1])));
        wrong.extend(words.iter().filter(|word| is_missing(word, folder)).map(|word| format!("there is no {word}")));
        wrong.extend(arguments_of_galo(&words).and_then(wrong_with_galo));
        wrong.extend(wrong_with_cargo(&words, names));
    }
    wrong.iter().map(|what| format!("{}: {what}", path.display())).collect()
}

/// The sentences of a document that are long enough to be compared.
fn sentences(text: &str) -> BTreeSet<String> {
    let (_, prose) = split(text);
    let mut paragraphs = vec![String::new()];
    for line in prose.lines() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', '|', '-', '*']) {
            paragraphs.push(String::new());
        }
        *paragraphs.last_mut().unwrap() += &format!("{line} ");
    }
    let pieces = paragraphs.iter().flat_map(|paragraph| paragraph.split(['|', ';']).flat_map(|cell| cell.split(". ")));
    let trimmed = pieces.map(|piece| piece.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase());
    trimmed.filter(|sentence| sentence.chars().count() >= SENTENCE_CHARS_MIN).collect()
}

fn sentences_twice(documents: &[Document]) -> Vec<String> {
    let mut homes = BTreeMap::<String, Vec<String>>::new();
    // The translation has paths and names in common with its original.
    for Document { path, text } in documents.iter().filter(|document| !document.path.ends_with("README.pt-BR.md")) {
        for sentence in sentences(text) {
            homes.entry(sentence).or_default().push(path.display().to_string());
        }
    }
    homes.retain(|_, homes| homes.len() > 1);
    homes.into_iter().map(|(sentence, homes)| format!("{}: {sentence}", homes.join(", "))).collect()
}

/// The numbers of a text, each with a point for its decimals, whatever the language writes.
fn numbers(prose: &str, decimal: char) -> Vec<String> {
    let pieces = prose.split(|c: char| !c.is_ascii_digit() && c != '.' && c != ',');
    let numbers = pieces.map(|piece| piece.trim_matches(['.', ','])).filter(|piece| !piece.is_empty());
    let mut numbers: Vec<_> = numbers
        .map(|number| match number.split_once(decimal) {
            Some((whole, rest)) if !rest.contains(decimal) => format!("{whole}.{rest}"),
            _ => number.to_owned(),
        })
        .collect();
    numbers.sort();
    numbers
}

/// The differences between README and its translation.
fn disagreements(english: &str, portuguese: &str) -> Vec<String> {
    fn code(prose: &str) -> BTreeSet<&str> {
        prose.split('`').skip(1).step_by(2).collect()
    }
    let ((blocks, en), (other_blocks, pt)) = (split(english), split(portuguese));
    let swapped = pt.replace("](README.md", "](README.pt-BR.md");
    let mut wrong = Vec::new();
    if blocks != other_blocks {
        let differs = blocks.iter().zip(&other_blocks).find(|(a, b)| a != b);
        wrong.push(format!("blocks: {} and {}; {differs:?}", blocks.len(), other_blocks.len()));
    }
    if links(&en) != links(&swapped) {
        wrong.push(format!("links: {:?} and {:?}", links(&en), links(&swapped)));
    }
    if code(&en) != code(&pt) {
        wrong.push(format!("code: {:?}", code(&en).symmetric_difference(&code(&pt)).collect::<Vec<_>>()));
    }
    if numbers(&en, '.') != numbers(&pt, ',') {
        wrong.push(format!("numbers: {:?} and {:?}", numbers(&en, '.'), numbers(&pt, ',')));
    }
    wrong
}

/// What a reader sees of the documentation of a source: without the hidden lines of its documentation tests.
fn shown(source: &str) -> String {
    let documented = source.lines().filter_map(|line| {
        let line = line.trim_start();
        line.strip_prefix("//!").or_else(|| line.strip_prefix("///"))
    });
    let lines = documented.map(|line| line.strip_prefix(' ').unwrap_or(line));
    lines.filter(|line| !line.starts_with("# ")).flat_map(|line| [line, "\n"]).collect()
}

/// The blocks of a document in this language. The `tutorial` tests follow two documents block by block instead.
fn untested(documents: &[Document], language: &str) -> Vec<(String, String)> {
    let followed = ["docs/tutorial.md", "docs/resource.md"].map(Path::new);
    let documents = documents.iter().filter(|document| !followed.contains(&document.path.as_path()));
    let blocks = documents.flat_map(|Document { path, text }| {
        split(text).0.into_iter().map(move |block| (path.display().to_string(), block))
    });
    let blocks = blocks.filter(|(_, block)| block.language == language);
    blocks.map(|(path, block)| (path, block.text)).collect()
}

/// The rows of the first table below a heading, without its head.
fn rows<'a>(text: &'a str, heading: &str) -> Vec<&'a str> {
    let section = text.split(&format!("\n## {heading}\n")).nth(1).unwrap_or_default().split("\n## ").next().unwrap();
    section.lines().filter(|line| line.starts_with("| ")).skip(1).collect()
}

/// Rows of the decisions with more than two sentences.
fn long_decisions(architecture: &str) -> Vec<&str> {
    let decisions = rows(architecture, "Decisions").into_iter();
    decisions.filter(|row| row.trim_end_matches([' ', '|']).split(". ").count() > 2).collect()
}

fn lines_over(text: &str, most: usize) -> Option<usize> {
    Some(text.lines().count()).filter(|lines| *lines > most)
}

#[test]
fn links_lead_to_a_file_and_a_heading() {
    let all = documents();
    let wrong: Vec<_> = all.iter().flat_map(wrong_links).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let seen: usize = all.iter().map(|document| links(&split(&document.text).1).len()).sum();
    assert!(all.len() > 8 && seen > 15, "{seen} links in {} documents", all.len());
    assert_eq!(links("a [b](c.md#d) [g](h)"), ["c.md#d", "h"]);
    let text = "# A b\n[a](gone.md) [b](README.md#gone) [c](#a-b) [d](#gone) [e](https://x.y) [f](wit)\n";
    let wrong = wrong_links(&Document { path: "x.md".into(), text: text.to_owned() });
    assert_eq!(wrong.len(), 3, "{wrong:#?}");
    assert_eq!(
        anchors("# `a` B, c_d\n\n    # x\n\n## a b\n## a b\n"),
        ["a-b", "a-b-1", "a-b-c_d"].map(str::to_owned).into()
    );
}

#[test]
fn commands_name_existing_programs_and_paths() {
    let names = cargo_names();
    let wrong: Vec<_> = documents().iter().flat_map(|document| wrong_commands(document, &names)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    for (command, mistakes) in [
        ("galo serve --handlers dist --listen unix:/x # comment", 0),
        ("cargo run -p galo -- dev --fresh && .ci/run | deploy/pgo/use cargo bench -p galo --bench swap", 0),
        ("A=1 galo proxy nginx . >deploy/nginx/routes/galo.conf", 0),
        ("docker compose -f deploy/compose.yaml exec node-1 galo handlers --json", 0),
        ("galo serves", 1),
        ("galo serve --handler dist", 1),
        ("cargo run -p galo -- dev --stale", 1),
        ("docker compose exec node-1 galo list", 1),
        ("docker compose -f deploy/compose.gone.yaml up", 2),
        ("docker compose -f compose.gone.yaml up", 1),
        ("A=1 .ci/gone", 1),
        ("sort <sql/0_gone.sql", 1),
        ("cargo test -p galo --test gone", 1),
        ("deploy/pgo/use cargo run -p gone", 1),
    ] {
        let text = format!("Text:\n\n    {command}\n\nMore.\n");
        let wrong = wrong_commands(&Document { path: "x.md".into(), text }, &names);
        assert_eq!(wrong.len(), mistakes, "{command}: {wrong:#?}");
    }
}

#[test]
fn the_readme_and_its_translation_agree() {
    let (english, portuguese) = (document("README.md").text, document("README.pt-BR.md").text);
    assert_eq!(disagreements(&english, &portuguese), [""; 0]);
    for (from, to) in
        [("0,55", "0,56"), ("cargo test\n", "cargo tests\n"), ("(SECURITY.md)", "(README.md)"), ("`wit/`", "`host/`")]
    {
        let changed = portuguese.replacen(from, to, 1);
        assert_ne!(changed, portuguese, "{from}");
        assert_eq!(disagreements(&english, &changed).len(), 1, "{from}: {:#?}", disagreements(&english, &changed));
    }
    assert_eq!(numbers("1.5 at 127.0.0.1, 64.", '.'), numbers("1,5 at 127.0.0.1, 64.", ','));
}

#[test]
fn the_figures_of_the_readme_are_those_of_the_benchmarks() {
    let benchmarks = numbers(&split(&document("BENCHMARKS.md").text).1, '.');
    let figures = |readme: &str| numbers(&rows(readme, "Figures").join("\n"), '.');
    let missing = |figures: Vec<String>| figures.into_iter().filter(|figure| !benchmarks.contains(figure)).count();
    let readme = document("README.md").text;
    assert!(figures(&readme).len() >= 2 && missing(figures(&readme)) == 0, "{:?}", figures(&readme));
    assert_eq!(missing(figures("\n## Figures\n| a | b |\n|---|---|\n| c | 0.5512 |\n")), 1);
}

#[test]
fn the_readme_has_every_top_folder() {
    let folders = |readme: &str| {
        let entries = fs::read_dir(&*ROOT).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
        let names = entries.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
        let missing = names.filter(|name| !SKIPPED.contains(&name.as_str()) && !readme.contains(&format!("`{name}/")));
        missing.collect::<Vec<_>>()
    };
    let readme = document("README.md").text;
    assert_eq!(folders(&rows(&readme, "Folders").join("\n")), [""; 0]);
    assert!(folders("| `host/src/` |").contains(&"wit".to_owned()));
}

#[test]
fn code_in_rust_is_a_documentation_test_of_the_kit() {
    let sources = files("rs").into_iter().filter(|path| path.starts_with("handlers/kit/src"));
    let sources: Vec<_> = sources.map(|path| shown(&fs::read_to_string(ROOT.join(path)).unwrap())).collect();
    let blocks = untested(&documents(), "rust");
    assert!(blocks.len() > 1, "{blocks:?}");
    for (path, block) in blocks {
        assert!(sources.iter().any(|source| source.contains(&block)), "{path}: the kit does not test\n{block}");
    }
    assert_eq!(shown("//! a\n/// # hidden\n    ///\nlet b;\n/// c\n"), "a\n\nc\n");
}

#[test]
fn manifests_in_documents_are_valid() {
    let blocks = untested(&documents(), "toml");
    assert!(blocks.len() > 2, "{blocks:?}");
    for (path, block) in blocks {
        if let Err(refused) = manifest::parse(Path::new("galo.toml"), &block) {
            panic!("{path}: {refused}\n{block}");
        }
    }
    assert!(manifest::parse(Path::new("galo.toml"), "[[handler]]\nnam = \"a\"\n").is_err());
}

#[test]
fn no_sentence_is_in_two_documents() {
    let twice = sentences_twice(&documents());
    assert!(twice.is_empty(), "{twice:#?}");
    let text = "A sentence that is long\nenough to be a thought of its own, and more. Short.\n".to_owned();
    let other = format!("- x\n- {}", text.replace('\n', " "));
    let both = [Document { path: "a.md".into(), text }, Document { path: "b.md".into(), text: other }];
    assert_eq!(sentences_twice(&both).len(), 1);
}

#[test]
fn documents_have_the_length_of_their_kind() {
    for (path, most) in
        [("README.md", 150), ("README.pt-BR.md", 150), ("ARCHITECTURE.md", 200), ("CONTRIBUTING.md", 100)]
    {
        assert_eq!(lines_over(&document(path).text, most), None, "{path} has over {most} lines");
    }
    assert_eq!(lines_over("a\nb\n", 1), Some(2));
    let architecture = document("ARCHITECTURE.md").text;
    let words = rows(&architecture, "Words").len();
    assert!((10..=30).contains(&words), "ARCHITECTURE.md defines {words} words");
    assert!(rows(&architecture, "Decisions").len() > 10);
    assert_eq!(long_decisions(&architecture), [""; 0]);
    assert_eq!(long_decisions("\n## Decisions\n| a | b |\n|---|---|\n| x | A. B. |\n| y | A. B. C. |\n").len(), 1);
}
