//! A handler without a key, beside those of the checkout: `POST /somas` has its procedure count one on, and record the
//! body. Its `retry` is not set, so nothing may carry one of its requests out twice.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use galo_bank::keyless::Recorded;
use galo_testing::database::connect;
use galo_testing::fixture::Guest;

use crate::postgres::Database;

/// Where it answers.
pub const PATH: &str = "/somas";

/// What the database has for it: the naive procedure that a first handler of anybody calls.
const SQL: &str = "
    CREATE SCHEMA teste;
    CREATE TABLE teste.soma (saldo bigint NOT NULL);
    CREATE TABLE teste.marcas (marca text NOT NULL);
    INSERT INTO teste.soma VALUES (0);
    CREATE FUNCTION public.somar(marca text, OUT saldo bigint) LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        UPDATE teste.soma AS s SET saldo = s.saldo + 1 RETURNING s.saldo INTO saldo;
        INSERT INTO teste.marcas VALUES (marca);
    END
    $$;
    GRANT EXECUTE ON FUNCTION public.somar(text) TO galo;";

/// Makes what it calls.
pub async fn create(database: &Database) {
    database.execute(SQL).await;
}

/// Puts it into a folder of handlers.
pub fn put(folder: &Path) {
    fs::write(folder.join("somas.wasm"), summing("", "")).unwrap();
    add(folder, "somas", PATH, "");
}

/// Adds a table to a manifest.
pub fn add(folder: &Path, name: &str, path: &str, more: &str) {
    let mut manifest = File::options().append(true).open(folder.join("galo.toml")).unwrap();
    let table = format!("[[handler]]\nname = \"{name}\"\ncomponent = \"{name}.wasm\"\nroute = \"POST {path}\"");
    writeln!(manifest, "\n{table}\nprocedures = [\"somar\"]\n{more}").unwrap();
}

/// The component that is put, with so many bytes that it does not need.
pub fn heavy(bytes: usize) -> Vec<u8> {
    summing_with("", "", &format!("(data \"{}\")", "x".repeat(bytes)))
}

/// A guest that calls `somar` with the body, and answers 200 with this header, if it has a name.
pub fn summing(header: &str, value: &str) -> Vec<u8> {
    summing_with(header, value, "")
}

fn summing_with(header: &str, value: &str, more: &str) -> Vec<u8> {
    let word = |number: usize| -> String {
        u32::try_from(number).unwrap().to_le_bytes().iter().map(|byte| format!("\\{byte:02x}")).collect()
    };
    let (name_bytes, value_bytes) = (word(header.len()), word(value.len()));
    let count = word(usize::from(!header.is_empty()));
    // A plan at 1024: a call of the procedure named at 1200 with the argument at 1104, a text of five words: the case
    // of the value, then address and length of the body, the last two of the thirteen words of a request. A response at
    // 1300, with headers at 1400.
    let items = format!(
        r#"(data (i32.const 1024) "\01\00\00\00\b0\04\00\00\05\00\00\00\50\04\00\00\01\00\00\00\00\00\00\00\00\00\00\00")
           (data (i32.const 1200) "somar")
           (data (i32.const 1300) "\01\00\00\00\c8\00\00\00\78\05\00\00{count}\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00")
           (data (i32.const 1400) "\00\06\00\00{name_bytes}\00\07\00\00{value_bytes}")
           (data (i32.const 1536) "{header}")
           (data (i32.const 1792) "{value}")
           {more}"#
    );
    let prepare = format!(
        "(i32.store8 (i32.const 1104) (i32.const {TEXT}))
         (i32.store (i32.const 1112) (i32.load offset=52 (local.get 0)))
         (i32.store (i32.const 1116) (i32.load offset=56 (local.get 0)))
         (i32.const 1024)"
    );
    Guest { prepare: &prepare, respond: "i32.const 1300", items: items.into(), ..Guest::default() }.component()
}

/// The case of a value that is a text: the order of `wit/handler.wit`.
const TEXT: u8 = 4;

/// What is recorded.
pub async fn recorded(database: &Database) -> Recorded {
    let client = connect(&database.owner_url()).await;
    let marks = client.query("SELECT marca FROM teste.marcas", &[]).await.unwrap();
    let counted: i64 = client.query_one("SELECT saldo FROM teste.soma", &[]).await.unwrap().get(0);
    Recorded { marks: marks.iter().map(|row| row.get(0)).collect(), counted: u64::try_from(counted).unwrap() }
}
