//! The files of an SQL folder: `migrations/V1__name.sql`, which are applied once, and `procedures/*.sql`, which are
//! applied again. Every wrong name is reported at once.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use refinery_core::Migration;
use sha2::{Digest as _, Sha256};

use super::statements::statements;
use crate::{file, limits};

/// The folder of the versioned files.
pub(super) const MIGRATIONS: &str = "migrations";

/// The folder of the files that are applied again.
pub(super) const PROCEDURES: &str = "procedures";

/// The first line of a file whose statements run one by one, outside of a transaction.
pub(super) const NO_TRANSACTION: &str = "-- galo: no transaction";

/// All files, in the order in which they are applied.
pub(super) struct Files {
    pub(super) migrations: Vec<Versioned>,
    pub(super) procedures: Vec<SqlFile>,
}

/// A migration.
pub(super) struct Versioned {
    pub(super) file: SqlFile,
    pub(super) migration: Migration,
}

/// A file and its text.
pub(super) struct SqlFile {
    /// As messages name it.
    pub(super) path: PathBuf,
    pub(super) name: String,
    /// Without a byte order mark, and with plain newlines: git may check a file out with others.
    pub(super) sql: String,
}

impl SqlFile {
    fn read(path: PathBuf) -> anyhow::Result<Self> {
        let bytes = file::read(&path, limits::MIGRATION_BYTES_MAX).with_context(|| path.display().to_string())?;
        let text = String::from_utf8(bytes).with_context(|| format!("{}: it is not UTF-8", path.display()))?;
        let sql = text.trim_start_matches('\u{feff}').replace("\r\n", "\n");
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let file = Self { path, name, sql };
        file.check()?;
        Ok(file)
    }

    /// Refuses a file that would end the transaction it is run in, and so leave a part of it behind.
    fn check(&self) -> anyhow::Result<()> {
        let ends = |text: &str| {
            let mut words = text.split_whitespace().map(str::to_ascii_lowercase);
            let words = [words.next().unwrap_or_default(), words.next().unwrap_or_default()];
            match [&*words[0], &*words[1]] {
                ["begin" | "commit" | "end" | "abort", _] | ["start", "transaction"] => true,
                ["rollback", second] => second != "to",
                _ => false,
            }
        };
        let found = statements(&self.sql).into_iter().find(|statement| ends(statement.text));
        // A transaction that a file leaves open would be lost with what is recorded in it.
        let why = match self.in_transaction() {
            true => "the file is one transaction by itself",
            false => "each statement of the file is a transaction by itself",
        };
        found.map_or(Ok(()), |statement| {
            bail!("{}:{}: {why}; remove `{}`", self.path.display(), statement.line, statement.text)
        })
    }

    pub(super) fn in_transaction(&self) -> bool {
        self.sql.lines().next().is_none_or(|line| line.trim_end() != NO_TRANSACTION)
    }

