//! The manifest, `galo.toml`: which handlers there are, where each answers and what it may do. Parsed strictly: an
//! unknown key, a bad route or a limit over its ceiling is refused with file and line, all of them at once.
//!
//! It does not look at the files it names nor at the database: `reload` does, when it loads a handler.

mod cors;
mod limits;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};

use http::HeaderName;
use serde::Deserialize;
use toml::Spanned;

use self::cors::CorsTable;
use self::limits::LimitsTable;
use crate::cors::Cors;
use crate::database::Batch;
use crate::file;
use crate::limits::{HANDLERS_MAX, HandlerLimits, MANIFEST_BYTES_MAX};
use crate::route::Route;
use crate::wire::MediaType;

/// The file's name in the handlers folder.
pub const FILE_NAME: &str = "galo.toml";

/// A parsed manifest.
#[derive(Debug)]
pub struct Manifest {
    /// Where it was read.
    pub path: PathBuf,
    /// Which pages of other origins may use the node, where it says so.
    pub cors: Option<Cors>,
    /// Its handlers, in the order of the file.
    pub handlers: Vec<Entry>,
}

/// One handler of the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name, unique in the manifest: letters, digits, `-` and `_`.
    pub name: String,
    /// The folder of the manifest: the handler's examples are in `NAME/examples` there.
    pub folder: PathBuf,
    /// The component's file.
    pub component: PathBuf,
    /// Where it answers.
    pub route: Route,
    /// The request headers it may see.
    pub headers: Vec<HeaderName>,
    /// What the body of a request must be said to be; any when there is none.
    pub content_type: Option<MediaType>,
    /// The procedures it may call.
    pub procedures: Vec<GrantedProcedure>,
    /// Whether its component may import the closed WASI.
    pub wasi: bool,
    /// What a call of it may cost.
    pub limits: HandlerLimits,
    /// The line of its `[[handler]]`, from 1.
    pub line: usize,
}

/// A procedure that a handler may call.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GrantedProcedure {
    /// The name it calls it by.
    pub name: String,
    /// What carries many of its calls out at once, where something does.
    pub batch: Option<Batch>,
}

/// Reads and parses the manifest of a handlers folder.
///
/// # Errors
/// All mistakes of the file, each with its line.
pub fn read(folder: &Path) -> Result<Manifest, Refused> {
    let path = folder.join(FILE_NAME);
    let refuse = |text: String| Refused { path: path.clone(), mistakes: vec![Mistake::new(None, text)] };
    let bytes = file::read(&path, MANIFEST_BYTES_MAX).map_err(|error| {
        let mistake = Mistake { outside: error.may_pass(), ..Mistake::new(None, error.to_string()) };
        Refused { path: path.clone(), mistakes: vec![mistake] }
    })?;
    let text = String::from_utf8(bytes).map_err(|error| refuse(error.to_string()))?;
    parse(&path, &text)
}

