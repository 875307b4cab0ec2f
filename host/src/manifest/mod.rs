//! The manifest, `galo.toml`: the handlers, their routes and their permissions. It is parsed strictly: unknown keys,
//! bad routes and limits over their ceiling are all reported together, with file and line.
//!
//! It reads neither the files it names nor the database. `reload` does that when it loads a handler.

mod build;
mod built;
mod config;
mod cors;
mod entry;
mod json_path;
mod limits;
mod messages;
mod project;
mod record;
mod refused;
mod shards;
mod statement;
mod table;
mod token;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

pub use self::build::Build;
pub use self::built::built;
pub use self::entry::{
    Claims, ConfigValue, EXPLAIN_PARAMETERS, Entry, GALO_TRY, Gate, IDEMPOTENCY_KEY, KeyPlace, Place, Retry, Text,
    TokenEntry,
};
pub use self::json_path::{JsonPath, Step};
pub use self::project::{ProjectEntry, check_name};
pub use self::record::{RecordEntry, Redact};
pub use self::refused::{Mistake, Refused};
pub use self::shards::ShardsEntry;
use self::table::File;
use crate::cors::Cors;
use crate::file;
use crate::limits::{HANDLERS_MAX, MANIFEST_BYTES_MAX};
use crate::route::{Ambiguous, Route, Routes};
use crate::trust::{self, Trust};
use crate::wire::Messages;

/// The file's name, at the top of a project and in a folder of components.
pub const FILE_NAME: &str = "galo.toml";

/// The folder of a project that has a folder of sources for each handler.
pub const SOURCES: &str = "handlers";

/// A parsed manifest.
#[derive(Debug)]
pub struct Manifest {
    /// The path of the file.
    pub path: PathBuf,
    /// What the project is called, and its database and role.
    pub project: ProjectEntry,
    /// Which pages of other origins may use the node, if configured.
    pub cors: Option<Cors>,
    /// The bodies that clients read for failures.
    pub messages: Messages,
    /// How tokens of clients are verified, if configured.
    pub token: Option<TokenEntry>,
    /// How the data is partitioned, if it is on several shards.
    pub shards: Option<ShardsEntry>,
    /// Its handlers, in the order of the file.
    pub handlers: Vec<Entry>,
}

impl Manifest {
    /// Two routes that match the same paths, each with its handler.
    pub fn ambiguity(&self) -> Option<[(&Entry, &Route); 2]> {
        let routes: Vec<_> =
            self.handlers.iter().flat_map(|entry| entry.routes.iter().map(move |route| (entry, route))).collect();
        let Ambiguous { first, second } = Routes::new(routes.iter().map(|(_, route)| ((*route).clone(), ()))).err()?;
        Some([routes[first], routes[second]])
    }

    /// The files outside of it that it names: those of secrets, and of keys for tokens.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let secrets = self.handlers.iter().flat_map(|entry| &entry.config).filter_map(|value| match &value.value {
            Text::Secret(Place::File(path)) => Some(path),
            Text::Secret(Place::Variable(_)) | Text::Plain(_) => None,
        });
        let keys = self.token.as_ref().and_then(|token| match &token.keys {
            KeyPlace::Jwks(path) | KeyPlace::Secret(Place::File(path)) => Some(path),
            KeyPlace::Secret(Place::Variable(_)) => None,
        });
        secrets.chain(keys)
    }
}

/// Reads and parses the manifest of a project. The component and the examples of each handler are in `handlers/NAME/`.
///
/// # Errors
/// As [`read`].
pub fn read_project(root: &Path) -> Result<Manifest, Refused> {
    let mut manifest = read(root)?;
    let sources = root.join(SOURCES);
    for entry in &mut manifest.handlers {
        if let Ok(component) = entry.component.strip_prefix(root) {
            entry.component = sources.join(&entry.name).join(component);
        }
        entry.folder.clone_from(&sources);
    }
    Ok(manifest)
}

