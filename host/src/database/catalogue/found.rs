//! A function as the catalogue has it, and whether it fits what a manifest grants: values that the contract has, a key,
//! a batch form. It asks the database nothing.

use tokio_postgres::types::{Kind, Oid, Type};

use super::statement;
use super::unusable::{Unsupported, Unusable};
use crate::database::procedure::{KeyArgument, Signature};
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
    /// The argument whose value determines which calls may have to wait for each other.
    pub(super) fn key(&self, procedure: &str, by: &str) -> Result<KeyArgument, Unusable> {
        let index = self.names.iter().position(|parameter| parameter == by);
        let found = index.and_then(|index| Some((index, self.signature.parameters.get(index)?)));
        let (procedure, by) = (procedure.to_owned(), by.to_owned());
        match found {
            None => Err(Unusable::NoSuchKey { procedure, by, parameters: self.names.join(", ") }),
            Some((index, ty)) if *kind::base(ty) == Type::UUID => Ok(KeyArgument::Uuid(index)),
            Some((index, ty)) if kind::has_one_spelling(ty) => Ok(KeyArgument::Plain(index)),
            Some((_, ty)) => Err(Unusable::NotAKey { procedure, by, type_name: kind::named(ty) }),
        }
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
/// return one row, and the batch form one row for each call.
pub(super) fn check_batch_form(one: &Found, many: &Found) -> Result<(), String> {
    if one.returns_set || one.returns_void {
        let what = if one.returns_set { "a set" } else { "void" };
        return Err(format!("what returns {what} has no batch form: calls are matched to rows, one for each call"));
    }
    if !many.returns_set {
        return Err("it does not return a set".to_owned());
    }
    if !(one.signature.local && many.signature.local) {
        let what = if many.signature.local { "the procedure" } else { "it" };
        return Err(format!(
            "{what} may work in another database, by its language or by `remote`: a batch must be one transaction"
        ));
    }
    let (wanted, given) = (&one.signature.parameters, &many.signature.parameters);
    if wanted.len() != given.len() {
        return Err(format!("it takes {} arguments, not {}", given.len(), wanted.len()));
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
    match one.signature.columns == many.signature.columns {
        true => Ok(()),
        false => Err("it returns other columns".to_owned()),
    }
}
