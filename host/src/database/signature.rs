//! A function as it is called: what it takes and returns, and the statements that call it, which `catalogue` makes.

use tokio_postgres::types::Type;

/// A function with what it takes and returns, and the statements that call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signature {
    /// The name by which it was looked up.
    pub(super) name: String,
    /// What both statements end with: a comment that names who calls.
    pub(super) comment: String,
    /// The statement to prepare: Postgres reports its parameters and columns.
    pub(super) sql: String,
    /// The statement to send unprepared: it fails before the function runs if that is not the one that was looked up,
    /// and its columns always have the same types.
    pub(super) complete: String,
    pub(super) parameters: Vec<Type>,
    /// As the function returns them; the statement may cast them.
    pub(super) columns: Vec<(String, Type)>,
    /// Whether it may write: a standby refuses it.
    pub(super) volatile: bool,
    /// Whether it works in its own database, so that what its statement did is rolled back with it: its language is one
    /// that Postgres trusts (`pg_language.lanpltrusted`), and the manifest does not grant it as `remote`.
    pub(super) local: bool,
    /// Whether it executes many calls, and returns a row for each.
    pub(super) is_batch_form: bool,
}

impl Signature {
    /// The same, with a comment at the end of its statements.
    pub(super) fn commented(self, comment: &str) -> Self {
        let Self { sql, complete, .. } = &self;
        let (sql, complete) = (format!("{sql}{comment}"), format!("{complete}{comment}"));
        Self { sql, complete, comment: comment.to_owned(), ..self }
    }

    /// Whether it is the same function, called by the same statement, whatever the comment.
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        let plain = |signature: &Self| signature.complete.strip_suffix(&signature.comment).map(str::to_owned);
        plain(self) == plain(other)
            && (&self.name, &self.parameters, &self.columns) == (&other.name, &other.parameters, &other.columns)
            && (self.volatile, self.local) == (other.volatile, other.local)
    }
}