/// Reads and parses the manifest of a folder of components.
///
/// # Errors
/// All mistakes of the file, each with its line.
pub fn read(folder: &Path) -> Result<Manifest, Refused> {
    read_trusted(folder, None)
}

/// As [`read`], for a node that serves only what one of its keys has signed.
///
/// # Errors
/// As [`read`]; also when the manifest is not signed by one of the keys.
pub fn read_trusted(folder: &Path, trust: Option<&Trust>) -> Result<Manifest, Refused> {
    let path = folder.join(FILE_NAME);
    // Before the text: who replaces both in this order is not refused for having a newer text than signature.
    let signature = trust.map(|_| trust::beside(&path));
    let text = text(&path)?;
    if let Some((trust, signature)) = trust.zip(signature) {
        let refuse = |text: String, outside| {
            let mistake = Mistake { outside, ..Mistake::new(None, text) };
            Refused { path: path.clone(), mistakes: vec![mistake] }
        };
        let signature = signature.map_err(|error| refuse(format!("its signature: {error}"), error.may_pass()))?;
        trust.check(text.as_bytes(), signature.as_deref()).map_err(|error| refuse(error.to_string(), false))?;
    }
    parse(&path, &text)
}

/// Reads the section `[project]` of a project's manifest, also if other sections have mistakes.
///
/// # Errors
/// The first mistake of the section, or that the file is not TOML.
pub fn read_section(root: &Path) -> Result<ProjectEntry, Refused> {
    let path = root.join(FILE_NAME);
    let text = text(&path)?;
    project::section(&text).map_err(|mistake| Refused { path, mistakes: vec![Mistake::new(None, mistake)] })
}

