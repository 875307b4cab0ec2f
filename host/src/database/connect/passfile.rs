//! The password file of libpq (`~/.pgpass`, `passfile`): lines of `host:port:dbname:user:password`. Each of the first
//! four may be `*`; the first line that matches is used. A `:` or `\` that is part of a field is escaped with `\`.
//!
//! As in libpq, a file that others may read is not used. `credentials` reads it again for each connection.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::{file, limits};

/// Where libpq looks for the socket when no host is given, upstream and on Debian. The file has `localhost` for them.
const DEFAULT_SOCKET_FOLDERS: &[&str] = &["/tmp", "/var/run/postgresql", "/run/postgresql"];

/// The connection that a password is looked up for.
pub(super) struct Entry<'a> {
    /// As written in the connection string, not its address.
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) dbname: &'a str,
    pub(super) user: &'a str,
}

/// The text of a password file; `None` if the file does not exist.
///
/// # Errors
/// Why the file is not used.
pub(super) fn read(path: &Path) -> Result<Option<String>, String> {
    let Ok(found) = std::fs::metadata(path) else { return Ok(None) };
    let shown = path.display();
    if found.is_file() && found.mode() & 0o077 != 0 {
        return Err(format!("the password file {shown} is not used: others may read it; chmod 0600 {shown}"));
    }
    let unused = |why: &dyn std::fmt::Display| format!("the password file {shown} is not used: {why}");
    let bytes = file::read(path, limits::PASSWORD_FILE_BYTES_MAX).map_err(|error| unused(&error))?;
    String::from_utf8(bytes).map(Some).map_err(|_| unused(&"it is not UTF-8"))
}

/// The password of the first line that matches.
pub(super) fn find(text: &str, entry: &Entry) -> Option<String> {
    let host = if DEFAULT_SOCKET_FOLDERS.contains(&entry.host) { "localhost" } else { entry.host };
    let port = entry.port.to_string();
    let wanted = [host, &port, entry.dbname, entry.user];
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let password = lines.into_iter().find_map(|line| {
        let mut rest = line;
        for wanted in wanted {
            let field;
            (field, rest) = split(rest)?;
            if field != "*" && unescaped(field) != wanted {
                return None;
            }
        }
        // Text after another `:` is not part of the password.
        Some(unescaped(split(rest).map_or(rest, |(password, _)| password)))
    });
    password.filter(|password| !password.is_empty())
}

/// A field, and the text after its `:`.
fn split(text: &str) -> Option<(&str, &str)> {
    let mut escaped = false;
    let end = text.char_indices().find(|(_, character)| {
        let ends = *character == ':' && !escaped;
        escaped = *character == '\\' && !escaped;
        ends
    });
    end.map(|(at, _)| (&text[..at], &text[at + 1..]))
}

fn unescaped(text: &str) -> String {
    let mut characters = text.chars();
    let mut plain = String::new();
    while let Some(character) = characters.next() {
        plain.push(if character == '\\' { characters.next().unwrap_or('\\') } else { character });
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const FILE: &str = "# a comment\nnot a line\n\
                        db:5432:bank:galo:first\n\
                        *:*:bank:galo:se\\:co\\\\nd\n\
                        [a\\:b]:*:*:*:third\n\
                        localhost:5432:*:galo:fourth\n\
                        ::1:5432:*:galo:never\n\
                        \\:\\:1:5432:*:galo:fifth:comment\n\
                        *:*:*:nobody:\n\
                        *:*:*:nobody:late\n";

    #[test]
    fn the_first_line_that_fits_has_the_password() {
        for (host, port, dbname, user, password) in [
            ("db", 5432, "bank", "galo", Some("first")),
            ("db", 5433, "bank", "galo", Some("se:co\\nd")),
            ("[a:b]", 1, "x", "y", Some("third")),
            ("localhost", 5432, "x", "galo", Some("fourth")),
            ("/var/run/postgresql", 5432, "x", "galo", Some("fourth")),
            ("/run/other", 5432, "x", "galo", None),
            ("::1", 5432, "x", "galo", Some("fifth")),
            ("db", 5432, "bank", "nobody", None),
            ("db", 5432, "bank", "else", None),
        ] {
            let entry = Entry { host, port, dbname, user };
            assert_eq!(find(FILE, &entry).as_deref(), password, "{host} {port} {dbname} {user}");
        }
    }

    #[test]
    fn a_password_file_that_others_may_read_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pgpass");
        assert_eq!(read(&path), Ok(None));
        std::fs::write(&path, "*:*:*:*:hunter2").unwrap();
        for (mode, used) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o660, false)] {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let text = read(&path);
            assert_eq!(text.is_ok(), used, "{mode:o}");
            assert!(used || text.unwrap_err().contains("chmod 0600"));
        }
        let refused = read(folder.path()).unwrap_err();
        assert!(refused.contains("not a regular file"), "{refused}");
    }
}