/// Parses the text of a manifest that was found at `path`.
///
/// # Errors
/// As [`read`].
pub fn parse(path: &Path, text: &str) -> Result<Manifest, Refused> {
    let line_of = |offset: usize| 1 + text.as_bytes()[..offset.min(text.len())].iter().filter(|b| **b == b'\n').count();
    let tables: File = toml::from_str(text).map_err(|error| Refused {
        path: path.to_owned(),
        mistakes: vec![Mistake::new(error.span().map(|s| line_of(s.start)), error.message().to_owned())],
    })?;
    let mut mistakes = Vec::new();
    let mut lines: HashMap<String, usize> = HashMap::new();
    let mut handlers = Vec::new();
    if tables.handler.is_empty() {
        mistakes.push(Mistake::new(None, "it has no handler: add one, as a `[[handler]]` table".to_owned()));
    }
    if tables.handler.len() > HANDLERS_MAX {
        mistakes.push(Mistake::new(None, format!("more than {} handlers", HANDLERS_MAX)));
    }
    let cors =
        tables.cors.map(|cors| cors.cors(&mut |offset, text| mistakes.push(Mistake::new(Some(line_of(offset)), text))));
    for table in &tables.handler {
        let mut entry_mistakes = Vec::new();
        let entry = table.get_ref().entry(path, line_of(table.span().start), &mut |offset, text| {
            entry_mistakes.push(Mistake::new(Some(line_of(offset)), text));
        });
        if let Some(first) = lines.insert(entry.name.clone(), entry.line) {
            let text = format!("the handler `{}` is already defined in line {first}", entry.name);
            entry_mistakes.push(Mistake::new(Some(entry.line), text));
        }
        mistakes.append(&mut entry_mistakes);
        handlers.push(entry);
    }
    if mistakes.is_empty() {
        Ok(Manifest { path: path.to_owned(), cors, handlers })
    } else {
        Err(Refused { path: path.to_owned(), mistakes })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    cors: Option<CorsTable>,
    #[serde(default)]
    handler: Vec<Spanned<Table>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    name: Spanned<String>,
    component: PathBuf,
    route: Spanned<String>,
    #[serde(default)]
    headers: Vec<Spanned<String>>,
    content_type: Option<Spanned<String>>,
    #[serde(default)]
    procedures: Vec<Spanned<String>>,
    #[serde(default)]
    batch: BTreeMap<Spanned<String>, Spanned<Batch>>,
    #[serde(default)]
    wasi: bool,
    #[serde(default)]
    limits: LimitsTable,
}

impl Table {
    fn entry(&self, manifest: &Path, line: usize, mistake: &mut dyn FnMut(usize, String)) -> Entry {
        let name = self.name.get_ref();
        let folder = manifest.parent().unwrap_or(Path::new(""));
        let well_formed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || !name.chars().all(well_formed) {
            mistake(self.name.span().start, format!("`{name}` is no name: letters, digits, `-` and `_` make one"));
        }
        let route = self.route.get_ref().parse::<Route>().unwrap_or_else(|error| {
            mistake(self.route.span().start, format!("route `{}`: {error}", self.route.get_ref()));
            Route::unmatchable()
        });
        let headers = self.headers.iter().filter_map(|header| {
            let parsed = header.get_ref().parse::<HeaderName>();
            if parsed.is_err() {
                mistake(header.span().start, format!("`{}` is no header name", header.get_ref()));
            }
            parsed.ok()
        });
        let headers = headers.collect();
        let content_type = self.content_type.as_ref().and_then(|text| {
            let parsed = text.get_ref().parse::<MediaType>();
            let told = |error| format!("content_type = \"{}\": {error}", text.get_ref());
            parsed.map_err(|error| mistake(text.span().start, told(error))).ok()
        });
        let procedures = self.procedures.iter().map(|name| (name.get_ref(), name.span()));
        let forms = self.batch.values().map(|batch| (&batch.get_ref().form, batch.span()));
        for (_, span) in procedures.chain(forms).filter(|(name, _)| name.is_empty()) {
            mistake(span.start, "a procedure has a name".to_owned());
        }
        for batched in self.batch.keys().filter(|batched| !self.procedures.iter().any(|one| one == *batched)) {
            let text = format!("`{}` has a batch form, and is not among the procedures", batched.get_ref());
            mistake(batched.span().start, text);
        }
        let granted = |name: &Spanned<String>| GrantedProcedure {
            name: name.get_ref().clone(),
            batch: self.batch.get(name).map(|batch| batch.get_ref().clone()),
        };
        Entry {
            name: name.clone(),
            folder: folder.to_owned(),
            component: folder.join(&self.component),
            route,
            headers,
            content_type,
            procedures: self.procedures.iter().map(granted).collect(),
            wasi: self.wasi,
            limits: self.limits.limits(mistake),
            line,
        }
    }
}

/// Why a manifest is not taken.
#[derive(Debug)]
pub struct Refused {
    /// The file.
    pub path: PathBuf,
    /// Everything that is wrong with it.
    pub mistakes: Vec<Mistake>,
}

/// One thing that is wrong with a manifest.
#[derive(Debug)]
pub struct Mistake {
    /// Its line, from 1, where there is one.
    pub line: Option<usize>,
    /// What is wrong.
    pub text: String,
    /// It is not the file that is wrong but the database it was held against, or the disk.
    pub outside: bool,
}

impl Mistake {
    /// A mistake of the file.
    pub fn new(line: Option<usize>, text: String) -> Self {
        Self { line, text, outside: false }
    }
}

impl Refused {
    /// Whether it may be taken later, though nobody touches it.
    pub fn may_pass(&self) -> bool {
        self.mistakes.iter().any(|mistake| mistake.outside)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.mistakes.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            let line = mistake.line.map(|line| format!("{line}:")).unwrap_or_default();
            write!(f, "{separator}{}:{line} {}", self.path.display(), mistake.text.trim_end())?;
        }
        Ok(())
    }
}

