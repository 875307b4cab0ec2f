//! `[project]`: the name of a project, and the database and the role that its handlers use. Commands of a developer's
//! machine read it; a node is given a database by its URL.

use serde::Deserialize;
use toml::Spanned;

use crate::limits::IDENTIFIER_BYTES_MAX;

/// What a project is called, and what it uses of Postgres.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectEntry {
    /// Its name.
    pub name: String,
    /// The database in a private Postgres.
    pub database: String,
    /// The role that handlers' calls run as. `sql/` creates it and grants it EXECUTE on the procedures.
    pub role: String,
}

impl ProjectEntry {
    /// With this name, and a database and a role named after it.
    pub fn named(name: &str) -> Self {
        let identifier = name.replace('-', "_").to_ascii_lowercase();
        Self { name: name.to_owned(), database: identifier.clone(), role: identifier }
    }
}

impl Default for ProjectEntry {
    fn default() -> Self {
        Self::named("galo")
    }
}

/// A manifest, of which only this section counts.
#[derive(Deserialize)]
struct Section {
    project: Option<ProjectTable>,
}

/// The section of a manifest, also of one whose other sections have mistakes.
///
/// # Errors
/// The first mistake in the section, or that the text is not TOML.
pub(super) fn section(text: &str) -> Result<ProjectEntry, String> {
    let section: Section = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    let Some(table) = section.project else { return Ok(ProjectEntry::default()) };
    let mut first = None;
    let project = table.project(&mut |_, mistake| first = first.take().or(Some(mistake)));
    first.map_or(Ok(project), Err)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProjectTable {
    name: Spanned<String>,
    database: Option<Spanned<String>>,
    role: Option<Spanned<String>>,
}

impl ProjectTable {
    /// The project, with each mistake noted at its position.
    pub(super) fn project(&self, mistake: &mut dyn FnMut(usize, String)) -> ProjectEntry {
        if let Err(error) = check_name(self.name.get_ref()) {
            mistake(self.name.span().start, error);
        }
        let named = ProjectEntry::named(self.name.get_ref());
        let mut identifier = |key: &str, given: &Option<Spanned<String>>, otherwise: String| {
            let Some(given) = given else { return otherwise };
            if !is_identifier(given.get_ref()) {
                let text = format!(
                    "invalid {key} `{}`: use at most {IDENTIFIER_BYTES_MAX} lower-case letters, digits and `_`, and \
                     begin with a letter",
                    given.get_ref()
                );
                mistake(given.span().start, text);
            }
            given.get_ref().clone()
        };
        ProjectEntry {
            database: identifier("database", &self.database, named.database),
            role: identifier("role", &self.role, named.role),
            name: named.name,
        }
    }
}

/// Checks a project's name, from which a folder, a database, a role and images get theirs.
///
/// # Errors
/// What a name consists of.
pub fn check_name(name: &str) -> Result<(), String> {
    let identifier = name.replace('-', "_");
    if is_identifier(&identifier) && !identifier.ends_with('_') && !identifier.contains("__") {
        return Ok(());
    }
    Err(format!(
        "invalid project name `{name}`: use at most {IDENTIFIER_BYTES_MAX} lower-case letters and digits, with single \
         `-` or `_` between words, and begin with a letter"
    ))
}

/// Whether Postgres takes this name without quotes; key words aside.
fn is_identifier(name: &str) -> bool {
    name.len() <= IDENTIFIER_BYTES_MAX
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::manifest::parse;

    const HANDLER: &str = "\n[[handler]]\nname = \"a\"\ncomponent = \"a.wasm\"\nroute = \"GET /a\"\n";

    #[test]
    fn a_database_and_a_role_are_named_after_the_project_unless_they_are_given() {
        let read = |section: &str| parse(Path::new("galo.toml"), &format!("{section}{HANDLER}")).unwrap().project;
        assert_eq!(read(""), ProjectEntry { name: "galo".into(), database: "galo".into(), role: "galo".into() });
        let shop = ProjectEntry { name: "my-shop".into(), database: "my_shop".into(), role: "my_shop".into() };
        assert_eq!(read("[project]\nname = \"my-shop\""), shop);
        let other = ProjectEntry { database: "orders".into(), role: "service".into(), ..shop };
        assert_eq!(read("[project]\nname = \"my-shop\"\ndatabase = \"orders\"\nrole = \"service\""), other);
    }

    #[test]
    fn the_section_is_read_whatever_the_rest_of_the_manifest_is() {
        let text = "[project]\nname = \"shop\"\n[[handler]]\nnome = 1\n";
        assert_eq!(section(text), Ok(ProjectEntry::named("shop")));
        assert_eq!(section(HANDLER), Ok(ProjectEntry::default()));
        assert!(section("[project]\nname = \"My Shop\"\nrole = \"b-c\"").unwrap_err().contains("`My Shop`"));
        assert!(section("[project").is_err());
    }

    #[test]
    fn what_is_not_a_name_is_refused_with_its_line() {
        for (section, expected) in [
            ("name = \"My Shop\"", "galo.toml:2: invalid project name `My Shop`: use at most 63 lower-case letters"),
            ("name = \"a--b\"", "galo.toml:2: invalid project name `a--b`"),
            ("name = \"a\"\nrole = \"b-c\"", "galo.toml:3: invalid role `b-c`: use at most 63 lower-case letters"),
            ("name = \"a\"\ndatabase = \"\"", "galo.toml:3: invalid database ``"),
            ("database = \"a\"", "missing field `name`"),
            ("name = \"a\"\ndb = \"a\"", "galo.toml:3: unknown field `db`"),
        ] {
            let error = parse(Path::new("galo.toml"), &format!("[project]\n{section}{HANDLER}")).unwrap_err();
            assert!(error.to_string().contains(expected), "`{expected}` is missing in: {error}");
        }
    }
}
