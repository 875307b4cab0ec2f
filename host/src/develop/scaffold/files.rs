//! The files of a new handler. The templates are text with `@words@` to fill in; every word that comes from outside was
//! checked, and needs no escape in Rust, TOML or JSON.

use std::collections::BTreeMap;

use crate::develop::languages::Language;
use crate::route::Route;

/// A handler that is about to be made.
pub(super) struct Draft<'a> {
    /// Its name.
    pub(super) name: &'a str,
    /// Its route.
    pub(super) route: &'a Route,
    /// The procedure it calls.
    pub(super) procedure: Option<&'a str>,
    /// The language it is written in.
    pub(super) language: Language,
}

macro_rules! template {
    ($name:literal) => {
        include_str!(concat!("templates/", $name, ".txt"))
    };
}

/// Names that the templates use, so the type of a handler cannot have them.
const TAKEN: &[&str] = &[
    "BTreeMap",
    "Err",
    "Handler",
    "None",
    "Ok",
    "Option",
    "Plan",
    "Request",
    "Response",
    "Result",
    "Rows",
    "Some",
    "UnexpectedRows",
    "Value",
];

impl Draft<'_> {
    /// Its table in the manifest.
    pub(super) fn manifest_table(&self) -> String {
        let procedures = self.procedure.map(|name| format!("procedures = [\"{name}\"]\n")).unwrap_or_default();
        let (name, route, build) = (self.name, self.route, self.build());
        format!("[[handler]]\nname = \"{name}\"\ncomponent = \"{name}.wasm\"\nroute = \"{route}\"\n{procedures}{build}")
    }

    /// The keys that a language needs: how it is built, and the limits that its engine is over by default.
    fn build(&self) -> &'static str {
        match self.language {
            Language::Rust => "",
            Language::C => "build = { command = \"sh build.sh\", watch = [\"src/**\", \"build.sh\"] }\n",
            Language::Js => {
                "build = { command = \"npm run build\", watch = [\"*.js\", \"build.mjs\", \"package.json\"] }\n\
                 limits = { memory_bytes_max = 16777216, table_elements_max = 8192 }\n"
            }
            Language::Python => {
                "build = { command = \"sh build.sh\", watch = [\"*.py\", \"build.sh\", \"requirements.txt\"] }\n\
                 limits = { memory_bytes_max = 33554432, table_elements_max = 8192 }\n"
            }
        }
    }

    /// Its files, each with its path inside the handler's folder.
    pub(super) fn files(&self) -> Vec<(&'static str, String)> {
        let words = self.words();
        let mut files = match self.language {
            Language::Rust => self.rust(),
            Language::C => vec![
                (
                    "src/handler.c",
                    self.source(template!("calls.c"), template!("calls_alone.c"), template!("replies.c")),
                ),
                ("build.sh", template!("build.c.sh")),
                (".gitignore", template!("gitignore.c")),
            ],
            Language::Js => vec![
                ("index.js", self.source(template!("calls.js"), template!("calls.js"), template!("replies.js"))),
                ("build.mjs", template!("build.mjs")),
                ("package.json", template!("package.json")),
                (".gitignore", template!("gitignore.js")),
            ],
            Language::Python => vec![
                ("app.py", self.source(template!("calls.py"), template!("calls.py"), template!("replies.py"))),
                ("build.sh", template!("build.py.sh")),
                ("requirements.txt", template!("requirements.txt")),
                (".gitignore", template!("gitignore.py")),
            ],
        };
        // The same for each language.
        files.extend(match self.procedure {
            Some(_) => vec![
                ("examples/call.json", template!("calls_example.json")),
                ("examples/first-row.json", template!("calls_first_row.json")),
                ("examples/no-row.json", template!("calls_no_row.json")),
            ],
            None => vec![("examples/parameters.json", template!("replies_example.json"))],
        });
        files.into_iter().map(|(path, template)| (path, fill(template, &words))).collect()
    }

    fn rust(&self) -> Vec<(&'static str, &'static str)> {
        let source = self.source(template!("calls.rs"), template!("calls_alone.rs"), template!("replies.rs"));
        let tests =
            self.source(template!("calls_tests.rs"), template!("calls_tests.rs"), template!("replies_tests.rs"));
        vec![
            ("Cargo.toml", template!("Cargo.toml")),
            ("build.rs", template!("build.rs")),
            ("src/lib.rs", source),
            ("src/tests.rs", tests),
        ]
    }

    /// The template for a handler that calls a procedure with the parameters of its route, that calls one without
    /// any, or that calls none.
    fn source(&self, calls: &'static str, calls_alone: &'static str, replies: &'static str) -> &'static str {
        match self.procedure {
            Some(_) if self.has_parameters() => calls,
            Some(_) => calls_alone,
            None => replies,
        }
    }

    fn has_parameters(&self) -> bool {
        self.route.parameters().next().is_some()
    }

    /// The text for each word of the templates. In tests and examples the parameters are 1, 2, 3 in their order.
    fn words(&self) -> BTreeMap<&'static str, String> {
        let route = self.route.to_string();
        let (method, path) = route.split_once(' ').unwrap_or_default();
        let numbered: Vec<_> = self.route.parameters().zip(1..).collect();
        let each = |text: fn(&str, i32) -> String| {
            numbered.iter().map(|(name, number)| text(name, *number)).collect::<Vec<_>>().join(", ")
        };
        let path = numbered
            .iter()
            .fold(path.to_owned(), |path, (name, number)| path.replace(&format!("{{{name}}}"), &number.to_string()));
        let body: BTreeMap<_, _> = numbered.iter().map(|(name, number)| (*name, number.to_string())).collect();
        let body: Vec<_> = body.iter().map(|(name, number)| format!("\"{name}\":\"{number}\"")).collect();
        let mut words = BTreeMap::from([
            ("name", self.name.to_owned()),
            ("Type", type_name(self.name)),
            ("procedure", self.procedure.unwrap_or_default().to_owned()),
            ("method", method.to_owned()),
            ("path", path),
            // What separates words in a template, for one that is part of its text.
            ("at", "@".to_owned()),
            ("count", numbered.len().to_string()),
            ("names", each(|name, _| format!("\"{name}\""))),
            ("arguments", each(|name, _| format!("integer(\"{name}\")?.into()"))),
            ("fields", each(|name, number| format!("(\"{name}\", \"{number}\")"))),
            ("bad_fields", each(|name, _| format!("(\"{name}\", parameter)"))),
            ("values", each(|_, number| format!("{number}.into()"))),
            ("numbers", each(|_, number| number.to_string())),
            ("body", format!("{{{}}}", body.join(","))),
            ("route", route),
        ]);
        let refusal = if self.has_parameters() { fill(template!("calls_refusal.rs"), &words) } else { String::new() };
        words.insert("refusal", refusal);
        words
    }
}