fn text(path: &Path) -> Result<String, Refused> {
    let refuse = |text: String| Refused { path: path.to_owned(), mistakes: vec![Mistake::new(None, text)] };
    let bytes = file::read(path, MANIFEST_BYTES_MAX).map_err(|error| {
        let mistake = Mistake { outside: error.may_pass(), ..Mistake::new(None, error.to_string()) };
        Refused { path: path.to_owned(), mistakes: vec![mistake] }
    })?;
    String::from_utf8(bytes).map_err(|error| refuse(error.to_string()))
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
    // A copy that was made in a project: its mistakes, and the files that it names, are those of the original.
    let copy = path;
    let path = tables.built.as_ref().map_or(path, |built| &built.manifest);
    let mut mistakes = Vec::new();
    let mut lines: HashMap<String, usize> = HashMap::new();
    let mut handlers = Vec::new();
    if tables.handler.is_empty() {
        mistakes.push(Mistake::new(None, "it has no handler: add one, as a `[[handler]]` table".to_owned()));
    }
    if tables.handler.len() > HANDLERS_MAX {
        mistakes.push(Mistake::new(None, format!("more than {} handlers", HANDLERS_MAX)));
    }
    let project = tables
        .project
        .map(|project| project.project(&mut |offset, text| mistakes.push(Mistake::new(Some(line_of(offset)), text))));
    let cors =
        tables.cors.map(|cors| cors.cors(&mut |offset, text| mistakes.push(Mistake::new(Some(line_of(offset)), text))));
    let messages = messages::messages(&tables.messages, &mut |offset, text| {
        mistakes.push(Mistake::new(Some(line_of(offset)), text));
    });
    let folder = path.parent().unwrap_or(Path::new(""));
    let token = tables.token.as_ref().and_then(|token| {
        let start = token.span().start;
        token.get_ref().entry(folder, (start, line_of(start)), &mut |offset, text| {
            mistakes.push(Mistake::new(Some(line_of(offset)), text));
        })
    });
    let recorded = tables.record.unwrap_or_default().entry(&mut |offset, text| {
        mistakes.push(Mistake::new(Some(line_of(offset)), text));
    });
    for table in &tables.handler {
        let (mut entry_mistakes, start) = (Vec::new(), table.span().start);
        let mut mistake = |offset, text| entry_mistakes.push(Mistake::new(Some(line_of(offset)), text));
        let mut entry = table.get_ref().entry(path, (start, line_of(start)), &mut mistake);
        entry.record = std::mem::take(&mut entry.record).on_top_of(&recorded);
        if let Some(claims) = table.get_ref().claims.as_ref().filter(|_| tables.token.is_none()) {
            let text = "claims: the manifest has no section [token], which says how tokens are verified; add one";
            mistake(claims.span().start, text.to_owned());
        }
        if let Some(first) = lines.insert(entry.name.clone(), entry.line) {
            let text = format!("the handler `{}` is already defined in line {first}", entry.name);
            entry_mistakes.push(Mistake::new(Some(entry.line), text));
        }
        mistakes.append(&mut entry_mistakes);
        handlers.push(entry);
    }
    let shards = tables.shards.as_ref().map(|shards| {
        let mut mistake = |offset, text| mistakes.push(Mistake::new(Some(line_of(offset)), text));
        let entry = shards.get_ref().entry(line_of(shards.span().start), &mut mistake);
        let is_used = |name: &str| handlers.iter().any(|handler| handler.uses(name));
        shards.get_ref().check_names(is_used, &mut mistake);
        handlers.iter_mut().for_each(|handler| handler.partition(&entry, &mut mistakes));
        entry
    });
    if let Some(built) = &tables.built {
        handlers = built.entries(handlers, copy.parent().unwrap_or(Path::new("")));
    }
    if mistakes.is_empty() {
        let project = project.unwrap_or_default();
        Ok(Manifest { path: path.to_owned(), project, cors, messages, token, shards, handlers })
    } else {
        Err(Refused { path: path.to_owned(), mistakes })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderName;

    use super::*;
    use crate::database::{Batch, GrantedProcedure};
    use crate::limits::HandlerLimits;

    const GOOD: &str = r#"
[[handler]]
name = "orders"
component = "orders.wasm"
route = "POST /customers/{id}/orders"
headers = ["Idempotency-Key"]
content_type = "application/json"
procedures = ["place_order", "customer_exists", "pay"]
batch = { place_order = { form = "place_orders", by = "customer_id" } }
remote = ["pay"]
limits = { deadline_ms = 20 }
"#;

    fn refusal(text: &str) -> String {
        parse(Path::new("h/galo.toml"), text).unwrap_err().to_string()
    }

    #[test]
    fn a_manifest_is_read_whole() {
        let manifest = parse(Path::new("h/galo.toml"), GOOD).unwrap();
        let entry = &manifest.handlers[0];
        assert_eq!((entry.name.as_str(), entry.line), ("orders", 2));
        assert_eq!(entry.component, Path::new("h/orders.wasm"));
        assert_eq!(entry.headers, [HeaderName::from_static("idempotency-key")]);
        assert_eq!(entry.limits, HandlerLimits { deadline: Duration::from_millis(20), ..HandlerLimits::default() });
        assert!(!entry.wasi);
        assert_eq!(entry.content_type, Some("application/json".parse().unwrap()));
        assert_eq!(entry.retry, Retry::Never);
        let batch = Batch::new("place_orders", "customer_id");
        let expected = [("place_order", Some(batch), false), ("customer_exists", None, false), ("pay", None, true)];
        let expected =
            expected.map(|(name, batch, remote)| GrantedProcedure { batch, remote, ..GrantedProcedure::plain(name) });
        assert_eq!(entry.procedures, expected);
    }

    #[test]
    fn each_mistake_is_told_with_its_line() {
        let memory = format!(
            "h/galo.toml:11: memory_bytes_max = 65535: 65536 to {} are allowed",
            crate::limits::MEMORY_BYTES_CEILING
        );
        for (from, to, told) in [
            ("name = \"orders\"", "title = 1", "h/galo.toml:3: unknown field `title`"),
            ("name = \"orders\"", "name = \"a b\"", "h/galo.toml:3: `a b` is not a handler name"),
            ("route = \"POST /customers/{id}/orders\"", "", "h/galo.toml:2: missing field `route`: write `route ="),
            ("route = \"POST /customers/{id}/orders\"", "routes = []", "h/galo.toml:5: 0 routes: 1 to 256 are allowed"),
            (
                "route =",
                "routes = [\"GET /a\"]\nroute =",
                "h/galo.toml:6: `route` and `routes`: write all of them into",
            ),
            (
                "{id}",
                ":id",
                "h/galo.toml:5: route `POST /customers/:id/orders`: the segment `:id`: a parameter is written",
            ),
            ("POST /", "POST ", "h/galo.toml:5: route `POST customers/{id}/orders`: a path begins with `/`"),
            ("Idempotency-Key", "a b", "h/galo.toml:6: `a b` is not a header name"),
            ("{ place_order", "{ other", "h/galo.toml:9: `other` has a batch form, and is not among the"),
            ("application/json", "json", "h/galo.toml:7: content_type = \"json\": expected TYPE/SUBTYPE"),
            ("place_orders", "", "h/galo.toml:9: a procedure has a name"),
            (
                "remote = [\"pay\"]",
                "remote = [\"other\"]",
                "h/galo.toml:10: remote: `other` is not among the procedures",
            ),
            (
                "remote = [\"pay\"]",
                "remote = [\"pay\", \"place_order\"]",
                "h/galo.toml:10: remote: `place_order` has a batch form, and a batch must be one transaction",
            ),
            (
                "remote = [\"pay\"]",
                "remote = true",
                "h/galo.toml:10: invalid type: boolean `true`, expected a sequence",
            ),
            (", by = \"customer_id\"", "", "h/galo.toml:9: missing field `by`"),
            ("limits", "build = { command = \" \" }\nlimits", "h/galo.toml:11: build: the command is empty"),
            ("limits", "build = { watch = [] }\nlimits", "h/galo.toml:11: missing field `command`"),
            (
                "limits",
                "build = { command = \"make\", watch = [\"src/[\"] }\nlimits",
                "h/galo.toml:11: build: invalid glob in `watch`: error parsing glob 'src/['",
            ),
            (
                "limits",
                "build = { command = \"make\", watch = [\"../x/**\"] }\nlimits",
                "h/galo.toml:11: build: the glob `../x/**` in `watch` leaves the handler's folder",
            ),
            (
                "{ form = \"place_orders\", by = \"customer_id\" }",
                "\"place_orders\"",
                "h/galo.toml:9: invalid type: string \"place_orders\", expected { form = \"FUNCTION\", by = \"PARAMETER\" }",
            ),
            ("20", "0", "h/galo.toml:11: deadline_ms = 0: 1 to 2000 are allowed"),
            ("deadline_ms = 20", "memory_bytes_max = 65535", &memory),
            (
                "deadline_ms = 20",
                "memory_bytes_max = 65536, body_bytes_max = 8193",
                "h/galo.toml:11: body_bytes_max = 8193: a memory of 65536 bytes cannot hold it; set memory_bytes_max to 65538",
            ),
            ("20", "\"x\"", "h/galo.toml:11: invalid type: string \"x\""),
            ("20 }", "20", "h/galo.toml:11:"),
            ("component = \"orders.wasm\"", "", "h/galo.toml:2: missing field `component`"),
        ] {
            let told_now = refusal(&GOOD.replace(from, to));
            assert!(told_now.starts_with(told), "{told_now}");
        }
    }

    #[test]
    fn mistakes_are_told_together_and_a_name_is_defined_once() {
        let told = refusal(&GOOD.replace("POST /", "POST ").replace("20", "9000").repeat(2));
        assert_eq!(told.lines().count(), 5, "{told}");
        assert!(told.contains("h/galo.toml:13: the handler `orders` is already defined in line 2"), "{told}");
    }

    #[test]
    fn a_handler_says_how_it_is_built() {
        let build = "build = { command = \"npm run build\", watch = [\"src/**\"] }\nlimits";
        let manifest = parse(Path::new("h/galo.toml"), &GOOD.replace("limits", build)).unwrap();
        let build = Build { command: "npm run build".to_owned(), watch: vec!["src/**".to_owned()] };
        assert_eq!(manifest.handlers[0].build, Some(build));
        assert_eq!(parse(Path::new("h/galo.toml"), GOOD).unwrap().handlers[0].build, None);
    }

    #[test]
    fn a_copy_that_dev_made_names_the_sources_and_leaves_out_what_is_not_built() {
        let two = format!("{GOOD}{}", GOOD.replace("orders", "others"));
        let copy = |without: &'static str, text: &str| {
            let section = built(Path::new("/shop/galo.toml"), without.split_terminator(','));
            parse(Path::new("/copies/galo.toml"), &(text.to_owned() + &section))
        };
        let manifest = copy("others", &two).unwrap();
        let [entry] = manifest.handlers.as_slice() else { panic!("{:?}", manifest.handlers) };
        assert_eq!((entry.name.as_str(), manifest.path.as_path()), ("orders", Path::new("/shop/galo.toml")));
        assert_eq!(entry.component, Path::new("/copies/orders.wasm"));
        assert_eq!(entry.shown(&entry.component), Path::new("/shop/handlers/orders"));
        let example = Path::new("/copies/orders/examples/a.json");
        assert_eq!(entry.shown(example), Path::new("/shop/handlers/orders/examples/a.json"));
        assert_eq!(copy("", &two).unwrap().handlers.len(), 2);
        let told = copy("", &GOOD.replace("POST /", "POST ")).unwrap_err().to_string();
        assert!(told.starts_with("/shop/galo.toml:5: "), "{told}");
    }

    #[test]
    fn a_handler_has_several_routes_and_no_two_are_alike() {
        let text =
            GOOD.replace("route = \"POST /customers/{id}/orders\"", "routes = [\n\"GET /a/{x}\", \"POST /a\"\n]");
        let manifest = parse(Path::new("h/galo.toml"), &text).unwrap();
        assert_eq!(manifest.handlers[0].routes_shown(), "GET /a/{x}, POST /a");
        assert!(manifest.ambiguity().is_none());
        for (to, twins) in [
            ("\"GET /a/{y}\"", ("orders", "orders")),
            ("\"POST /b\"]\n[[handler]]\nname = \"b\"\ncomponent = \"b.wasm\"\nroutes = [\"POST /b\"", ("orders", "b")),
        ] {
            let manifest =
                parse(Path::new("h/galo.toml"), &text.replace("\"POST /a\"", to).replace("headers", "#")).unwrap();
            let [first, second] = manifest.ambiguity().unwrap();
            assert_eq!((first.0.name.as_str(), second.0.name.as_str()), twins, "{to}");
        }
        // One of several routes may be misspelled.
        let told = refusal(&text.replace("POST /a", "POTS /a"));
        assert!(
            told.starts_with("h/galo.toml:6: route `POTS /a`: unknown method `POTS`; did you mean POST?"),
            "{told}"
        );
    }

    #[test]
    fn a_route_that_may_be_repeated_is_granted_both_keys() {
        let keyed = GOOD.replace("[\"Idempotency-Key\"]", "[\"Idempotency-Key\", \"galo-try\"]\nretry = \"key\"");
        let manifest = parse(Path::new("h/galo.toml"), &keyed).unwrap();
        assert_eq!(manifest.handlers[0].retry, Retry::Key);
        for (from, to, told) in [
            (
                "\"Idempotency-Key\", ",
                "",
                "h/galo.toml:7: retry = \"key\": the header `idempotency-key` is not granted",
            ),
            (", \"galo-try\"", "", "h/galo.toml:7: retry = \"key\": the header `galo-try` is not granted"),
            ("retry = \"key\"", "", "h/galo.toml:6: `galo-try` is only set for a route with retry = \"key\""),
            ("\"key\"", "\"always\"", "h/galo.toml:7: unknown variant `always`, expected `key`"),
            ("POST", "GET", "h/galo.toml:7: retry = \"key\": a GET is repeated without it"),
        ] {
            let told_now = refusal(&keyed.replace(from, to));
            assert!(told_now.starts_with(told), "{told_now}");
        }
    }
}
