//! JSON as a person would lay it out in an example: what fits into a line is in one line.

use serde_json::Value as Json;

/// JSON whose members keep their order.
pub(super) enum Layout {
    Leaf(String),
    Array(Vec<Layout>),
    Object(Vec<(String, Layout)>),
}

/// Characters of a line.
const WIDTH: usize = crate::limits::EXAMPLE_LINE_MAX;

impl Layout {
    /// An object with these members.
    pub(super) fn object(members: Vec<(&str, Self)>) -> Self {
        Self::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// The text of the file. Its outermost members are in lines of their own.
    pub(super) fn file(&self) -> String {
        self.broken(0) + "\n"
    }

    fn in_one_line(&self) -> String {
        let inside = |parts: Vec<String>| parts.join(", ");
        match self {
            Self::Leaf(text) => text.clone(),
            Self::Array(items) => format!("[{}]", inside(items.iter().map(Self::in_one_line).collect())),
            Self::Object(members) => {
                let member = |(name, value): &(String, Self)| format!("{}: {}", quoted(name), value.in_one_line());
                format!("{{{}}}", inside(members.iter().map(member).collect()))
            }
        }
    }

    /// In one line, if it fits behind so many characters with so many spaces before each further line.
    fn fitted(&self, before: usize, depth: usize) -> String {
        let line = self.in_one_line();
        if before + line.chars().count() <= WIDTH { line } else { self.broken(depth) }
    }

    fn broken(&self, depth: usize) -> String {
        let (inside, end) = ("  ".repeat(depth + 1), "  ".repeat(depth));
        let lines = |open: char, parts: Vec<String>, close: char| match parts.as_slice() {
            [] => format!("{open}{close}"),
            parts => format!("{open}\n{inside}{}\n{end}{close}", parts.join(&format!(",\n{inside}"))),
        };
        match self {
            Self::Leaf(text) => text.clone(),
            Self::Array(items) => {
                let items = items.iter().map(|item| item.fitted(inside.len() + 1, depth + 1));
                lines('[', items.collect(), ']')
            }
            Self::Object(members) => {
                let member = |(name, value): &(String, Self)| {
                    let name = quoted(name) + ": ";
                    let value = value.fitted(inside.len() + name.chars().count() + 1, depth + 1);
                    name + &value
                };
                lines('{', members.iter().map(member).collect(), '}')
            }
        }
    }
}

impl From<Json> for Layout {
    fn from(json: Json) -> Self {
        match json {
            Json::Array(items) => Self::Array(items.into_iter().map(Self::from).collect()),
            Json::Object(members) => {
                Self::Object(members.into_iter().map(|(name, value)| (name, Self::from(value))).collect())
            }
            leaf => Self::Leaf(leaf.to_string()),
        }
    }
}

fn quoted(text: &str) -> String {
    Json::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_fits_into_a_line_is_in_one_line() {
        let long = "x".repeat(WIDTH);
        let file = Layout::object(vec![
            ("request", json!({"path": "/a", "body": {"n": 1}}).into()),
            (
                "plan",
                Layout::object(
                    vec![("z", json!([])), ("a", json!([long, {"b": null}]))]
                        .into_iter()
                        .map(|(n, v)| (n, v.into()))
                        .collect(),
                ),
            ),
        ]);
        let expected = format!(
            "{{\n  \"request\": {{\"body\": {{\"n\": 1}}, \"path\": \"/a\"}},\n  \"plan\": {{\n    \"z\": [],\n    \"a\": [\n      \
             \"{long}\",\n      {{\"b\": null}}\n    ]\n  }}\n}}\n"
        );
        assert_eq!(file.file(), expected);
        assert_eq!(Layout::Object(Vec::new()).file(), "{}\n");
    }
}
