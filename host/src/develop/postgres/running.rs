//! Finds the private cluster that another galo of this project is running, so that `galo psql` can join it.

use std::path::{Path, PathBuf};

use super::lock;
use super::place;
use super::server::PORT;

/// The folder of the socket and the port of the running cluster of a folder, if one is running.
pub fn running(data: &Path) -> Option<(PathBuf, u16)> {
    let data = std::path::absolute(data).ok()?;
    let folders = [place::elsewhere(&data), data];
    folders.iter().find_map(|folder| lock::socket_of_holder(folder)).map(|socket| (socket, PORT))
}
