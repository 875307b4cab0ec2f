//! What a failed file says: the file, the line, Postgres's own text, and what to do where that is known.

use std::path::Path;

use tokio_postgres::Error;
use tokio_postgres::error::{DbError, ErrorPosition, SqlState};

use super::files::NO_TRANSACTION;
use super::statements::{line_of, statements};
use crate::database::connect::target::chain;

/// Why a file was not applied. Nothing of it stays in the database, unless the text says so.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Failed(pub(super) String);

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self(error.as_db_error().map_or_else(|| chain(&error), text))
    }
}

/// A failure in a file, after `done` of its statements.
pub(super) fn failed(path: &Path, sql: &str, done: usize, error: &Error) -> Failed {
    let Some(told) = error.as_db_error() else {
        return Failed(format!("{}: {}", path.display(), chain(error)));
    };
    let line = match told.position() {
        Some(ErrorPosition::Original(at)) => Some(line_of(sql, *at)),
        // The position is one in another text, or there is none: a constraint that the rows violate.
        _ => statements(sql).get(done).map(|statement| statement.line),
    };
    let line = line.map(|line| format!("{line}:")).unwrap_or_default();
    Failed(format!("{}:{line} {}", path.display(), text(told)))
}

/// Postgres's message with its code, its details, and our hint.
fn text(told: &DbError) -> String {
    let mut text = format!("{}: {} ({})", told.severity(), told.message(), told.code().code());
    let query = match told.position() {
        Some(ErrorPosition::Internal { query, .. }) => Some(query.as_str()),
        _ => None,
    };
    for (what, more) in [("detail", told.detail()), ("in", query), ("at", told.where_()), ("hint", told.hint())] {
        if let Some(more) = more {
            text += &format!("\n  {what}: {more}");
        }
    }
    if let Some(hint) = hint(told) {
        text += &format!("\n  hint: {hint}");
    }
    text
}

fn hint(told: &DbError) -> Option<String> {
    let code = told.code();
    if *code == SqlState::LOCK_NOT_AVAILABLE {
        return Some("another transaction uses what this changes; run it again, or raise --lock-timeout".to_owned());
    }
    if *code == SqlState::QUERY_CANCELED && told.message().contains("statement timeout") {
        return Some("raise --statement-timeout".to_owned());
    }
    if *code == SqlState::ACTIVE_SQL_TRANSACTION {
        return Some(format!(
            "move this statement to a migration of its own whose first line is `{NO_TRANSACTION}`: its statements run one \
             by one, and those before one that fails stay"
        ));
    }
    if *code == SqlState::INSUFFICIENT_PRIVILEGE {
        return Some(
            "migrate as the owner of the database, always the same role, and not as that of the nodes".to_owned(),
        );
    }
    let exists =
        [SqlState::DUPLICATE_TABLE, SqlState::DUPLICATE_OBJECT, SqlState::DUPLICATE_SCHEMA, SqlState::DUPLICATE_COLUMN];
    exists.contains(code).then(|| {
        "if the database was made before it had migrations, `galo migrate --adopt VERSION` records those up to VERSION \
         as applied without running them"
            .to_owned()
    })
}
