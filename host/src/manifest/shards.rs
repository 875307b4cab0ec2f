//! `[shards]`: how many partitions the data has, and by which parameter each procedure is partitioned. With it, the
//! database of a node is a router that has no data, and each call goes to the shard of its key.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use crate::database::Partition;
use crate::limits::PARTITIONS_MAX;

/// The section `[shards]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardsEntry {
    /// How many partitions the data has: a power of two. Several of them may be on one shard.
    pub partitions: u32,
    /// The parameter by which procedures are partitioned that are not named below.
    by: Option<String>,
    /// The parameters of other procedures.
    procedures: BTreeMap<String, String>,
    /// The procedures that read what every shard has.
    any: Vec<String>,
    /// The line of the section, from 1.
    pub line: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ShardsTable {
    partitions: Spanned<u32>,
    by: Option<Spanned<String>>,
    #[serde(default)]
    procedures: BTreeMap<Spanned<String>, Spanned<String>>,
    #[serde(default)]
    any: Vec<Spanned<String>>,
}

impl ShardsTable {
    /// The section, which begins in this line. Each mistake is noted with its place.
    pub(super) fn entry(&self, line: usize, mistake: &mut dyn FnMut(usize, String)) -> ShardsEntry {
        let count = *self.partitions.get_ref();
        if !count.is_power_of_two() || !(2..=PARTITIONS_MAX).contains(&count) {
            let text = format!("[shards]: partitions = {count}: a power of two from 2 to {PARTITIONS_MAX} is expected");
            mistake(self.partitions.span().start, text);
        }
        for empty in self.by.iter().chain(self.procedures.values()).filter(|name| name.get_ref().is_empty()) {
            mistake(empty.span().start, "[shards]: a parameter has a name".to_owned());
        }
        for twice in self.any.iter().filter(|name| self.procedures.contains_key(*name)) {
            let text = format!("[shards]: `{}` is in `procedures` and in `any`; remove one of them", twice.get_ref());
            mistake(twice.span().start, text);
        }
        ShardsEntry {
            partitions: count,
            by: self.by.as_ref().map(|by| by.get_ref().clone()),
            procedures: self
                .procedures
                .iter()
                .map(|(name, by)| (name.get_ref().clone(), by.get_ref().clone()))
                .collect(),
            any: self.any.iter().map(|name| name.get_ref().clone()).collect(),
            line,
        }
    }

    /// Notes the procedures that it names and no handler uses: they are typing errors.
    pub(super) fn check_names(&self, is_used: impl Fn(&str) -> bool, mistake: &mut dyn FnMut(usize, String)) {
        for name in self.procedures.keys().chain(&self.any).filter(|name| !is_used(name.get_ref())) {
            mistake(name.span().start, format!("[shards]: no handler is granted `{}`", name.get_ref()));
        }
    }
}

impl ShardsEntry {
    /// Which shard a call of a procedure goes to.
    ///
    /// # Errors
    /// That the section does not say, and what to write.
    pub fn partition(&self, procedure: &str) -> Result<Partition, String> {
        if self.any.iter().any(|name| name == procedure) {
            return Ok(Partition::Any);
        }
        let by = self.procedures.get(procedure).or(self.by.as_ref());
        by.map(|by| Partition::By(by.clone())).ok_or_else(|| {
            format!(
                "[shards]: no parameter partitions `{procedure}`: write `by = \"PARAMETER\"`, or under \
                 `[shards.procedures]` `{procedure} = \"PARAMETER\"`, or add it to `any` if it reads what every shard has"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::manifest::parse;

    const HANDLER: &str = r#"
[[handler]]
name = "a"
component = "a.wasm"
route = "GET /a"
procedures = ["f", "g", "rates"]
batch = { f = { form = "fs", by = "id", lanes = 4 } }
explain = "why"
"#;

    fn read(section: &str) -> Result<crate::manifest::Manifest, String> {
        let text = format!("[shards]\n{section}\n{HANDLER}");
        parse(Path::new("galo.toml"), &text).map_err(|refused| refused.to_string())
    }

    #[test]
    fn each_procedure_has_a_partition() {
        let manifest = read("partitions = 4\nby = \"id\"\nany = [\"rates\"]\nprocedures = { g = \"owner\" }").unwrap();
        let granted = &manifest.handlers[0].procedures;
        let by = |name: &str| Some(Partition::By(name.to_owned()));
        let expected = [by("id"), by("owner"), Some(Partition::Any)];
        assert_eq!(granted.iter().map(|one| one.partition.clone()).collect::<Vec<_>>(), expected);
        let shards = manifest.shards.unwrap();
        assert_eq!(
            (shards.partitions, shards.line, shards.partition("why")),
            (4, 1, Ok(Partition::By("id".to_owned())))
        );
    }

    #[test]
    fn what_is_wrong_is_reported_with_its_line() {
        for (section, reported) in [
            ("partitions = 3\nby = \"id\"", "galo.toml:2: [shards]: partitions = 3: a power of two from 2 to"),
            ("partitions = 1\nby = \"id\"", "galo.toml:2: [shards]: partitions = 1"),
            ("partitions = 2\nby = \"\"", "galo.toml:3: [shards]: a parameter has a name"),
            ("partitions = 2\nby = \"id\"\nany = [\"h\"]", "galo.toml:4: [shards]: no handler is granted `h`"),
            (
                "partitions = 2\nby = \"id\"\nany = [\"g\"]\nprocedures = { g = \"id\" }",
                "galo.toml:4: [shards]: `g` is in `procedures` and in `any`",
            ),
            ("partitions = 2", "galo.toml:4: a: [shards]: no parameter partitions `f`: write `by = "),
            (
                "partitions = 2\nby = \"owner\"",
                "galo.toml:5: a: `f` is batched by `id` and partitioned by `owner`: a batch stays within one partition",
            ),
            (
                "partitions = 8\nby = \"id\"",
                "galo.toml:5: a: `f` has 4 lanes and [shards] 8 partitions, so that a batch would be of several: set",
            ),
            ("by = \"id\"", "galo.toml:1: missing field `partitions`"),
        ] {
            let found = read(section).unwrap_err();
            assert!(found.contains(reported), "{section}: {found}");
        }
    }
}
