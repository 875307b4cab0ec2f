//! The parameters of a connection: the connection string, with the environment for what it leaves out. All values are
//! read here, so that messages name where a value came from and never the value, which may be a part of a password.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::conninfo;
use super::keyword::{self, Use, VARIABLES};

/// Defaults for what a connection string leaves out. Read by `cli`; empty for databases that Galo starts itself.
#[derive(Clone, Default)]
pub struct Defaults {
    /// Environment variables from [`VARIABLES`].
    pub variables: Vec<(String, String)>,
    /// The user's home folder, for libpq's default files.
    pub home: Option<PathBuf>,
}

impl Defaults {
    /// Whether they name the host of a database.
    pub fn name_a_host(&self) -> bool {
        self.variables.iter().any(|(name, value)| matches!(&**name, "PGHOST" | "PGHOSTADDR") && !value.is_empty())
    }
}

/// Values by keyword, without empty ones.
pub(super) struct Parameters {
    values: BTreeMap<&'static str, Value>,
    home: Option<PathBuf>,
}

struct Value {
    text: String,
    /// The keyword, or the environment variable it comes from.
    name: &'static str,
}

impl Parameters {
    /// Reads a connection string.
    ///
    /// # Errors
    /// A description of the mistake, without any value.
    pub(super) fn new(text: &str, defaults: &Defaults) -> Result<Self, String> {
        let mut values = BTreeMap::new();
        for (variable, name) in VARIABLES {
            let Some((_, text)) = defaults.variables.iter().find(|(given, _)| given == variable) else { continue };
            note(&mut values, name, text.clone(), Some(variable)).map_err(|error| error.to_string())?;
        }
        let pairs = conninfo::pairs(text)?;
        // A text that is only a password may also parse as a pair.
        let is_told = !text.contains('@')
            && !text.contains("password")
            && pairs.iter().any(|(name, value)| !matches!(keyword::of(name, value), Use::Unknown));
        for (name, value) in pairs {
            note(&mut values, &name, value, None).map_err(|error| match error {
                // An unknown keyword may be a part of a password that was not escaped, so it is not shown.
                Mistake::Unknown(_) if !is_told => {
                    "it has a keyword that is not one of libpq's: remove what only other drivers know, and escape the \
                     special characters of a password, as %XX in a URL, in single quotes in a pair"
                        .to_owned()
                }
                error => error.to_string(),
            })?;
        }
        Ok(Self { values, home: defaults.home.clone() })
    }

    pub(super) fn get(&self, keyword: &str) -> Option<&str> {
        self.values.get(keyword).map(|value| value.text.as_str())
    }

    /// The name of a parameter in messages.
    pub(super) fn name(&self, keyword: &'static str) -> &'static str {
        self.values.get(keyword).map_or(keyword, |value| value.name)
    }

    /// The message for a mistake in the value of a parameter.
    pub(super) fn mistake(&self, keyword: &'static str, what: impl std::fmt::Display) -> String {
        format!("{}: {what}", self.name(keyword))
    }

    /// The value of a parameter that is one of several words.
    pub(super) fn choice<T: Copy>(&self, keyword: &'static str, choices: &[(&str, T)]) -> Result<Option<T>, String> {
        let Some(text) = self.get(keyword) else { return Ok(None) };
        match choices.iter().find(|(word, _)| *word == text) {
            Some((_, choice)) => Ok(Some(*choice)),
            None => {
                let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
                Err(self.mistake(keyword, format_args!("it is not one of {}", words.join(", "))))
            }
        }
    }

    /// A whole number. A negative one, which libpq takes for the default of the system, is treated as not set.
    pub(super) fn number(&self, keyword: &'static str) -> Result<Option<u32>, String> {
        let Some(text) = self.get(keyword) else { return Ok(None) };
        let number = text.trim().parse::<i32>().map_err(|_| self.mistake(keyword, "it is not a whole number"))?;
        Ok(u32::try_from(number).ok())
    }

    /// The path of a file: the one that is named, or libpq's default in the user's home folder, if it exists.
    pub(super) fn file(&self, keyword: &str, by_default: &str) -> Option<PathBuf> {
        match self.get(keyword) {
            Some(named) => Some(PathBuf::from(named)),
            None => self.in_home(by_default).filter(|path| path.exists()),
        }
    }

    pub(super) fn in_home(&self, path: impl AsRef<Path>) -> Option<PathBuf> {
        self.home.as_ref().map(|home| home.join(path))
    }
}

#[derive(thiserror::Error, Debug)]
enum Mistake {
    #[error("{name}: {keyword} is not honoured: {instead}")]
    Refused { name: &'static str, keyword: &'static str, instead: &'static str },
    #[error("unknown keyword `{0}`: it is not one of libpq's; remove it if only another driver knows it")]
    Unknown(String),
}

fn note(
    values: &mut BTreeMap<&'static str, Value>,
    keyword: &str,
    text: String,
    variable: Option<&'static str>,
) -> Result<(), Mistake> {
    match keyword::of(keyword, &text) {
        Use::Honoured(keyword) if text.is_empty() => {
            values.remove(keyword);
        }
        Use::Honoured(keyword) => {
            values.insert(keyword, Value { text, name: variable.unwrap_or(keyword) });
        }
        Use::WithoutEffect => {}
        Use::Refused(..) if text.is_empty() => {}
        Use::Refused(keyword, instead) => {
            return Err(Mistake::Refused { name: variable.unwrap_or("the connection string"), keyword, instead });
        }
        Use::Unknown => return Err(Mistake::Unknown(keyword.to_owned())),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults(variables: &[(&str, &str)]) -> Defaults {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Defaults { variables, home: None }
    }

    #[test]
    fn the_environment_counts_where_the_string_says_nothing() {
        let defaults = defaults(&[("PGHOST", "elsewhere"), ("PGPORT", "7"), ("PGUSER", "")]);
        let parameters = Parameters::new("postgres://h/d", &defaults).unwrap();
        let got = ["host", "port", "dbname", "user"].map(|keyword| parameters.get(keyword));
        assert_eq!(got, [Some("h"), Some("7"), Some("d"), None]);
        assert_eq!((parameters.name("host"), parameters.name("port")), ("host", "PGPORT"));
    }

    #[test]
    fn what_is_not_honoured_is_named_with_what_to_do() {
        let told = |text: &str, variables: &[(&str, &str)]| match Parameters::new(text, &defaults(variables)) {
            Ok(_) => String::new(),
            Err(mistake) => mistake,
        };
        assert!(told("host=h service=x", &[]).contains("service is not honoured: service files are not read"));
        assert!(
            told("", &[("PGREQUIREAUTH", "md5")]).starts_with("PGREQUIREAUTH: require_auth is not honoured: write")
        );
        assert!(told("host=h pgbouncer=true", &[]).contains("unknown keyword `pgbouncer`"));
        assert!(!told("host=h password=hun ter2=x", &[]).contains("ter2"));
        assert_eq!(told("host=h application_name=x gssencmode=prefer client_encoding=UTF8", &[]), "");
    }
}