impl std::error::Error for Refused {}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const GOOD: &str = r#"
[[handler]]
name = "transacoes"
component = "transacoes.wasm"
route = "POST /clientes/{id}/transacoes"
headers = ["Idempotency-Key"]
content_type = "application/json"
procedures = ["realizar_transacao", "cliente_existe"]
batch = { realizar_transacao = { form = "realizar_transacoes", by = "cliente_id" } }
limits = { deadline_ms = 20 }
"#;

    fn refusal(text: &str) -> String {
        parse(Path::new("h/galo.toml"), text).unwrap_err().to_string()
    }

    #[test]
    fn a_manifest_is_read_whole() {
        let manifest = parse(Path::new("h/galo.toml"), GOOD).unwrap();
        let entry = &manifest.handlers[0];
        assert_eq!((entry.name.as_str(), entry.line), ("transacoes", 2));
        assert_eq!(entry.component, Path::new("h/transacoes.wasm"));
        assert_eq!(entry.headers, [HeaderName::from_static("idempotency-key")]);
        assert_eq!(entry.limits, HandlerLimits { deadline: Duration::from_millis(20), ..HandlerLimits::default() });
        assert!(!entry.wasi);
        assert_eq!(entry.content_type, Some("application/json".parse().unwrap()));
        let batch = Batch { form: "realizar_transacoes".to_owned(), by: "cliente_id".to_owned() };
        let expected = [("realizar_transacao", Some(batch)), ("cliente_existe", None)];
        let expected = expected.map(|(name, batch)| GrantedProcedure { name: name.to_owned(), batch });
        assert_eq!(entry.procedures, expected);
    }

    #[test]
    fn each_mistake_is_told_with_its_line() {
        for (from, to, told) in [
            ("name = \"transacoes\"", "nome = 1", "h/galo.toml:3: unknown field `nome`"),
            ("name = \"transacoes\"", "name = \"a b\"", "h/galo.toml:3: `a b` is no name"),
            ("POST /", "POST ", "h/galo.toml:5: route `POST clientes/{id}/transacoes`: a path begins with `/`"),
            ("Idempotency-Key", "a b", "h/galo.toml:6: `a b` is no header name"),
            ("{ realizar_transacao", "{ outra", "h/galo.toml:9: `outra` has a batch form, and is not among the"),
            ("realizar_transacoes", "", "h/galo.toml:9: a procedure has a name"),
            ("application/json", "json", "h/galo.toml:7: content_type = \"json\": expected TYPE/SUBTYPE"),
            (", by = \"cliente_id\"", "", "h/galo.toml:9: missing field `by`"),
            (
                "{ form = \"realizar_transacoes\", by = \"cliente_id\" }",
                "\"realizar_transacoes\"",
                "h/galo.toml:9: invalid type: string \"realizar_transacoes\", expected { form = \"FUNCTION\", by = \"PARAMETER\" }",
            ),
            ("20", "0", "h/galo.toml:10: deadline_ms = 0: 1 to 2000 are allowed"),
            ("20", "\"x\"", "h/galo.toml:10: invalid type: string \"x\""),
            ("20 }", "20", "h/galo.toml:10:"),
            ("component = \"transacoes.wasm\"", "", "h/galo.toml:2: missing field `component`"),
        ] {
            let told_now = refusal(&GOOD.replace(from, to));
            assert!(told_now.starts_with(told), "{told_now}");
        }
    }

    #[test]
    fn mistakes_are_told_together_and_a_name_is_defined_once() {
        let told = refusal(&GOOD.replace("POST /", "POST ").replace("20", "9000").repeat(2));
        assert_eq!(told.lines().count(), 5, "{told}");
        assert!(told.contains("h/galo.toml:12: the handler `transacoes` is already defined in line 2"), "{told}");
    }
}
