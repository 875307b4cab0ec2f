//! Reading the columns of a row, and the errors when they are not what the handler asked for.

use alloc::string::ToString;
use alloc::vec::Vec;

use super::*;
use crate::test;

fn one_of_each() -> Rows {
    test::rows(
        ["nothing", "flag", "number", "ratio", "name", "raw", "at", "never"],
        [[
            Value::Null,
            true.into(),
            7.into(),
            0.5.into(),
            "galo".into(),
            Vec::from(*b"\x00\xff").into(),
            Value::Timestamp(1),
            Value::Timestamp(i64::MAX),
        ]],
    )
}

#[test]
fn columns_are_read_by_name_and_type() {
    let rows = one_of_each();
    let row = rows.first().unwrap();
    assert_eq!(row.boolean("flag"), Ok(true));
    assert_eq!(row.integer("number"), Ok(7));
    assert_eq!(row.float("ratio"), Ok(0.5));
    assert_eq!(row.text("name"), Ok("galo"));
    assert_eq!(row.bytes("raw"), Ok(&b"\x00\xff"[..]));
    assert_eq!(row.timestamp("at").map(Timestamp::micros), Ok(1));
    assert_eq!(row.is_null("nothing"), Ok(true));
    assert_eq!(row.is_null("name"), Ok(false));
    assert_eq!(row.value("number"), Ok(&Value::Integer(7)));
}

#[test]
fn an_unexpected_column_is_named() {
    let rows = one_of_each();
    let row = rows.first().unwrap();
    for (error, message) in [
        (row.integer("nothing").map(drop), "column nothing should be integer and is null"),
        (row.boolean("number").map(drop), "column number should be boolean and is integer"),
        (row.float("flag").map(drop), "column flag should be float and is boolean"),
        (row.text("ratio").map(drop), "column ratio should be text and is float"),
        (row.bytes("name").map(drop), "column name should be bytes and is text"),
        (row.timestamp("raw").map(drop), "column raw should be timestamp and is bytes"),
        (row.text("at").map(drop), "column at should be text and is timestamp"),
        (row.timestamp("never").map(drop), "column never is not within the years 1 to 9999"),
        (row.integer("price").map(drop), "the procedure returned no column price"),
        (row.is_null("price").map(drop), "the procedure returned no column price"),
    ] {
        assert_eq!(error.unwrap_err().to_string(), message);
    }
}

#[test]
fn rows_keep_their_order() {
    let rows = test::rows(["a", "b"], [[1.into(), 2.into()], [3.into(), 4.into()]]);
    let read: Vec<_> = rows.iter().map(|row| (row.integer("a").unwrap(), row.integer("b").unwrap())).collect();
    assert_eq!(read, [(1, 2), (3, 4)]);
}

#[test]
fn without_rows_or_columns_there_is_no_first_row() {
    for rows in [test::rows(["a"], []), test::rows([], []), test::rows([], [[]])] {
        assert_eq!(rows.iter().len(), 0);
        assert_eq!(rows.first().unwrap_err().to_string(), "the procedure returned no row");
    }
}

#[test]
fn texts_are_read_as_what_postgres_wrote() {
    let id = "8e03978e-40d5-43dd-bc93-6894a57f9324";
    let rows =
        test::rows(["id", "day", "price", "text"], [[id.into(), "2024-02-29".into(), "12.50".into(), "NaN".into()]]);
    let row = rows.first().unwrap();
    assert_eq!(row.uuid("id").map(|id| id.to_string()), Ok(id.into()));
    assert_eq!(row.date("day").map(|day| day.to_string()), Ok("2024-02-29".into()));
    assert_eq!(row.decimal("price").map(|price| price.to_string()), Ok("12.50".into()));
    for (error, message) in [
        (row.uuid("text").map(drop), "column text should be a uuid and is NaN"),
        (row.date("text").map(drop), "column text should be a date and is NaN"),
        (row.decimal("text").map(drop), "column text should be a numeric and is NaN"),
    ] {
        assert_eq!(error.unwrap_err().to_string(), message);
    }
}
