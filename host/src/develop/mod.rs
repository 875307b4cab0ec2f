//! What runs on a developer's machine only: building handlers, `galo dev` with its private Postgres, `galo new` and
//! `galo test`. Nothing that serves imports it.

pub mod build;
pub mod dev;
pub mod postgres;
pub mod scaffold;
pub mod test_runner;
