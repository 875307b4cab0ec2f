//! What runs on a developer's machine only. `cli` calls it, and the tests and benchmarks use `build` and `postgres`;
//! nothing that serves imports it.
//!
//! | module | command | what it does |
//! |---|---|---|
//! | [`build`] | `galo build` | compiles the handlers of a project with Cargo |
//! | [`languages`] | `galo bindings`, `galo componentize` | what the build of a handler in another language needs |
//! | [`dev`] | `galo dev` | builds, starts a private Postgres, serves, and follows the sources |
//! | [`psql`] | `galo psql` | opens psql on the database of `galo dev`, or on another one |
//! | [`postgres`] | `galo postgres` | a private Postgres that ends with the process that uses it |
//! | [`project`] | `galo init`, `galo upgrade` | makes a project, and moves it to another version |
//! | [`scaffold`] | `galo new` | writes the files of a new handler |
//! | `sources` | `galo dev`, `galo test --watch` | follows the sources of a project |
//! | [`test_runner`] | `galo test` | runs unit tests and examples of handlers, some on a scratch database |

pub mod build;
pub mod dev;
pub mod languages;
pub mod postgres;
pub mod project;
pub mod psql;
pub mod scaffold;
mod sources;
pub mod test_runner;
