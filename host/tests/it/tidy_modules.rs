//! The rules between modules that no compiler checks: which module may import which, which crate belongs to which
//! module, no cycle between two files, and no bound outside `limits.rs`. Floors and owners are read from
//! ARCHITECTURE.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::checkout;
use crate::tidy::{Source, sources};

/// How a table of ARCHITECTURE.md must look; shown by every test that cannot read one.
const FLOORS_LOOK: &str = "ARCHITECTURE.md needs a table under a heading that begins with \"Floors\": `| floor | modules |`, a row for each \
    floor, the lowest first, its modules in backquotes as in `config/` or `route`. A module imports from the floors \
    below its own; on the first floor also from the modules that stand before it in the row";
const OWNERS_LOOK: &str = "ARCHITECTURE.md needs a table `| crate | owners |`: a row for each foreign crate that only some modules of \
    host/src use, crate and modules in backquotes";

/// Numbers outside `limits.rs` that are not bounds of ours: facts of a format, a protocol or a platform.
const NOT_BOUNDS: &[(&str, &[&str], &str)] = &[
    ("config/mod.rs", &["UNIX_PATH_BYTES_MAX"], "the kernel's `sun_path`"),
    ("database/connect/authentication.rs", &["HEAD_BYTES", "CLEARTEXT", "MD5"], "the protocol of Postgres"),
    ("database/migrate/turn.rs", &["KEY"], "the name of a lock"),
    ("database/value/array.rs", &["DIMENSIONS_MAX"], "Postgres's own MAXDIM"),
    ("database/value/mod.rs", &["POSTGRES_EPOCH_US", "MOMENTS"], "Postgres's calendar"),
    ("database/value/spelling.rs", &["POSTGRES_EPOCH_DAYS", "DAY_US"], "the calendar"),
    ("database/value/wellformed.rs", &["LAST_YEAR", "ZONE_HOURS"], "what Postgres itself reads"),
    ("develop/languages/system.rs", &["BAD_FILE"], "a number of WASI"),
    ("develop/postgres/binaries.rs", &["MAJOR_MIN"], "a version of Postgres"),
    ("develop/postgres/server.rs", &["PORT"], "part of a socket's name"),
    ("guest/compile.rs", &["STATUS_INVALID", "STATUS_MEMORY", "STATUS_OUTPUT", "STATUS_PANIC"], "exit statuses"),
    ("request/trail/undecided.rs", &["STATUS_LEFT"], "a status of nginx's"),
    ("record/format.rs", &["FORMAT"], "the version of a format of ours"),
    ("gate/verdict.rs", &["DIGEST_SHOWN"], "as many digits as `galo handlers` prints"),
    ("guest/engine.rs", &["FUEL"], "as much as there is, to count what has gone"),
    ("guest/form.rs", &["SEAL_BYTES"], "a file format of ours"),
    ("guest/wasi.rs", &["from_secs"], "the resolution of a clock that stands still"),
    ("metrics/histogram.rs", &["US", "MS", "S", "BUCKETS_MAX"], "units, and the length of a list"),
    ("operator/line.rs", &["DAY"], "the calendar"),
    ("metrics/traffic.rs", &["PER_OCTAVE_BITS", "PER_OCTAVE", "OCTAVES", "BUCKETS"], "the length of a list"),
    ("operator/table.rs", &["DIGEST_SHOWN"], "the width of a column"),
    ("place.rs", &["IDLE", "BODY", "SERVED"], "marks in an atomic"),
    ("record/span.rs", &["KNOWN", "REMOTE", "SAMPLED"], "flags of OTLP"),
    ("state/record.rs", &["FORMAT"], "the version of a file format"),
    ("token/keys.rs", &["RSA_BYTES"], "what ring verifies"),
    ("traces/otlp.rs", &["ERROR"], "a number of OTLP"),
];

/// The rows of a table of ARCHITECTURE.md as their cells.
fn table(document: &str, head: [&str; 2], look: &str) -> Vec<[String; 2]> {
    let cells = |line: &str| -> Option<[String; 2]> {
        let mut cells = line.trim().strip_prefix('|')?.strip_suffix('|')?.split('|').map(|cell| cell.trim().to_owned());
        Some([cells.next()?, cells.next()?])
    };
    let rows = document.lines().skip_while(|line| cells(line).is_none_or(|cells| cells != head));
    let rows: Vec<_> = rows.skip(2).map_while(cells).collect();
    assert!(rows.len() > 3, "no such table: {look}");
    rows
}

/// The texts in backquotes, without a `/` at their end.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(|name| name.trim_end_matches('/').to_owned()).collect()
}

