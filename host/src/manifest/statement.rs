//! What a signature of a component states: for which handler it is, its digest, and what it is granted. The text is
//! what is signed, so it never changes for the same entry.

use std::fmt::Write as _;

use super::entry::{Claims, Entry, Retry};

/// The first line; another form of the text gets another number.
const FORM: &str = "galo handler, statement 1";

impl Entry {
    /// The text that is signed for a component with this digest, in hexadecimal, under this entry. Lists are sorted: to
    /// reorder a manifest is not to change it.
    pub fn statement(&self, sha256: &str) -> String {
        let sorted = |names: &mut dyn Iterator<Item = String>| {
            let mut names: Vec<_> = names.collect();
            names.sort_unstable();
            names.join(", ")
        };
        let routes = sorted(&mut self.routes.iter().map(ToString::to_string));
        let headers = sorted(&mut self.headers.iter().map(|name| name.as_str().to_owned()));
        let procedures = sorted(&mut self.procedures.iter().map(|granted| match &granted.batch {
            Some(batch) => format!("{} (batch {batch}{})", granted.name, if granted.remote { ", remote" } else { "" }),
            None if granted.remote => format!("{} (remote)", granted.name),
            None => granted.name.clone(),
        }));
        let config = sorted(&mut self.config.iter().map(|value| value.name.clone()));
        let claims = match self.claims {
            Claims::Never => "never",
            Claims::Optional => "optional",
            Claims::Required => "required",
        };
        let retry = match self.retry {
            Retry::Never => "never",
            Retry::Key => "key",
        };
        let mut text = format!("{FORM}\n");
        let lines = [
            ("name", self.name.as_str()),
            ("sha256", sha256),
            ("routes", &routes),
            ("headers", &headers),
            ("procedures", &procedures),
            ("config", &config),
            ("claims", claims),
            ("retry", retry),
            ("wasi", if self.wasi { "yes" } else { "no" }),
        ];
        for (name, value) in lines {
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "{name}: {value}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::manifest::parse;

    #[test]
    fn a_statement_has_what_is_granted_in_an_order_of_its_own() {
        let entry = |more: &str| {
            let text =
                format!("[[handler]]\nname = \"x\"\ncomponent = \"x.wasm\"\nroute = \"POST /x/{{id}}\"\n{more}\n");
            parse(Path::new("/galo.toml"), &text).unwrap().handlers.remove(0)
        };
        let plain = entry("procedures = [\"b\", \"a\"]\nheaders = [\"x-b\", \"x-a\"]");
        assert_eq!(
            plain.statement("00ff"),
            "galo handler, statement 1\nname: x\nsha256: 00ff\nroutes: POST /x/{id}\nheaders: x-a, x-b\n\
             procedures: a, b\nconfig: \nclaims: never\nretry: never\nwasi: no\n"
        );
        assert_eq!(
            entry("procedures = [\"a\", \"b\"]\nheaders = [\"x-a\", \"x-b\"]").statement("00ff"),
            plain.statement("00ff")
        );
        assert_ne!(entry("procedures = [\"a\", \"b\", \"c\"]").statement("00ff"), plain.statement("00ff"));
        assert_ne!(plain.statement("00fe"), plain.statement("00ff"));
        for (granted, stated) in [
            ("config = { b = \"1\", a = \"2\" }", "config: a, b\n"),
            ("retry = \"key\"\nheaders = [\"idempotency-key\", \"galo-try\"]", "retry: key\n"),
            ("wasi = true", "wasi: yes\n"),
        ] {
            let statement = entry(granted).statement("00ff");
            assert!(statement.contains(stated), "{granted}: {statement}");
        }
        let claimed = Entry { claims: Claims::Required, ..plain.clone() }.statement("00ff");
        assert!(claimed.contains("claims: required\n"), "{claimed}");
        for (more, stated) in [("", ""), (", lanes = 4", ", 4 lanes"), (", key = \"x\"", ", key x")] {
            let batch = format!("procedures = [\"b\"]\nbatch = {{ b = {{ form = \"bs\", by = \"k\"{more} }} }}");
            let statement = entry(&batch).statement("00ff");
            assert!(statement.contains(&format!("procedures: b (batch bs by k{stated})\n")), "{statement}");
        }
    }
}
