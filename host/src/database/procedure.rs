//! Procedures that may be called: a function as the catalogue of the database describes it, and its batch form, which
//! takes many calls at once (`form`). How it is called is its `signature`. This is only a description; `lane` holds the
//! calls that wait.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest as _, Sha256};

use super::form::{BatchForm, KeyArgument};
use super::grant::{Batch, GrantedProcedure, Partition};
use super::signature::Signature;
use super::value;
use crate::contract::Value;
use crate::limits;

/// What is written as `%XX` in a comment.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A procedure that may be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Procedure {
    /// The name handlers use, as the manifest grants it.
    pub name: String,
    /// The signature of a call with all arguments.
    pub(super) signature: Signature,
    /// The signatures of calls that omit arguments with a default: the last one, the last two, and so on.
    pub(super) shorter: Vec<Signature>,
    /// The names of its parameters; an empty string for a parameter without a name.
    pub(super) names: Vec<String>,
    /// Identifies the signature.
    pub(super) digest: String,
    /// The form that takes many calls at once, if the manifest grants one.
    pub(super) batch: Option<BatchForm>,
    /// Whether the manifest grants it as one that also works in another database.
    pub(super) remote: bool,
    /// Which shard a call goes to, if the manifest has shards.
    pub(super) partition: Option<Partition>,
    /// The argument that decides the shard, if it works on one.
    pub(super) shard: Option<KeyArgument>,
}

impl Procedure {
    /// The same procedure as a handler calls it: each of its statements ends with a comment, such as `
    /// /*handler='orders',procedure='place_order'*/`, which views and logs of Postgres show. It is constant, because a
    /// statement is prepared once: it never names a request or its trace.
    #[must_use]
    pub fn called_by(&self, handler: &str) -> Self {
        // No quote, and no end of a comment.
        let encoded = |text: &str| utf8_percent_encode(text, ENCODED).to_string();
        // All of it is ASCII.
        let procedure: String = encoded(&self.name).chars().take(limits::COMMENT_BYTES_MAX).collect();
        let comment = format!(" /*handler='{}',procedure='{procedure}'*/", encoded(handler));
        let commented = |signature: &Signature| signature.clone().commented(&comment);
        let form = |form: &BatchForm| BatchForm { signature: commented(&form.signature), ..form.clone() };
        Self {
            signature: commented(&self.signature),
            shorter: self.shorter.iter().map(commented).collect(),
            batch: self.batch.as_ref().map(form),
            ..self.clone()
        }
    }

    /// The comment of its statements.
    pub fn comment(&self) -> &str {
        &self.signature.comment
    }

