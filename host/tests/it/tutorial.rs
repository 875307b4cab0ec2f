//! The tutorial of docs/tutorial.md, followed as it is written: its blocks in order, beside a running `galo dev`.
//!
//! The language of a block determines what it means:
//! - `sql` is the file that the paragraph before it names;
//! - `rust` is an item of the file that the paragraph before it names, and replaces the one that begins with its line;
//! - `sh` is run, with the program, the addresses and the folder of the test;
//! - `json` is all that the commands before it printed;
//! - `console` is lines that they printed, in this order, `…` standing for anything;
//! - `text` is lines that `dev` logs.
//!
//! Anything else fails.

use std::process::Command;

use crate::cli::run;
use crate::dev::Dev;
use crate::harness::{GALO, checkout};

/// A block between two fences, the line of the document it begins in, and the paragraph before it.
struct Block {
    line: usize,
    language: String,
    text: String,
    before: String,
}

impl Block {
    /// The file that the paragraph before it names last.
    fn file(&self) -> &str {
        let names = self.before.split('`').skip(1).step_by(2).filter(|name| name.contains('/'));
        names.last().unwrap_or_else(|| panic!("docs/tutorial.md:{}: no file is named before the block", self.line))
    }
}

/// The fenced blocks of the tutorial.
fn blocks() -> Vec<Block> {
    let tutorial = std::fs::read_to_string(checkout().root.join("docs/tutorial.md")).unwrap();
    let mut lines = tutorial.lines().zip(1..).skip_while(|(line, _)| !line.starts_with("# Tutorial: ")).skip(1);
    let (mut blocks, mut before) = (Vec::new(), String::new());
    while let Some((line, number)) = lines.next() {
        assert!(!line.starts_with("    "), "docs/tutorial.md:{number}: a block without a fence has no language");
        if let Some(language) = line.strip_prefix("```") {
            let text = lines.by_ref().map(|(line, _)| line).take_while(|line| *line != "```");
            let text = text.map(|line| line.to_owned() + "\n").collect();
            blocks.push(Block {
                line: number,
                language: language.to_owned(),
                text,
                before: std::mem::take(&mut before),
            });
        } else {
            before += line;
        }
    }
    assert!(!blocks.is_empty(), "the tutorial has no blocks");
    blocks
}

/// Whether a line contains the pieces between the `…` of a pattern, in order.
fn matches(line: &str, pattern: &str) -> bool {
    pattern.split('…').try_fold(line, |rest, piece| rest.split_once(piece).map(|(_, rest)| rest)).is_some()
}

/// A source in which an item replaces the one that begins with the same line and ends with the brace below it.
fn replaced(source: &str, item: &str) -> Option<String> {
    let first = item.lines().next()?;
    let indent = &first[..first.len() - first.trim_start().len()];
    let begin = source.find(&format!("\n{first}\n"))? + 1;
    let closing = format!("\n{indent}}}\n");
    let end = begin + source[begin..].find(&closing)? + closing.len();
    Some(format!("{}{item}{}", &source[..begin], &source[end..]))
}

/// Runs the lines of a block as a person would type them, and returns what they printed.
fn typed(dev: &Dev, Block { line, text, .. }: &Block) -> String {
    let text = text.replace("target/debug/galo", GALO);
    let text = text.replace("127.0.0.1:9999", &dev.program.listen).replace("127.0.0.1:9998", &dev.program.admin);
    let galo = dev.copy.galo_beside();
    let mut shell = Command::new("sh");
    shell.args(["-e", "-c", &text]).current_dir(&dev.copy.checkout.root);
    for (name, value) in galo.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let (success, printed, stderr) = run(shell.env("GALO_ADMIN", &dev.program.admin));
    assert!(success, "docs/tutorial.md:{line}: {text}{printed}{stderr}");
    printed
}

#[test]
fn the_tutorial_of_the_readme_holds() {
    let dev = Dev::start("tutorial");
    let mut printed = None;
    for block in blocks() {
        let Block { line, language, text, .. } = &block;
        match language.as_str() {
            "sql" => std::fs::write(dev.copy.path(block.file()), text).unwrap(),
            "rust" => dev.copy.edit(block.file(), |source| {
                replaced(&source, text).unwrap_or_else(|| panic!("docs/tutorial.md:{line}: {source} has no such item"))
            }),
            "sh" => printed = Some(typed(&dev, &block)),
            "json" => {
                let (got, want) = (printed.as_deref().map(str::trim_end), Some(text.trim_end()));
                assert_eq!(got, want, "docs/tutorial.md:{line}, and the log is\n{}", dev.program.log());
            }
            "console" => {
                let printed = printed.as_deref().unwrap_or_default();
                let mut lines = printed.lines();
                for pattern in text.lines() {
                    assert!(
                        lines.any(|line| matches(line, pattern)),
                        "docs/tutorial.md:{line}: no `{pattern}` in {printed}"
                    );
                }
            }
            "text" => {
                for pattern in text.lines() {
                    let said = dev.program.wait_for(pattern.split('…').next().unwrap_or_default());
                    assert!(matches(&said, pattern), "docs/tutorial.md:{line}: `{pattern}` is not {said}");
                }
            }
            other => panic!("docs/tutorial.md:{line}: unknown block language `{other}`"),
        }
    }
    assert!(printed.is_some(), "nothing was run");
}

#[test]
fn an_item_is_replaced_and_the_rest_stays() {
    let source = "use x;\n\nimpl X {\n    fn a() {\n        if b {\n        }\n    }\n\n    fn b() {\n    }\n}\n";
    let changed = replaced(source, "    fn a() {\n        c\n    }\n").unwrap();
    assert_eq!(changed, "use x;\n\nimpl X {\n    fn a() {\n        c\n    }\n\n    fn b() {\n    }\n}\n");
    assert_eq!(replaced(source, "fn a() {\n}\n"), None);
    assert!(matches("a 1 b 2", "a … b …") && !matches("b 2 a 1", "a … b …"));
}
