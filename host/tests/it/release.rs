//! The files that make CI, releases and images: the files that they name exist, versions agree, and the tree names no
//! registry. `.ci/lint` checks the same files against GitHub's schemas.

use std::fs;
use std::path::PathBuf;

use crate::harness::checkout;

fn read(name: &str) -> String {
    fs::read_to_string(checkout().root.join(name)).unwrap()
}

fn files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(checkout().root.join(folder)).unwrap();
    entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect()
}

/// Every word of a text that is a path into `.ci` or `deploy`.
fn paths(text: &str) -> Vec<String> {
    let words = text.split(|c: char| c.is_whitespace() || "\"'`(),;:|=".contains(c));
    let words = words.map(|word| word.trim_end_matches(['.', ':']).trim_start_matches("./"));
    let ours = words.filter(|word| word.starts_with(".ci/") || word.starts_with("deploy/"));
    ours.filter(|word| !word.contains(['*', '$', '{', '['])).map(str::to_owned).collect()
}

/// The first word that is a path to a missing file; a file that a command in the text makes does not count.
fn missing(text: &str) -> Option<String> {
    let made = ["deploy/pgo/galo.profdata", "deploy/.env"];
    paths(text).into_iter().find(|path| !made.contains(&path.as_str()) && !checkout().root.join(path).exists())
}

#[test]
fn what_workflows_and_scripts_name_exists() {
    assert_eq!(missing("run: .ci/run && deploy/nowhere.sh"), Some("deploy/nowhere.sh".to_owned()));
    let mut named = 0;
    for path in [".ci", ".github/workflows", "deploy", "deploy/pgo"].into_iter().flat_map(files) {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        named += paths(&text).len();
        assert_eq!(missing(&text), None, "{}", path.display());
    }
    assert!(named > 50, "only {named} paths found");
    let ci = read(".github/workflows/ci.yml");
    let commands: Vec<_> = ci.lines().filter_map(|line| line.trim().strip_prefix("- run: ")).collect();
    assert_eq!(commands, [".ci/run"], "checks belong in .ci/run");
}

#[test]
fn workflows_pin_their_actions_and_have_the_least_permissions() {
    for path in files(".github/workflows") {
        let text = fs::read_to_string(&path).unwrap();
        for action in text.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix("uses: ")) {
            let version = action.split_once('@').map_or("", |(_, version)| version);
            let digits = version.strip_prefix('v').unwrap_or_default();
            assert!(
                digits.split('.').count() == 3 && digits.split('.').all(|part| part.parse::<u32>().is_ok()),
                "{}: {action} is not pinned to a version",
                path.display()
            );
        }
        assert!(text.contains("\npermissions:\n  contents: read\n\n"), "{}", path.display());
    }
}

#[test]
fn no_registry_is_named() {
    // Registries are variables of the repository, or the defaults of the tools. Not named here either: in halves.
    let hosts = [("ghcr", "io"), ("quay", "io"), ("crates", "io"), ("npmjs", "org"), ("npmjs", "com"), ("pypi", "org")];
    let registries = hosts.map(|(name, domain)| format!("{name}.{domain}"));
    for path in
        [".ci", ".github/workflows", ".github", "deploy", "deploy/pgo", "deploy/kubernetes"].into_iter().flat_map(files)
    {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let named: Vec<_> = registries.iter().filter(|registry| text.contains(registry.as_str())).collect();
        assert!(named.is_empty(), "{} names {named:?}", path.display());
    }
}

#[test]
fn the_compiler_is_the_same_everywhere() {
    let toolchain = read("rust-toolchain.toml");
    let channel = toolchain.split("channel = \"").nth(1).unwrap().split('"').next().unwrap();
    for (file, text) in [
        ("deploy/Dockerfile", "ARG RUST_IMAGE=rust:"),
        ("deploy/compose.yaml", "${RUST_IMAGE:-rust:"),
        (".github/workflows/ci.yml", "image: rust:"),
    ] {
        assert!(read(file).contains(&format!("{text}{channel}-")), "{file} does not compile with {channel}");
    }
}

#[test]
fn no_profile_is_kept_in_the_repository() {
    // A profile names functions by the versions of all crates, so each change of a dependency makes it useless.
    let tracked =
        std::process::Command::new("git").current_dir(checkout().root).args(["ls-files", "deploy/pgo"]).output();
    let tracked = String::from_utf8(tracked.unwrap().stdout).unwrap();
    // A source archive has no list of files.
    if !tracked.is_empty() {
        assert_eq!(tracked.lines().collect::<Vec<_>>(), ["deploy/pgo/origin", "deploy/pgo/train", "deploy/pgo/use"]);
    }
    assert!(read(".gitignore").contains("/deploy/pgo/galo.*"));
}
