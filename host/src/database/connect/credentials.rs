//! The user and the password of a connection: from the connection string, the file that holds it, or libpq's password
//! file. Both files are read for each connection, so that a changed password is used for the next one.
//!
//! If the file of the connection string can no longer be read, the credentials that were read before are used, and a
//! warning is logged.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::keyword::VARIABLES;
use super::parameters::{Defaults, Parameters};
use super::passfile::{self, Entry};
use crate::config::Secret;
use crate::{file, limits};

/// Where a connection string comes from.
pub enum Source {
    /// The connection string itself.
    Text(Secret),
    /// The path of a file that contains it, such as a Docker secret. Newlines at its end are ignored.
    File(PathBuf),
}

impl Source {
    /// # Errors
    /// Why the file cannot be read.
    pub(super) fn read(&self) -> Result<Secret, String> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::File(path) => read(path),
        }
    }
}

fn read(path: &Path) -> Result<Secret, String> {
    let failed = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let bytes = file::read(path, limits::PASSWORD_FILE_BYTES_MAX).map_err(|error| failed(&error))?;
    let text = String::from_utf8(bytes).map_err(|_| failed(&"it is not UTF-8"))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(failed(&"it is empty")),
        text => Ok(Secret::new(text)),
    }
}

/// A connection string as the variables that libpq's own programs read. What has no variable is left out.
///
/// # Errors
/// A description of the mistake, without any value.
pub fn variables(source: &Source, defaults: &Defaults) -> Result<Vec<(&'static str, Secret)>, String> {
    let parameters = Parameters::new(source.read()?.expose(), defaults)?;
    let set = VARIABLES.iter().filter_map(|(variable, name)| Some((*variable, Secret::new(parameters.get(name)?))));
    Ok(set.collect())
}

/// The credentials in a connection string.
#[derive(Clone)]
struct Said {
    user: String,
    password: Option<String>,
    passfile: Option<PathBuf>,
}

impl Said {
    fn new(parameters: &Parameters) -> Result<Self, String> {
        let user = parameters.get("user").ok_or("it names no user, and neither does PGUSER")?;
        let passfile = parameters.get("passfile").map(PathBuf::from).or_else(|| parameters.in_home(".pgpass"));
        Ok(Self { user: user.to_owned(), password: parameters.get("password").map(str::to_owned), passfile })
    }
}

/// The source of the user and the password, and what was last read from it.
pub(super) struct Credentials {
    /// The file of the connection string, and the defaults for what it leaves out.
    origin: Option<(PathBuf, Defaults)>,
    /// The database that the connection string named when it was first read.
    place: [Option<String>; 4],
    /// The credentials that were last read.
    said: Mutex<Said>,
    /// The last warning that was logged about a file.
    warning: Mutex<Option<String>>,
}

impl Credentials {
    /// # Errors
    /// When there is no user.
    pub(super) fn new(parameters: &Parameters, source: &Source, defaults: &Defaults) -> Result<Self, String> {
        let origin = match source {
            Source::Text(_) => None,
            Source::File(path) => Some((path.clone(), defaults.clone())),
        };
        let said = Mutex::new(Said::new(parameters)?);
        Ok(Self { origin, place: place(parameters), said, warning: Mutex::default() })
    }

    /// The user that was last read.
    pub(super) fn user(&self) -> String {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).user.clone()
    }

    /// Reads the files. Blocks on the disk.
    pub(super) fn read(&self) -> Login {
        let mut warning = None;
        if let Some((path, defaults)) = &self.origin {
            match self.again(path, defaults) {
                Ok(moved) => warning = moved,
                Err(error) => warning = Some(format!("the credentials that were read before are used: {error}")),
            }
        }
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let passfile = said.passfile.filter(|_| said.password.is_none());
        let passfile = passfile.and_then(|path| {
            passfile::read(&path).unwrap_or_else(|error| {
                warning = Some(error);
                None
            })
        });
        self.warn(warning);
        Login { user: said.user, password: said.password, passfile }
    }

    /// Reads the file of the connection string again. Returns a warning if it now names another database.
    fn again(&self, path: &Path, defaults: &Defaults) -> Result<Option<String>, String> {
        let parameters = Parameters::new(read(path)?.expose(), defaults)?;
        let said = Said::new(&parameters)?;
        if place(&parameters) != self.place {
            // Its user and password are for that other database.
            return Ok(Some(format!("{} names another database: restart to use it", path.display())));
        }
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = said;
        Ok(None)
    }

    /// Logs a warning unless it repeats the last one.
    fn warn(&self, warning: Option<String>) {
        let mut last = self.warning.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != warning {
            if let Some(text) = &warning {
                tracing::warn!("{text}");
            }
            *last = warning;
        }
    }
}

fn place(parameters: &Parameters) -> [Option<String>; 4] {
    ["host", "hostaddr", "port", "dbname"].map(|keyword| parameters.get(keyword).map(str::to_owned))
}

/// The credentials of one connection.
pub(super) struct Login {
    pub(super) user: String,
    password: Option<String>,
    /// The text of the password file, if the connection string has no password.
    passfile: Option<String>,
}

impl Login {
    /// The password for a host, if there is one.
    pub(super) fn password(&self, entry: &Entry) -> Option<String> {
        self.password.clone().or_else(|| passfile::find(self.passfile.as_deref()?, entry))
    }
}