/// The modules of each floor, the lowest first.
fn floors() -> Vec<Vec<String>> {
    let document = fs::read_to_string(checkout().root.join("ARCHITECTURE.md")).unwrap();
    let section = document.split("\n## Floors").nth(1).expect(FLOORS_LOOK);
    table(section, ["floor", "modules"], FLOORS_LOOK).iter().map(|[_, modules]| quoted(modules)).collect()
}

/// Whether a module may import another one.
fn may_import(floors: &[Vec<String>], module: &str, other: &str) -> bool {
    let place = |name: &str| {
        let at = |(floor, modules): (usize, &Vec<String>)| Some((floor, modules.iter().position(|m| m == name)?));
        let found = floors.iter().enumerate().find_map(at);
        found.unwrap_or_else(|| panic!("the module `{name}` is on no floor: add it to the table. {FLOORS_LOOK}"))
    };
    let ((own, before), (floor, at)) = (place(module), place(other));
    floor < own || (own == 0 && floor == 0 && at < before)
}

#[test]
fn modules_import_only_downwards() {
    let floors = floors();
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for source in sources("host/src") {
        let module = source.module();
        for path in paths(source.code()).iter().filter(|path| path[0] == "crate") {
            let Some(import) = path.get(1).filter(|import| **import != module) else { continue };
            // The root of the crate has modules only.
            if module == "lib" || !may_import(&floors, &module, import) {
                wrong.push(format!("{} imports {import}", source.path.display()));
            }
        }
        seen.insert(module);
    }
    seen.remove("lib");
    let gone: Vec<_> = floors.iter().flatten().filter(|name| !seen.contains(*name) && *name != "lib").collect();
    assert!(wrong.is_empty(), "{wrong:#?}\n{FLOORS_LOOK}");
    assert!(gone.is_empty(), "the table of floors in ARCHITECTURE.md names modules that do not exist: {gone:?}");
}

#[test]
fn the_floors_refuse_imports_that_go_up_or_sideways() {
    let floors: Vec<Vec<String>> = [&["limits", "failure"][..], &["wire", "guest"], &["request"]]
        .map(|floor| floor.iter().map(|m| (*m).to_owned()).collect())
        .into();
    for (module, other, may) in [
        ("request", "wire", true),
        ("wire", "limits", true),
        ("failure", "limits", true),
        ("limits", "failure", false),
        ("guest", "wire", false),
        ("wire", "request", false),
    ] {
        assert_eq!(may_import(&floors, module, other), may, "{module} imports {other}");
    }
    let rows = table(
        "x\n| floor | modules |\n|---|---|\n| a | `b/` `c` |\n| d | `e` |\n| f | `g` |\n| h | `i` |\n\n",
        ["floor", "modules"],
        "",
    );
    assert_eq!(quoted(&rows[0][1]), ["b", "c"]);
}

#[test]
fn crates_stay_with_their_owners() {
    let document = fs::read_to_string(checkout().root.join("ARCHITECTURE.md")).unwrap();
    let owned = table(&document, ["crate", "owners"], OWNERS_LOOK);
    let mut wrong = Vec::new();
    let mut used = BTreeSet::new();
    for source in sources("host/src") {
        let module = source.module();
        let names = owned.iter().flat_map(|[names, owners]| quoted(names).into_iter().map(move |name| (name, owners)));
        for (name, owners) in names {
            if uses(source.code(), &name) {
                if !quoted(owners).contains(&module) {
                    wrong.push(format!("{} uses {name}", source.path.display()));
                }
                used.insert(name);
            }
        }
    }
    let all = owned.iter().flat_map(|[names, _]| quoted(names));
    let unused: Vec<_> = all.filter(|name| !used.contains(name)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}\n{OWNERS_LOOK}");
    assert!(unused.is_empty(), "the table of owners in ARCHITECTURE.md names crates that nothing uses: {unused:?}");
}

/// Whether code names an item of a crate.
fn uses(code: &str, name: &str) -> bool {
    code.lines().filter(|line| !line.trim_start().starts_with("//")).any(|line| {
        line.match_indices(&format!("{name}::"))
            .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'))
    })
}

/// The paths that code names, `use` trees taken apart: `use crate::{a, b::c}` is `crate::a` and `crate::b::c`.
fn paths(code: &str) -> Vec<Vec<String>> {
    let code: String =
        code.lines().filter(|line| !line.trim_start().starts_with("//")).flat_map(|line| [line, "\n"]).collect();
    let mut found = Vec::new();
    let mut rest = code.as_str();
    while let Some(at) = rest.find("::") {
        let begins = rest[..at].rfind(|c: char| !c.is_alphanumeric() && c != '_').map_or(0, |before| before + 1);
        let end = path(&rest[begins..], &[], &mut found);
        rest = &rest[(begins + end).max(at + 2)..];
    }
    found
}

