//! `galo init` and `galo upgrade`: a project of one's own, made from what is in the program, without a network.
//!
//! | module | what it does |
//! |---|---|
//! | `files` | the files of a project, from the template |
//! | `kit` | the kit for authors of handlers, from its sources |
//! | `record` | what galo wrote, in `galo.lock` |
//! | `upgrade` | moves a project to this program's version |

mod files;
mod kit;
mod record;
mod upgrade;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

use self::files::{Owner, Versions};
pub use self::kit::Kit;
use self::record::{Record, digest_of};
pub use self::upgrade::{Change, Upgrade, upgrade};
use crate::manifest::{self, ProjectEntry};

/// Makes a project in a new folder of its name, or in an empty one, and returns the folder.
///
/// # Errors
/// When the name is not valid or the folder is not empty; then nothing was written. Or when a file cannot be written.
pub fn init(parent: &Path, name: &str, kit: &Kit) -> anyhow::Result<PathBuf> {
    manifest::check_name(name).map_err(anyhow::Error::msg)?;
    ensure!(
        !is_reserved(name),
        "invalid project name `{name}`: Postgres reserves it, and a role and a database are named after the project; \
         choose another name"
    );
    let root = parent.join(name);
    match fs::read_dir(&root) {
        Ok(mut entries) => ensure!(
            entries.next().is_none(),
            "{} already exists and is not empty; choose another name, or `galo new` to add a handler to a project",
            root.display()
        ),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => bail!("cannot open {}: {error}", root.display()),
    }
    let versions = Versions::own()?;
    let files = files::all(&ProjectEntry::named(name), kit, &versions)?;
    // Beside its place, so that a project is there whole or not at all.
    let made = tempfile::Builder::new()
        .prefix(".galo-init-")
        .permissions(fs::Permissions::from_mode(0o755))
        .tempdir_in(parent)
        .with_context(|| format!("cannot write to {}", parent.display()))?;
    for (path, file) in &files {
        files::write(made.path(), path, &file.text)?;
    }
    let written = files.iter().filter(|(_, file)| file.owner != Owner::Author);
    let digests = written.map(|(path, file)| (path.clone(), digest_of(&file.text))).collect();
    let record = Record { versions, kit: kit.clone(), files: digests };
    files::write(made.path(), record::FILE_NAME, &record.to_string())?;
    // An empty folder is replaced.
    fs::rename(made.path(), &root).with_context(|| format!("cannot put {} in place", root.display()))?;
    Ok(root)
}

/// Whether a project is of another version of galo than this program; then that version. A record that cannot be read
/// is left to `galo upgrade`.
pub fn other_version(root: &Path) -> Option<String> {
    let version = Record::read(root).ok()??.versions.galo;
    (version != env!("CARGO_PKG_VERSION")).then_some(version)
}

/// Key words that Postgres takes as a name only in quotes, and names of roles and databases that it has itself.
const RESERVED: &str = "all analyse analyze and any array as asc asymmetric authorization binary both case cast check \
                        collate collation column concurrently constraint create cross current_catalog current_date \
                        current_role current_schema current_time current_timestamp current_user default deferrable \
                        desc distinct do else end except false fetch for foreign freeze from full grant group having \
                        ilike in initially inner intersect into is isnull join lateral leading left like limit \
                        localtime localtimestamp natural none not notnull null offset on only or order outer overlaps \
                        placing postgres primary public references returning right select session_user similar some \
                        symmetric system_user table tablesample template0 template1 then to trailing true union unique \
                        user using variadic verbose when where window with";

fn is_reserved(name: &str) -> bool {
    let name = name.replace('-', "_");
    name.starts_with("pg_") || RESERVED.split_whitespace().any(|reserved| reserved == name)
}