/// `DailyTotal` for `daily-total`.
fn type_name(name: &str) -> String {
    let capital = |word: &str| word[..1].to_ascii_uppercase() + &word[1..];
    let name: String = name.split(['-', '_']).map(capital).collect();
    if TAKEN.contains(&name.as_str()) { name + "Handler" } else { name }
}

/// Replaces each word, which is every second piece between two `@`. An `@` in the text of a word stays.
fn fill(template: &str, words: &BTreeMap<&'static str, String>) -> String {
    let pieces = template.split('@').enumerate();
    let filled = pieces.map(|(index, piece)| match index % 2 {
        0 => piece,
        _ => words.get(piece).map_or("", String::as_str),
    });
    filled.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(route: &str, procedure: Option<&str>) -> Vec<(&'static str, String)> {
        let route = route.parse().unwrap();
        Draft { name: "daily-total", route: &route, procedure, language: Language::Rust }.files()
    }

    #[test]
    fn every_word_of_a_template_is_known() {
        for (route, procedure) in [("GET /a/{b}/{c}", Some("p")), ("GET /a", Some("p")), ("PUT /{a}", None)] {
            let route: Route = route.parse().unwrap();
            let draft = Draft { name: "x", route: &route, procedure, language: Language::Rust };
            let words = draft.words();
            for template in [
                template!("Cargo.toml"),
                template!("calls.rs"),
                template!("calls_alone.rs"),
                template!("calls_tests.rs"),
                template!("calls_refusal.rs"),
                template!("calls_example.json"),
                template!("calls_first_row.json"),
                template!("calls_no_row.json"),
                template!("replies.rs"),
                template!("replies_tests.rs"),
                template!("replies_example.json"),
                template!("calls.c"),
                template!("calls_alone.c"),
                template!("replies.c"),
                template!("build.c.sh"),
                template!("gitignore.c"),
                template!("calls.js"),
                template!("replies.js"),
                template!("build.mjs"),
                template!("package.json"),
                template!("gitignore.js"),
                template!("calls.py"),
                template!("replies.py"),
                template!("build.py.sh"),
                template!("gitignore.py"),
            ] {
                for word in template.split('@').skip(1).step_by(2) {
                    assert!(words.contains_key(word), "{word}");
                }
            }
        }
    }

    #[test]
    fn examples_are_json_with_the_parameters_in_their_order() {
        let examples = |route, procedure| {
            let files = files(route, procedure).into_iter().filter(|(path, _)| path.ends_with(".json"));
            files.map(|(_, text)| serde_json::from_str::<serde_json::Value>(&text).unwrap()).collect::<Vec<_>>()
        };
        let example = &examples("GET /a@b/{z}/{a}", Some("p"))[0];
        assert_eq!(example["request"]["path"], "/a@b/1/2");
        assert_eq!(example["plan"]["call"], serde_json::json!({"procedure": "p", "arguments": [1, 2]}));
        let example = &examples("GET /{z}/{a}", None)[0];
        assert_eq!(example["plan"]["reply"]["body"], serde_json::json!({"z": "1", "a": "2"}));
    }

    #[test]
    fn a_type_has_the_name_of_its_handler_unless_it_is_taken() {
        for (name, shown) in [("total", "Total"), ("daily-total_2", "DailyTotal2"), ("plan", "PlanHandler")] {
            assert_eq!(type_name(name), shown);
        }
    }
}