/// Reads one path or tree of paths behind a prefix; returns where it ends.
fn path(text: &str, prefix: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let mut names = prefix.to_vec();
    let mut at = 0;
    loop {
        let name: String = text[at..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        at += name.len();
        if name.is_empty() {
            break;
        }
        names.push(name);
        if !text[at..].starts_with("::") {
            break;
        }
        at += 2;
        if text[at..].starts_with('{') {
            at += 1;
            loop {
                at += text[at..].len() - text[at..].trim_start_matches([',', ' ', '\n']).len();
                if text[at..].is_empty() || text[at..].starts_with('}') {
                    return (at + 1).min(text.len());
                }
                let read = path(&text[at..], &names, found);
                // `a as b`, a glob, or text that is not a tree of paths.
                let skip = text[at + read..].find([',', '}']).unwrap_or(text.len() - at - read);
                at += read + skip;
            }
        }
    }
    if names.len() > 1 {
        found.push(names);
    }
    at
}

#[test]
fn paths_are_seen_however_they_are_written() {
    let seen =
        paths("use crate::{a, b::{self, C as D}, e::*};\n// crate::no\nlet x = super::y::z(crate::f::G::new());");
    let seen: Vec<_> = seen.iter().map(|path| path.join("::")).collect();
    let expected = ["crate::a", "crate::b::self", "crate::b::C", "crate::e", "super::y::z", "crate::f::G::new"];
    assert_eq!(seen, expected);
}

/// The files of a crate by their modules: `["guest", "cache"]` for `src/guest/cache.rs`.
fn files(crate_root: &Path, sources: Vec<Source>) -> BTreeMap<Vec<String>, Source> {
    let module = |path: &Path| {
        let inside = path.strip_prefix(crate_root).unwrap().with_extension("");
        let mut names: Vec<_> = inside.iter().map(|name| name.to_str().unwrap().to_owned()).collect();
        names.pop_if(|last| ["mod", "lib", "main"].contains(&last.as_str()));
        names
    };
    sources.into_iter().map(|source| (module(&source.path), source)).collect()
}

/// Which file names an item of which other file. What a file names of its own children, or of those above it, is not an
/// edge: a folder counts as one unit.
fn edges(files: &BTreeMap<Vec<String>, Source>) -> BTreeMap<Vec<String>, BTreeSet<Vec<String>>> {
    let target = |module: &[String], path: &[String]| -> Option<Vec<String>> {
        let mut names = match path[0].as_str() {
            "crate" => Vec::new(),
            "super" => module[..module.len().checked_sub(1)?].to_vec(),
            "self" => module.to_vec(),
            // A child, by its name alone.
            child => {
                let child = [module, &[child.to_owned()]].concat();
                files.contains_key(&child).then(|| module.to_vec())?
            }
        };
        let rest = if ["crate", "super", "self"].contains(&path[0].as_str()) { &path[1..] } else { path };
        for name in rest {
            match name.as_str() {
                "super" => drop(names.pop()),
                _ => {
                    names.push(name.clone());
                    if !files.contains_key(&names) {
                        names.pop();
                        break;
                    }
                }
            }
        }
        (names != module && !names.starts_with(module) && !module.starts_with(&names)).then_some(names)
    };
    let of = |(module, source): (&Vec<String>, &Source)| {
        let named = paths(source.code());
        (module.clone(), named.iter().filter_map(|path| target(module, path)).collect())
    };
    files.iter().map(of).collect()
}

/// The files that are part of a cycle.
fn in_circles(edges: &BTreeMap<Vec<String>, BTreeSet<Vec<String>>>) -> Vec<String> {
    let reaches_itself = |file: &Vec<String>| {
        let mut seen = BTreeSet::new();
        let mut next: Vec<_> = edges[file].iter().collect();
        while let Some(other) = next.pop() {
            if seen.insert(other) {
                next.extend(edges.get(other).into_iter().flatten());
            }
        }
        seen.contains(file)
    };
    edges.keys().filter(|file| reaches_itself(file)).map(|file| file.join("::")).collect()
}

#[test]
fn no_file_imports_one_that_imports_it() {
    let root = checkout().root.clone();
    let mut wrong = Vec::new();
    let mut crates = 0;
    for folder in crates_of_the_workspace() {
        crates += 1;
        let files = files(&root.join(&folder), sources(folder.to_str().unwrap()));
        wrong.extend(in_circles(&edges(&files)).into_iter().map(|file| format!("{}: {file}", folder.display())));
    }
    assert!(crates > 4, "{crates} crates were found");
    assert!(
        wrong.is_empty(),
        "these files import each other in a circle; move what both need to a file of its own: {wrong:#?}"
    );
}

#[test]
fn a_circle_between_files_is_found() {
    let source = |path: &str, text: &str| Source { path: PathBuf::from(path), text: text.to_owned() };
    let circle = |b: &str| {
        let sources = vec![
            source("/src/lib.rs", "mod a;\nmod b;\nmod c;"),
            source("/src/a.rs", "use super::b::B;"),
            source("/src/b/mod.rs", "mod d;\nuse d::D;"),
            source("/src/b/d.rs", b),
            source("/src/c.rs", "use crate::a::A;\nuse crate::b::d::D;"),
        ];
        in_circles(&edges(&files(Path::new("/src"), sources)))
    };
    assert_eq!(circle("use super::B;"), Vec::<String>::new());
    assert_eq!(circle("use crate::c;"), ["b::d", "c"]);
    assert_eq!(circle("fn f() { super::super::c::f() }"), ["b::d", "c"]);
}

/// The folders of the sources of all crates of the workspace.
fn crates_of_the_workspace() -> Vec<PathBuf> {
    let root = checkout().root.clone();
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let members = manifest.split("members = [").nth(1).unwrap().split(']').next().unwrap();
    let mut folders = Vec::new();
    for member in members.split('"').skip(1).step_by(2) {
        match member.strip_suffix("/*") {
            None => folders.push(PathBuf::from(member)),
            Some(above) => {
                let all = fs::read_dir(root.join(above))
                    .unwrap()
                    .map(|entry| Path::new(above).join(entry.unwrap().file_name()));
                folders.extend(all.filter(|folder| root.join(folder).join("Cargo.toml").exists()));
            }
        }
    }
    folders.into_iter().map(|folder| folder.join("src")).filter(|folder| root.join(folder).exists()).collect()
}

/// Lines that look like a bound: a constant that is a number or a time, or a time made of a number.
fn bounds(code: &str) -> Vec<String> {
    const TYPES: [&str; 14] =
        ["Duration", "usize", "u8", "u16", "u32", "u64", "u128", "i8", "i16", "i32", "i64", "i128", "NonZero", "Range"];
    let mut found = Vec::new();
    for line in code.lines().map(str::trim).filter(|line| !line.starts_with("//")) {
        let constant = line.split("const ").nth(1).and_then(|rest| rest.split_once(": "));
        if let Some((name, rest)) =
            constant.filter(|(name, _)| name.chars().all(|c| c.is_uppercase() || c == '_' || c.is_ascii_digit()))
            && let Some((ty, value)) = rest.split_once('=')
            && TYPES.iter().any(|start| ty.trim().rsplit("::").next().unwrap().starts_with(start))
            && value.contains(|c: char| c.is_ascii_digit())
        {
            found.push(name.to_owned());
        } else if let Some((_, rest)) = line.split_once("Duration::from_")
            && rest.split_once('(').is_some_and(|(_, value)| value.starts_with(|c: char| c.is_ascii_digit()))
        {
            found.push(format!("from_{}", rest.split('(').next().unwrap()));
        }
    }
    found
}

#[test]
fn bounds_are_in_limits() {
    let src = checkout().root.join("host/src");
    let mut wrong = Vec::new();
    let mut excused = BTreeSet::new();
    for source in sources("host/src").into_iter().filter(|source| source.path != src.join("limits.rs")) {
        let file = source.path.strip_prefix(&src).unwrap().to_str().unwrap().to_owned();
        for name in bounds(source.code()) {
            match NOT_BOUNDS.iter().find(|(other, names, _)| *other == file && names.contains(&name.as_str())) {
                Some((file, ..)) => drop(excused.insert((*file, name))),
                None => wrong.push(format!("{file}: {name}")),
            }
        }
    }
    let all = NOT_BOUNDS.iter().flat_map(|(file, names, _)| names.iter().map(move |name| (*file, (*name).to_owned())));
    let stale: Vec<_> = all.filter(|excuse| !excused.contains(excuse)).collect();
    assert!(
        wrong.is_empty(),
        "a bound, a wait or a size is a constant of host/src/limits.rs with its reason; a fact of a protocol or a format \
         is named with its reason in NOT_BOUNDS: {wrong:#?}"
    );
    assert!(stale.is_empty(), "NOT_BOUNDS names constants that do not exist: {stale:?}");
}

#[test]
fn a_bound_is_seen_where_it_is() {
    let code = "pub(super) const WAIT: Duration = Duration::from_secs(5);\n// const NO: usize = 1;\nconst NAME: &str = \"9\";\n\
                const SUM: usize = limits::A;\nsleep(Duration::from_millis(20));\nconst R: std::ops::Range<i64> = 0..9;\n\
                fn f() -> Duration { Duration::from_secs(n) }\nconst B: u64 = 1 << 4;";
    assert_eq!(bounds(code), ["WAIT", "from_millis", "R", "B"]);
}
