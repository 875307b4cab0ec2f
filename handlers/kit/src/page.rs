//! Lists in pages, by keyset: a page begins behind the last key of the one before. It costs the same however far it is,
//! and rows that come or go do not shift it, as an offset does.
//!
//! The client passes the `next` of a page on as `?after=`, and may set `?limit=`. It is the key as JSON in base64: not
//! secret, and not to be relied on by clients. The procedure is asked for one row more than the page has, which shows
//! whether there is a next one.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::decode::json;
use crate::panic::refuse;
use crate::{Part, Rejection, Request, Row, Rows, UnexpectedRows};

/// The page that a client asks for. The key `K` is a value, or a tuple of values, by which the rows are ordered and
/// which is unique: `(Timestamp, i64)` for `ORDER BY created_at, id`.
///
/// ```
/// use galo_kit::{
///     Handler, Keyset, Plan, Request, Response, Rows, UnexpectedRows, from_carry, test, to_carry,
/// };
///
/// struct Items;
///
/// impl Handler for Items {
///     fn prepare(request: &Request) -> Plan {
///         plan(request).into()
///     }
///
///     fn respond(carry: &[u8], rows: &Rows) -> Result<Response, UnexpectedRows> {
///         let page = rows.page(from_carry(carry), |row| row.integer("id"))?;
///         Ok(Response::json(200, &page))
///     }
/// }
///
/// // The procedure: SELECT … WHERE id > coalesce(after_id, 0) ORDER BY id LIMIT fetch
/// fn plan(request: &Request) -> Result<Plan, Response> {
///     let page: Keyset<i64> = request.keyset(20, 100)?;
///     Ok(Plan::call("items", [page.after.into(), page.fetch().into()], to_carry(&page.limit)))
/// }
///
/// let first = test::call(Items::prepare(&test::get("/items", &[]).with_query("limit=2")));
/// assert_eq!(first.arguments, [None::<i64>.into(), 3.into()]);
/// let rows = test::rows(["id"], [[4.into()], [7.into()], [9.into()]]);
/// let response = Items::respond(&first.carry, &rows)?;
/// test::assert_json(&response, 200, r#"{"items":[{"id":4},{"id":7}],"next":"Nw"}"#);
///
/// let second = test::call(Items::prepare(&test::get("/items", &[]).with_query("limit=2&after=Nw")));
/// assert_eq!(second.arguments, [7.into(), 3.into()]);
/// # Ok::<(), UnexpectedRows>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keyset<K> {
    /// The key of the last row that the client has; none for the first page.
    pub after: Option<K>,
    /// How many rows the page has at most.
    pub limit: u32,
}

impl<K> Keyset<K> {
    /// How many rows to ask for: one more than the page has.
    pub fn fetch(&self) -> i64 {
        i64::from(self.limit) + 1
    }
}

#[derive(Deserialize)]
struct Query<'a> {
    limit: Option<u32>,
    #[serde(borrow)]
    after: Option<Cow<'a, str>>,
}

impl Request {
    /// The page that the query asks for with `limit` and `after`.
    ///
    /// # Errors
    /// When the limit is not within 1 and `limit_max`, or `after` is not the `next` of a page with this key (400).
    pub fn keyset<K: DeserializeOwned>(&self, limit_default: u32, limit_max: u32) -> Result<Keyset<K>, Rejection> {
        let Query { limit, after } = self.query()?;
        let limit = limit.unwrap_or(limit_default);
        if !(1..=limit_max).contains(&limit) {
            return Err(Rejection::new(Part::Query, "limit", format!("an integer from 1 to {limit_max}")));
        }
        let key = |cursor: Cow<'_, str>| {
            let key = URL_SAFE_NO_PAD.decode(cursor.as_bytes()).ok().and_then(|key| json::read(&key).ok());
            key.ok_or_else(|| Rejection::new(Part::Query, "after", "the next of a page of this list"))
        };
        Ok(Keyset { after: after.map(key).transpose()?, limit })
    }
}

/// One page of rows. Serialised as `{"items":[…],"next":"…"}`, where `next` is null on the last page.
#[derive(Clone, Debug, Serialize)]
pub struct Page<'a> {
    /// The rows of the page.
    pub items: Vec<Row<'a>>,
    /// What the client passes as `after` to get the next page.
    pub next: Option<String>,
}

impl Rows {
    /// The first `limit` rows as a page. `key` reads the key of a row.
    ///
    /// # Errors
    /// When `key` cannot read the last row of the page.
    ///
    /// # Panics
    /// When the key cannot be JSON.
    pub fn page<'a, K: Serialize>(
        &'a self,
        limit: u32,
        key: impl FnOnce(Row<'a>) -> Result<K, UnexpectedRows>,
    ) -> Result<Page<'a>, UnexpectedRows> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let items: Vec<_> = self.iter().take(limit).collect();
        let last = items.last().filter(|_| self.iter().len() > limit);
        let next = last.map(|row| key(*row).map(|key| cursor(&key))).transpose()?;
        Ok(Page { items, next })
    }
}

fn cursor(key: &impl Serialize) -> String {
    match serde_json::to_vec(key) {
        Ok(key) => URL_SAFE_NO_PAD.encode(key),
        Err(error) => refuse(format_args!("the key of a page cannot be JSON: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Response, Timestamp, Uuid, test};

    #[test]
    fn a_key_of_several_values_comes_back() {
        let at = Timestamp::from_micros(1_705_458_881_217_753).unwrap();
        let id = Uuid::from_u128(7);
        let rows = test::rows(["at", "id"], [[at.into(), id.into()], [at.into(), id.into()]]);
        let page = rows.page(1, |row| Ok((row.timestamp("at")?, row.uuid("id")?))).unwrap();
        assert_eq!(page.items.len(), 1);
        let request = test::get("/", &[]).with_query(&["after=", &page.next.unwrap()].concat());
        assert_eq!(request.keyset(20, 100), Ok(Keyset { after: Some((at, id)), limit: 20 }));
    }

    #[test]
    fn the_last_page_has_no_next() {
        for (count, next) in [(0, false), (1, false), (2, false), (3, true)] {
            let rows = test::rows(["id"], (0..count).map(|id| [id.into()]));
            let page = rows.page(2, |row| row.integer("id")).unwrap();
            assert_eq!((page.items.len(), page.next.is_some()), (2.min(usize::try_from(count).unwrap()), next));
        }
        let empty = test::rows(["id"], []);
        let page = empty.page(2, |row| row.integer("id")).unwrap();
        test::assert_json(&Response::json(200, &page), 200, r#"{"items":[],"next":null}"#);
    }

    #[test]
    fn a_bad_limit_or_cursor_is_named() {
        for (query, path, expected) in [
            ("limit=0", "limit", "an integer from 1 to 100"),
            ("limit=101", "limit", "an integer from 1 to 100"),
            ("limit=-1", "limit", "an integer from 0 to 4294967295"),
            ("limit=1&limit=2", "limit", "one value, and there are several"),
            ("after=!", "after", "the next of a page of this list"),
            ("after=Nw%3D%3D", "after", "the next of a page of this list"),
            ("after=ImEi", "after", "the next of a page of this list"),
        ] {
            let rejection = test::get("/", &[]).with_query(query).keyset::<i64>(20, 100).unwrap_err();
            let found = (rejection.status, rejection.path.as_str(), rejection.expected.as_ref());
            assert_eq!(found, (400, path, expected), "{query}");
        }
        assert_eq!(test::get("/", &[]).with_query("after=&q=x").keyset::<i64>(20, 100).unwrap().after, None);
    }
}
