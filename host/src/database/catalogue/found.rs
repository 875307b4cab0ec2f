//! A function as the catalogue has it, and whether it fits what a manifest grants: values that the contract has, a key,
//! a batch form. It asks the database nothing.

use tokio_postgres::types::{Kind, Oid, Type};

use super::statement;
use super::unusable::{Unsupported, Unusable};
use crate::database::form::{KeyArgument, ORDINAL, ORDINALS};
use crate::database::grant::Batch;
use crate::database::hash::KeyHash;
use crate::database::signature::Signature;
use crate::database::value::kind;

/// A function as the catalogue has it.
pub(super) struct Found {
    pub(super) oid: Oid,
    pub(super) signature: Signature,
    pub(super) shorter: Vec<Signature>,
    pub(super) returns_set: bool,
    pub(super) returns_void: bool,
    pub(super) names: Vec<String>,
}

impl Found {
    /// The argument whose value determines which calls may have to wait for each other, and their lane.
    pub(super) fn key(&self, procedure: &str, batch: &Batch) -> Result<KeyArgument, Unusable> {
        let (index, ty) = self.parameter(procedure, "by", &batch.by)?;
        let base = kind::base(ty);
        let not_a_key = |what: &'static str, types: &'static str| Unusable::NotAKey {
            procedure: procedure.to_owned(),
            by: batch.by.clone(),
            type_name: kind::named(ty),
            what,
            types,
        };
        let (is_uuid, hash) = (*base == Type::UUID, KeyHash::of_type(base));
        if !is_uuid && !kind::has_one_spelling(ty) {
            return Err(not_a_key("has several spellings", "integer, text or uuid, or an enum"));
        }
        if hash.is_none() && batch.lanes() > 1 {
            return Err(not_a_key(
                "has no lane",
                "smallint, integer, bigint, text, varchar or uuid, or with lanes = 1",
            ));
        }
        Ok(KeyArgument { index, is_uuid, hash })
    }

    /// The argument that decides the shard of a call.
    pub(super) fn shard(&self, procedure: &str, by: &str) -> Result<KeyArgument, Unusable> {
        let refuse = |cause: String| Unusable::NoStub(procedure.to_owned(), cause);
        let Ok((index, ty)) = self.parameter(procedure, "by", by) else {
            let parameters = self.names.join(", ");
            return Err(refuse(format!(
                "[shards] partitions it by `{by}`, and its parameters are {parameters}; name one of them under \
                 [shards.procedures], or add it to `any` if it reads what every shard has"
            )));
        };
        let base = kind::base(ty);
        let hash = KeyHash::of_type(base).ok_or_else(|| {
            let ty = kind::named(ty);
            refuse(format!("it is partitioned by `{by}` of type {ty}; use an integer, bigint, text or uuid"))
        })?;
        Ok(KeyArgument { index, is_uuid: *base == Type::UUID, hash: Some(hash) })
    }

    /// The index of the argument that makes two tries of a call one transaction, if the manifest names one.
    pub(super) fn retry(&self, procedure: &str, batch: &Batch) -> Result<Option<usize>, Unusable> {
        let Some(key) = &batch.key else { return Ok(None) };
        self.parameter(procedure, "key", key).map(|(index, _)| Some(index))
    }

    fn parameter(&self, procedure: &str, entry: &'static str, name: &str) -> Result<(usize, &Type), Unusable> {
        let index = self.names.iter().position(|parameter| parameter == name);
        let found = index.and_then(|index| Some((index, self.signature.parameters.get(index)?)));
        found.ok_or_else(|| Unusable::NoSuchParameter {
            procedure: procedure.to_owned(),
            entry,
            name: name.to_owned(),
            parameters: self.names.join(", "),
        })
    }