    /// Whether calls of both can go in one statement: it is the same procedure, for whichever handler.
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        let forms = match (&self.batch, &other.batch) {
            (Some(one), Some(other)) => one.key == other.key && one.signature.is_same_as(&other.signature),
            (None, None) => true,
            _ => false,
        };
        forms && self.signature.is_same_as(&other.signature)
    }

    /// Whether a call's arguments fit its parameters.
    ///
    /// # Errors
    /// A description of what does not fit.
    pub fn check(&self, arguments: &[Value]) -> Result<(), String> {
        let Some(signature) = self.signature_of(arguments.len()) else {
            let (given, most) = (arguments.len(), self.signature.parameters.len());
            let least = most - self.shorter.len();
            let wanted = if least == most { most.to_string() } else { format!("{least} to {most}") };
            return Err(format!("`{}` takes {wanted} arguments, {given} given", self.name));
        };
        for (index, (argument, parameter)) in arguments.iter().zip(&signature.parameters).enumerate() {
            value::check(argument, parameter)
                .map_err(|mismatch| format!("{} of `{}`: {mismatch}", self.argument(index), self.name))?;
        }
        Ok(())
    }

    /// The names of its parameters; an empty string for a parameter without a name.
    pub fn parameters(&self) -> &[String] {
        &self.names
    }

    /// Identifies its signature: what it takes and what it returns, whatever the database.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// A procedure as the catalogue describes it.
    pub(super) fn new(
        granted: &GrantedProcedure,
        signature: Signature,
        shorter: Vec<Signature>,
        names: Vec<String>,
        batch: Option<BatchForm>,
    ) -> Self {
        let GrantedProcedure { name, remote, partition, .. } = granted;
        Self {
            name: name.clone(),
            digest: digest(&signature),
            signature,
            shorter,
            names,
            batch,
            remote: *remote,
            partition: partition.clone(),
            shard: None,
        }
    }

    /// Its parameters: the name, empty if it has none, the type, and whether a call may leave it out.
    pub fn typed_parameters(&self) -> impl Iterator<Item = (&str, &str, bool)> {
        let (types, least) = (&self.signature.parameters, self.signature.parameters.len() - self.shorter.len());
        let named = self.names.iter().map(String::as_str).chain(std::iter::repeat(""));
        types.iter().zip(named).enumerate().map(move |(index, (its, name))| (name, its.name(), index >= least))
    }

    /// The columns of its rows: name and type.
    pub fn columns(&self) -> impl Iterator<Item = (&str, &str)> {
        self.signature.columns.iter().map(|(name, its)| (name.as_str(), its.name()))
    }

    /// The signature for a call with this many arguments.
    pub(super) fn signature_of(&self, arguments: usize) -> Option<&Signature> {
        let all = self.signature.parameters.len();
        if arguments == all {
            return Some(&self.signature);
        }
        self.shorter.get(all.checked_sub(arguments + 1)?)
    }

    /// All signatures to prepare for calls that are sent by themselves.
    pub(super) fn signatures(&self) -> impl Iterator<Item = &Signature> {
        std::iter::once(&self.signature).chain(&self.shorter)
    }

    /// `argument 1 (customer_id)`.
    fn argument(&self, index: usize) -> String {
        match self.names.get(index).filter(|name| !name.is_empty()) {
            Some(name) => format!("argument {} ({name})", index + 1),
            None => format!("argument {}", index + 1),
        }
    }

    /// Whether it returns rows with these columns.
    ///
    /// # Errors
    /// A description of the columns that it returns.
    pub fn check_columns(&self, columns: &[String]) -> Result<(), String> {
        let its: Vec<_> = self.signature.columns.iter().map(|(name, _)| name.as_str()).collect();
        match (its == columns, its.as_slice()) {
            (true, _) => Ok(()),
            (false, []) => Err(format!("`{}` returns no columns, not {}", self.name, columns.join(", "))),
            (false, _) => {
                Err(format!("`{}` returns the columns {}, not {}", self.name, its.join(", "), columns.join(", ")))
            }
        }
    }

    /// The batch form as the manifest grants it, if it grants one.
    pub fn batch(&self) -> Option<&Batch> {
        self.batch.as_ref().map(|batch| &batch.granted)
    }

    /// What the manifest grants.
    pub fn granted(&self) -> GrantedProcedure {
        let (name, batch, partition) = (self.name.clone(), self.batch().cloned(), self.partition.clone());
        GrantedProcedure { name, batch, remote: self.remote, partition }
    }

    /// Whether any error that a statement of it raises proves that nothing was recorded anywhere.
    pub(super) fn is_local(&self) -> bool {
        self.signature.local && self.batch.as_ref().is_none_or(|form| form.signature.local)
    }

    /// How many lanes its calls have. None without a batch form.
    pub(super) fn lanes(&self) -> usize {
        self.batch().map_or(0, Batch::lanes)
    }

    /// Whether each shard behind a router can answer it, because it only reads what all of them have.
    pub(super) fn is_anywhere(&self) -> bool {
        self.partition == Some(Partition::Any) && !self.is_local() && !self.remote && !self.writes()
    }

    /// Whether calling it needs a database that accepts writes.
    pub fn writes(&self) -> bool {
        self.signature.volatile || self.batch.as_ref().is_some_and(|batch| batch.signature.volatile)
    }
}

/// The digest of a signature, as hexadecimal digits.
fn digest(signature: &Signature) -> String {
    let mut text = format!("{}(", signature.name);
    signature.parameters.iter().for_each(|parameter| text.extend([parameter.name(), ","]));
    signature.columns.iter().for_each(|(name, column)| text.extend([")", name, " ", column.name()]));
    let digest = Sha256::digest(text.as_bytes());
    digest[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `place_order`, or with its batch form `place_order (place_orders by customer_id)`, or `pay (remote)`.
impl fmt::Display for Procedure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if self.remote {
            f.write_str(" (remote)")?;
        }
        self.batch().map_or(Ok(()), |batch| write!(f, " ({batch})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn procedure(name: &str) -> Procedure {
        let signature = Signature {
            name: name.to_owned(),
            comment: String::new(),
            sql: "SELECT 1".to_owned(),
            complete: "SELECT 2".to_owned(),
            parameters: Vec::new(),
            columns: Vec::new(),
            volatile: true,
            local: true,
            is_batch_form: false,
        };
        let granted = Batch::new("g", "a");
        let key = KeyArgument { index: 0, is_uuid: false, hash: None };
        let form = BatchForm { granted, signature: signature.clone(), key, retry: None };
        Procedure {
            name: name.to_owned(),
            shorter: vec![signature.clone()],
            signature,
            names: Vec::new(),
            digest: String::new(),
            remote: false,
            partition: None,
            shard: None,
            batch: Some(form),
        }
    }

    #[test]
    fn every_statement_ends_with_a_comment_that_nothing_can_break_out_of() {
        let called = procedure("loja.f(text, int) */; '--").called_by("orders");
        let comment = " /*handler='orders',procedure='loja.f%28text%2C%20int%29%20%2A%2F%3B%20%27--'*/";
        let form = &called.batch.as_ref().unwrap().signature;
        for signature in [&called.signature, &called.shorter[0], form] {
            assert_eq!(signature.sql, format!("SELECT 1{comment}"));
            assert_eq!(signature.complete, format!("SELECT 2{comment}"));
        }
    }

    #[test]
    fn calls_of_two_handlers_go_in_one_statement() {
        let [one, other] = ["a", "b"].map(|handler| procedure("f").called_by(handler));
        assert!(one != other && one.is_same_as(&other) && !one.is_same_as(&procedure("g").called_by("a")));
    }
}
