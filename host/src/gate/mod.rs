//! What a candidate would answer otherwise than the generation that serves: on recorded requests before a swap (the
//! gate), and on live ones for a while (the shadow). Both run handlers only, which are pure: nothing that a candidate
//! plans is carried out.
//!
//! `reload` runs the gate between the examples and the swap, and starts shadows; `admin` shows what came out, and takes
//! what an operator accepts.

mod compare;
mod corpus;
mod cpu;
mod gates;
mod intended;
mod shadows;
mod tally;
mod verdict;

pub use self::compare::Sides;
pub use self::corpus::{ACCEPTED_NAME, Deployed, accepted_path, path};
pub use self::gates::{Gates, Unaccepted};
pub use self::intended::Intended;
pub use self::shadows::{Busy, Order, Phase, Run, Shadows};
pub use self::tally::Tally;
pub use self::verdict::{Material, Otherwise, Verdict, judge};