    /// What tells its text from another one.
    pub(super) fn checksum(&self) -> String {
        Sha256::digest(self.sql.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Files {
    /// Reads a folder.
    ///
    /// # Errors
    /// Every file that cannot be read, or whose name is wrong.
    pub(super) fn read(folder: &Path) -> anyhow::Result<Self> {
        let mut mistakes = Vec::new();
        for path in sql_files(folder).with_context(|| {
            let shown = folder.display();
            format!("cannot read {shown}; give the folder that has {MIGRATIONS}/ and {PROCEDURES}/")
        })? {
            mistakes.push(format!(
                "{}: files are not applied from here; make it {MIGRATIONS}/V1__name.sql, which is applied once, or move \
                 it to {PROCEDURES}/, whose files are applied again whenever one changes",
                path.display()
            ));
        }
        let mut note = |error: anyhow::Error| mistakes.push(format!("{error:#}"));
        let migrations = existing(&folder.join(MIGRATIONS))?.into_iter().map(versioned);
        let mut migrations: Vec<_> = migrations.filter_map(|read| read.map_err(&mut note).ok()).collect();
        let procedures = existing(&folder.join(PROCEDURES))?.into_iter().map(SqlFile::read);
        let procedures: Vec<_> = procedures.filter_map(|read| read.map_err(&mut note).ok()).collect();
        migrations.sort_by_key(|versioned| versioned.migration.version());
        for pair in migrations.windows(2).filter(|pair| pair[0].migration.version() == pair[1].migration.version()) {
            let [one, other] = [&pair[0], &pair[1]].map(|versioned| versioned.file.path.display());
            mistakes.push(format!("{one} and {other} have the same version; give one of them the next number"));
        }
        ensure!(mistakes.is_empty(), mistakes.join("\n"));
        ensure!(
            !migrations.is_empty() || !procedures.is_empty(),
            "{} holds neither {MIGRATIONS}/V1__name.sql nor a file in {PROCEDURES}/",
            folder.display()
        );
        Ok(Self { migrations, procedures })
    }

    /// The highest version.
    pub(super) fn version(&self) -> Option<i64> {
        self.migrations.last().map(|versioned| versioned.migration.version())
    }
}

/// Reads a migration, whose name has its version.
fn versioned(path: PathBuf) -> anyhow::Result<Versioned> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let parts = stem.strip_prefix('V').and_then(|rest| rest.split_once("__"));
    let is_valid = parts.is_some_and(|(version, name)| {
        let word = |c: char| c.is_alphanumeric() || c == '_';
        !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit()) && !name.is_empty() && name.chars().all(word)
    });
    let shown = path.display().to_string();
    ensure!(
        is_valid,
        "{shown}: the name of a migration is V, its version, two underscores and a name of letters, digits and \
         underscores, e.g. V2__add_prices.sql"
    );
    let file = SqlFile::read(path)?;
    match Migration::unapplied(&stem, &file.sql) {
        Ok(migration) => Ok(Versioned { file, migration }),
        Err(_) => bail!("{shown}: the version does not fit into 64 bits"),
    }
}

/// The SQL files of a folder, in the order of their names; none if there is no such folder.
fn existing(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    match folder.is_dir() {
        true => sql_files(folder).with_context(|| format!("cannot read {}", folder.display())),
        false => Ok(Vec::new()),
    }
}

/// The `.sql` files of a folder, not of its subfolders, in the order of their names.
fn sql_files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let paths = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    let is_sql = |path: &PathBuf| {
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        path.extension().is_some_and(|extension| extension == "sql") && !hidden
    };
    let mut files: Vec<_> = paths.into_iter().filter(is_sql).collect();
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn migrations_are_ordered_by_number_and_procedures_by_name() {
        let folder = folder(&[
            ("migrations/V10__c.sql", ""),
            ("migrations/V9__b.sql", ""),
            ("migrations/V001__a.sql", "\u{feff}-- galo: no transaction\r\nSELECT 1;\r\n"),
            ("migrations/README.md", ""),
            ("migrations/.V3__swap.sql", ""),
            ("procedures/2_b.sql", ""),
            ("procedures/1_a.sql", ""),
        ]);
        let files = Files::read(folder.path()).unwrap();
        let versions: Vec<_> = files.migrations.iter().map(|versioned| versioned.migration.version()).collect();
        assert_eq!((versions, files.version()), (vec![1, 9, 10], Some(10)));
        assert_eq!(files.migrations[0].file.sql, "-- galo: no transaction\nSELECT 1;\n");
        assert!(!files.migrations[0].file.in_transaction() && files.migrations[1].file.in_transaction());
        let names: Vec<_> = files.procedures.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["1_a.sql", "2_b.sql"]);
    }

    #[test]
    fn every_wrong_name_is_reported_with_what_to_do() {
        let folder = folder(&[
            ("1_schema.sql", ""),
            ("migrations/V1_a.sql", ""),
            ("migrations/v2__a.sql", ""),
            ("migrations/V3__a-b.sql", ""),
            ("migrations/V4.1__a.sql", ""),
            ("migrations/V99999999999999999999__a.sql", ""),
            ("migrations/V5__a.sql", ""),
            ("migrations/V05__b.sql", ""),
        ]);
        let told = Files::read(folder.path()).err().unwrap().to_string();
        let expected = [
            "1_schema.sql: files are not applied from here; make it migrations/V1__name.sql",
            "V1_a.sql: the name of a migration is V, its version",
            "v2__a.sql: the name",
            "V3__a-b.sql: the name",
            "V4.1__a.sql: the name",
            "V99999999999999999999__a.sql: the version does not fit",
            "V05__b.sql and ",
        ];
        assert_eq!(told.lines().count(), expected.len(), "{told}");
        expected.iter().for_each(|expected| assert!(told.contains(expected), "`{expected}` is missing in:\n{told}"));
    }

    #[test]
    fn a_file_that_ends_its_transaction_is_refused_before_it_runs() {
        let told = |sql: &str| {
            let read = Files::read(folder(&[("procedures/a.sql", sql)]).path());
            read.err().map(|error| error.to_string()).unwrap_or_default()
        };
        for statement in ["BEGIN", "COMMIT WORK", "end", "ABORT", "START TRANSACTION", "ROLLBACK"] {
            let told = told(&format!("SELECT 1;\n{statement};"));
            assert!(
                told.contains(&format!("a.sql:2: the file is one transaction by itself; remove `{statement}`")),
                "{told}"
            );
        }
        // One that stays open would be rolled back at the end, with the record that the file was applied.
        let open = told("-- galo: no transaction\nBEGIN; CREATE TABLE a ()");
        assert!(
            open.contains("a.sql:2: each statement of the file is a transaction by itself; remove `BEGIN`"),
            "{open}"
        );
        for sql in ["SAVEPOINT a; ROLLBACK TO a", "DO $$ BEGIN; END $$", "-- COMMIT;"] {
            assert_eq!(told(sql), "", "{sql}");
        }
    }

    #[test]
    fn a_folder_without_files_is_refused() {
        for files in [&[][..], &[("migrations/README.md", "")]] {
            let told = Files::read(folder(files).path()).err().unwrap().to_string();
            assert!(told.contains("holds neither migrations/V1__name.sql nor"), "{told}");
        }
        assert!(Files::read(Path::new("/nowhere")).err().unwrap().to_string().contains("cannot read /nowhere"));
    }
}