    /// The parameters and columns that the contract has no value for.
    pub(super) fn unsupported(&self) -> Vec<Unsupported> {
        let Signature { parameters, columns, .. } = &self.signature;
        let name = |index: usize| self.names.get(index).map_or("", String::as_str);
        let parameters = parameters.iter().enumerate().filter(|(_, ty)| !kind::supported(ty));
        let parameters =
            parameters.map(|(index, ty)| Unsupported::parameter(statement::parameter(name(index), index), ty));
        let columns = columns.iter().filter(|(_, ty)| kind::read(ty).is_none());
        parameters.chain(columns.map(|(name, ty)| Unsupported::column(name, ty))).collect()
    }
}

/// Checks that a batch form matches its procedure. An outcome is matched to its call by row, so the procedure must
/// return one row, and the batch form one row for each call, with its ordinal. A batch must be one transaction: a
/// function that may work in other databases is one only with the promise that a lane works in one of them.
pub(super) fn check_batch_form(one: &Found, many: &Found, batch: &Batch) -> Result<(), String> {
    if one.returns_set || one.returns_void {
        let what = if one.returns_set { "a set" } else { "void" };
        return Err(format!("what returns {what} has no batch form: calls are matched to rows, one for each call"));
    }
    if !many.returns_set {
        return Err("it does not return a set".to_owned());
    }
    if !(one.signature.local && many.signature.local) && batch.lanes.is_none() {
        let what = if many.signature.local { "the procedure" } else { "it" };
        return Err(format!(
            "{what} may work in another database, by its language or by `remote`, so a batch may not be one \
             transaction; if all calls of a lane work in the same database, state the number of lanes: `lanes = 1`, or \
             a power of two"
        ));
    }
    check_ordinals(one, many, &batch.form)?;
    let (wanted, given) = (&one.signature.parameters, &many.signature.parameters[1..]);
    if wanted.len() != given.len() {
        return Err(format!("it takes {} arguments beside `{ORDINALS}`, not {}", given.len(), wanted.len()));
    }
    for (index, (element, array)) in wanted.iter().zip(given).enumerate() {
        let parameter = statement::parameter(one.names.get(index).map_or("", String::as_str), index);
        let (element_name, array_name) = (kind::named(element), kind::named(array));
        if !kind::travels_in_array(element) {
            return Err(format!("{parameter} is of type {element_name}, which does not travel in an array"));
        }
        // A domain is sent as its base type.
        let is_of = |of: &Type| kind::base(of) == kind::base(element);
        if !matches!(array.kind(), Kind::Array(of) if is_of(of)) {
            return Err(format!("its {parameter} is of type {array_name}, not an array of {element_name}"));
        }
    }
    match one.signature.columns == many.signature.columns[1..] {
        true => Ok(()),
        false => Err(format!("beside `{ORDINAL}` it returns other columns")),
    }
}

/// Checks that a batch form takes the ordinals of the calls, and returns them.
fn check_ordinals(one: &Found, many: &Found, form: &str) -> Result<(), String> {
    let parameter = many.names.first().zip(many.signature.parameters.first());
    let takes = parameter.is_some_and(|(name, ty)| name == ORDINALS && *ty == Type::INT4_ARRAY);
    let column = many.signature.columns.first();
    let returns = column.is_some_and(|(name, ty)| name == ORDINAL && *ty == Type::INT4);
    let lacks = match (takes, returns) {
        (true, true) => return Ok(()),
        (false, true) => format!("its first parameter is not `{ORDINALS} integer[]`"),
        (true, false) => format!("its first column is not `{ORDINAL} integer`"),
        (false, false) => {
            format!("its first parameter is not `{ORDINALS} integer[]`, nor its first column `{ORDINAL} integer`")
        }
    };
    let name = form.split('(').next().unwrap_or(form);
    let names = one.names.iter().zip(&one.signature.parameters);
    let arrays: String = names.map(|(name, ty)| format!(", {name} {}[]", kind::named(ty))).collect();
    let columns: String =
        one.signature.columns.iter().map(|(name, ty)| format!(", {name} {}", kind::named(ty))).collect();
    Err(format!(
        "{lacks}: a row is matched to its call by the ordinal that the call was given; declare it as \
         {name}({ORDINALS} integer[]{arrays}) RETURNS TABLE ({ORDINAL} integer{columns})"
    ))
}
