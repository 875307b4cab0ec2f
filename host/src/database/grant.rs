//! What a manifest grants of the database: a procedure, and how its calls are batched. `catalogue` checks it, and makes
//! a `procedure` of it.

use std::fmt;

use serde::Deserialize;

use crate::limits;

/// A procedure, as a manifest grants it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GrantedProcedure {
    /// The name handlers use.
    pub name: String,
    /// The batch form that runs many of its calls at once, if there is one.
    pub batch: Option<Batch>,
    /// Whether it also works in another database, which its language does not show: by dblink or a foreign table.
    pub remote: bool,
    /// Which shard a call goes to, if the manifest has shards.
    pub partition: Option<Partition>,
}

/// Which shard a call goes to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Partition {
    /// The one of the value of this parameter.
    By(String),
    /// Any: it reads what every shard has.
    Any,
}

/// A batch form, as a manifest grants it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
#[serde(expecting = "{ form = \"FUNCTION\", by = \"PARAMETER\" }, PARAMETER being that of the row a call works on")]
pub struct Batch {
    /// The function that executes many calls at once.
    pub form: String,
    /// The parameter of the procedure whose value is a call's key: calls that may have to wait for each other, because
    /// they work on the same row, have the same key.
    pub by: String,
    /// How many lanes there are, if the manifest states it. A function that works in other databases must have it
    /// stated: calls of one lane then work in one of them.
    pub lanes: Option<LaneCount>,
    /// The parameter of the procedure that makes two tries of a call one transaction, unless its value is null.
    pub key: Option<String>,
}

/// A number of lanes: a power of two, so that those of a partition are its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "i64")]
pub struct LaneCount(usize);

impl GrantedProcedure {
    /// One without a batch form, that works in its own database.
    pub fn plain(name: &str) -> Self {
        Self { name: name.to_owned(), batch: None, remote: false, partition: None }
    }
}

impl Batch {
    /// A batch form with one lane, whose calls carry no key.
    pub fn new(form: &str, by: &str) -> Self {
        Self { form: form.to_owned(), by: by.to_owned(), lanes: None, key: None }
    }

    /// How many lanes there are.
    pub fn lanes(&self) -> usize {
        self.lanes.map_or(1, |LaneCount(lanes)| lanes)
    }
}

impl TryFrom<i64> for LaneCount {
    type Error = String;

    fn try_from(lanes: i64) -> Result<Self, String> {
        let count = usize::try_from(lanes).ok().filter(|lanes| lanes.is_power_of_two() && *lanes <= limits::LANES_MAX);
        count.map(Self).ok_or_else(|| format!("lanes = {lanes}: use a power of two from 1 to {}", limits::LANES_MAX))
    }
}

/// `place_orders by customer_id`, with `, 4 lanes` and `, key order_key` if they are stated.
impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}", self.form, self.by)?;
        if let Some(LaneCount(lanes)) = self.lanes {
            write!(f, ", {lanes} lanes")?;
        }
        self.key.as_ref().map_or(Ok(()), |key| write!(f, ", key {key}"))
    }
}
