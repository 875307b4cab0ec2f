//! Keeps folders that are not crates out of a workspace. `members = ["handlers/*"]` takes every folder for a crate, and
//! Cargo builds nothing at all while one of them has no Cargo.toml: a handler in another language, or a folder of
//! files. Such a folder is added to `exclude`, which is also what every other use of Cargo in the project needs.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use globset::GlobBuilder;
use toml_edit::{Array, DocumentMut, Item, Table};

use super::Project;
use crate::manifest::SOURCES;

/// Adds the folders of handlers that are not crates to `exclude`, if `members` matches them.
///
/// # Errors
/// When Cargo.toml has to be changed and cannot be; the error has the line that is missing.
pub(super) fn exclude(project: &Project) -> anyhow::Result<()> {
    let path = project.root.join("Cargo.toml");
    // A Cargo.toml that cannot be read or parsed is reported by Cargo.
    let Some(mut document) = fs::read_to_string(&path).ok().and_then(|text| text.parse::<DocumentMut>().ok()) else {
        return Ok(());
    };
    let Some(workspace) = document.get_mut("workspace").and_then(Item::as_table_mut) else { return Ok(()) };
    let folders = taken_for_crates(&project.handlers(), workspace);
    if folders.is_empty() {
        return Ok(());
    }
    let excluded = workspace.entry("exclude").or_insert_with(|| Array::new().into());
    let shown = folders.iter().map(|folder| format!("\"{folder}\"")).collect::<Vec<_>>().join(", ");
    let remedy = || format!("add {shown} to `exclude` in {}: they have no Cargo.toml", path.display());
    excluded.as_array_mut().with_context(remedy)?.extend(folders);
    replace(&path, &document.to_string()).with_context(remedy)?;
    tracing::warn!("Cargo.toml: added {shown} to `exclude`; without a Cargo.toml there, Cargo would build nothing");
    Ok(())
}

/// The folders in `handlers/` that Cargo takes for crates, and that have no Cargo.toml.
fn taken_for_crates(handlers: &Path, workspace: &Table) -> Vec<String> {
    let excluded = strings(workspace, "exclude");
    let members: Vec<_> = strings(workspace, "members")
        .iter()
        .filter_map(|glob| GlobBuilder::new(glob.trim_end_matches('/')).literal_separator(true).build().ok())
        .filter(|glob| glob.glob().contains(['*', '?', '[']))
        .map(|glob| glob.compile_matcher())
        .collect();
    let folders = fs::read_dir(handlers).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut taken: Vec<_> = folders
        .filter(|folder| folder.is_dir() && !folder.join("Cargo.toml").exists())
        .filter_map(|folder| Some(format!("{SOURCES}/{}", folder.file_name()?.to_str()?)))
        .filter(|name| members.iter().any(|member| member.is_match(name)))
        .filter(|name| !excluded.iter().any(|excluded| Path::new(name).starts_with(excluded)))
        .collect();
    taken.sort();
    taken
}

fn strings(table: &Table, key: &str) -> Vec<String> {
    let values = table.get(key).and_then(Item::as_array).into_iter().flatten();
    values.filter_map(|value| Some(value.as_str()?.trim_start_matches("./").to_owned())).collect()
}

fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    let folder: PathBuf = path.parent().context("a file lies in a folder")?.to_owned();
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    fs::set_permissions(file.path(), fs::metadata(path)?.permissions())?;
    file.write_all(text.as_bytes())?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_that_are_not_crates_are_excluded_once_and_the_rest_of_the_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let project = Project { root: folder.path().to_owned() };
        for name in ["a", "greet", "assets", "known"] {
            fs::create_dir_all(project.handlers().join(name)).unwrap();
        }
        fs::write(project.handlers().join("a/Cargo.toml"), "").unwrap();
        let path = project.root.join("Cargo.toml");
        let text = "[workspace] # mine\nmembers = [\"handlers/*\"]\nexclude = [\"handlers/known\"]\n\n[profile.dev]\n";
        fs::write(&path, text).unwrap();
        for _ in 0..2 {
            exclude(&project).unwrap();
            let now = fs::read_to_string(&path).unwrap();
            let list = "exclude = [\"handlers/known\", \"handlers/assets\", \"handlers/greet\"]";
            assert_eq!(now, text.replace("exclude = [\"handlers/known\"]", list));
        }
        // Members that are listed one by one take no other folder for a crate.
        for text in ["[workspace]\nmembers = [\"handlers/a\"]\n", "[package]\nname = \"x\"\n", "[broken"] {
            fs::write(&path, text).unwrap();
            exclude(&project).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }
}
