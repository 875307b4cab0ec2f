//! What a client sent, as types of the handler's own: every part of a request in one way, serde's derive, with one
//! error, [`Rejection`].
//!
//! `json::object` stays for a route where every microsecond counts, or whose texts are not English.

use alloc::borrow::Cow;

use serde::Deserialize;

use crate::decode::text::Text;
use crate::decode::{Problem, json, pairs};
use crate::panic::refuse;
use crate::{Part, Rejection, Request, Timestamp};

impl Request {
    /// The body, which is JSON.
    ///
    /// It is stricter than serde_json: a struct is an object, never an array, and a string has no U+0000, which
    /// Postgres cannot store. A type that contains itself has at most 16 levels. Unknown members are skipped unless the
    /// type says `#[serde(deny_unknown_fields)]`.
    ///
    /// ```
    /// use galo_kit::{Decimal, Plan, Request, Response, Uuid, test};
    /// use serde::Deserialize;
    ///
    /// #[derive(Deserialize)]
    /// struct Order {
    ///     customer: Uuid,
    ///     items: Vec<Item>,
    /// }
    ///
    /// #[derive(Deserialize)]
    /// struct Item {
    ///     quantity: u32,
    ///     price: Decimal,
    /// }
    ///
    /// fn prepare(request: &Request) -> Plan {
    ///     read(request).into()
    /// }
    ///
    /// fn read(request: &Request) -> Result<Plan, Response> {
    ///     let order: Order = request.json()?;
    ///     Ok(Plan::call("order", [order.customer.into(), order.items[0].price.clone().into()], ""))
    /// }
    ///
    /// let request = test::post(
    ///     "/orders",
    ///     &[],
    ///     r#"{"customer":"8e03978e-40d5-43dd-bc93-6894a57f9324","items":[{"quantity":-1,"price":12.50}]}"#,
    /// );
    /// let response = test::reply(prepare(&request));
    /// assert_eq!(response.status, 422);
    /// assert!(test::text(&response).contains(
    ///     r#""in":"body","path":"items[0].quantity","expected":"an integer from 0 to 4294967295""#
    /// ));
    /// ```
    ///
    /// # Errors
    /// When the body is not JSON (400), or not of this type (422).
    pub fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Rejection> {
        json::read(&self.body).map_err(|problem| Rejection::of(Part::Body, problem))
    }

    /// The body, which is a form: `application/x-www-form-urlencoded`, as a browser sends it. As for [`query`].
    ///
    /// ```
    /// use galo_kit::{Date, test};
    /// use serde::Deserialize;
    ///
    /// #[derive(Deserialize)]
    /// struct SignUp {
    ///     name: String,
    ///     born: Option<Date>,
    ///     #[serde(default)]
    ///     newsletter: bool,
    /// }
    ///
    /// let request = test::post("/sign-up", &[], "name=Zo%C3%AB+L.&born=&newsletter=on");
    /// let form: SignUp = request.form()?;
    /// assert_eq!((form.name.as_str(), form.born, form.newsletter), ("Zoë L.", None, true));
    /// # Ok::<(), galo_kit::Rejection>(())
    /// ```
    ///
    /// [`query`]: Request::query
    ///
    /// # Errors
    /// When it is not of this type (422).
    pub fn form<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Rejection> {
        pairs::read(form_urlencoded::parse(&self.body)).map_err(|problem| Rejection::of(Part::Body, problem))
    }

    /// The query string, decoded.
    ///
    /// A name that is repeated is a list. An empty value is none where an `Option` is wanted. `true`, `on` and `false`
    /// are booleans. At most 256 names and values.
    ///
    /// ```
    /// use galo_kit::{Timestamp, test};
    /// use serde::Deserialize;
    ///
    /// #[derive(Deserialize)]
    /// struct Search {
    ///     #[serde(default)]
    ///     tag: Vec<String>,
    ///     since: Option<Timestamp>,
    ///     order: Option<Order>,
    /// }
    ///
    /// #[derive(Deserialize, Debug, PartialEq)]
    /// #[serde(rename_all = "lowercase")]
    /// enum Order {
    ///     Price,
    ///     Name,
    /// }
    ///
    /// let request = test::get("/items", &[]).with_query("tag=red&tag=gr%C3%BCn&order=name&since=");
    /// let search: Search = request.query()?;
    /// assert_eq!(search.tag, ["red", "grün"]);
    /// assert_eq!((search.since, search.order), (None, Some(Order::Name)));
    ///
    /// let request = test::get("/items", &[]).with_query("order=size");
    /// let rejection = request.query::<Search>().map(drop).unwrap_err();
    /// assert_eq!((rejection.status, rejection.path.as_str()), (400, "order"));
    /// assert_eq!(rejection.expected, "one of price, name");
    /// # Ok::<(), galo_kit::Rejection>(())
    /// ```
    ///
    /// # Errors
    /// When it is not of this type (400).
    pub fn query<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Rejection> {
        let query = self.query.as_deref().unwrap_or_default();
        pairs::read(form_urlencoded::parse(query.as_bytes())).map_err(|problem| Rejection::of(Part::Query, problem))
    }

    /// A parameter of the route as a type: a [`Uuid`](crate::Uuid), a [`Date`](crate::Date), an enum. For an id that is
    /// a number see also [`decimal`](Request::decimal).
    ///
    /// ```
    /// use galo_kit::{Uuid, test};
    ///
    /// let request = test::get("/orders/x", &[("id", "8e03978e-40d5-43dd-bc93-6894a57f9324")]);
    /// let id: Uuid = request.parameter_as("id")?;
    /// assert_eq!(id.as_u128() >> 96, 0x8e03978e);
    ///
    /// let rejection = test::get("/orders/x", &[("id", "7")]).parameter_as::<Uuid>("id").unwrap_err();
    /// assert_eq!((rejection.status, rejection.expected.as_ref()), (404, "a UUID"));
    /// # Ok::<(), galo_kit::Rejection>(())
    /// ```
    ///
    /// # Panics
    /// When the route of the manifest has no parameter of this name.
    ///
    /// # Errors
    /// When the parameter is not of this type (404: nothing has this address).
    pub fn parameter_as<'a, T: Deserialize<'a>>(&'a self, name: &str) -> Result<T, Rejection> {
        one(self.parameter(name)).map_err(|problem| Rejection::of(Part::Path, problem).at(name))
    }

    /// A header as a type; none when it was not sent. Only headers that the manifest lists are passed on.
    ///
    /// ```
    /// use galo_kit::test;
    ///
    /// let request = test::get("/", &[]).with_header("x-version", "7");
    /// assert_eq!(request.header_as::<u32>("x-version"), Ok(Some(7)));
    /// assert_eq!(request.header_as::<u32>("x-other"), Ok(None));
    /// ```
    ///
    /// # Errors
    /// When it was sent and is not of this type (400).
    pub fn header_as<'a, T: Deserialize<'a>>(&'a self, name: &str) -> Result<Option<T>, Rejection> {
        let read = |text| one(text).map_err(|problem| Rejection::of(Part::Header, problem).at(name));
        self.header(name).map(read).transpose()
    }

    /// The `config` of the handler's entry in the manifest. Its secrets are read from files or variables by the host.
    ///
    /// ```
    /// use galo_kit::{Decimal, test};
    /// use serde::Deserialize;
    ///
    /// // config = { currency = "EUR", page = 20, discounts = { regular = 0.05 } }
    /// #[derive(Deserialize)]
    /// struct Config {
    ///     currency: String,
    ///     page: u32,
    ///     discounts: std::collections::BTreeMap<String, Decimal>,
    /// }
    ///
    /// let request = test::get("/", &[]).with_config(&[
    ///     ("currency", "EUR"),
    ///     ("discounts", r#"{"regular":0.05}"#),
    ///     ("page", "20"),
    /// ]);
    /// let config: Config = request.config()?;
    /// assert_eq!((config.currency.as_str(), config.page), ("EUR", 20));
    /// assert_eq!(config.discounts["regular"].as_str(), "0.05");
    /// # Ok::<(), galo_kit::Rejection>(())
    /// ```
    ///
    /// # Errors
    /// When it is not of this type (500, with the reason in the log): the mistake is in the manifest. An example whose
    /// request gets as far as this call fails then, so that the handler is not put into service.
    pub fn config<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Rejection> {
        let fields = self.config.iter().map(|field| (field.name.as_str(), field.value.as_str()));
        pairs::read_config(fields).map_err(|problem| Rejection::of(Part::Config, problem))
    }

    /// The claims of the request's token, which the host verified. A type that is an `Option` is none without a token.
    ///
    /// ```
    /// use galo_kit::test;
    /// use serde::Deserialize;
    ///
    /// #[derive(Deserialize)]
    /// struct Claims {
    ///     sub: String,
    ///     #[serde(default)]
    ///     scope: String,
    /// }
    ///
    /// let request = test::get("/orders", &[]).with_claims(r#"{"sub":"u-7","scope":"orders:read","exp":1767225600}"#);
    /// let claims: Claims = request.claims()?;
    /// assert_eq!((claims.sub.as_str(), claims.scope.as_str()), ("u-7", "orders:read"));
    ///
    /// let anonymous = test::get("/orders", &[]);
    /// assert!(anonymous.claims::<Option<Claims>>()?.is_none());
    /// assert_eq!(anonymous.claims::<Claims>().map(drop).unwrap_err().status, 401);
    /// # Ok::<(), galo_kit::Rejection>(())
    /// ```
    ///
    /// # Errors
    /// When there is no token, or a claim is missing or of another type (401).
    pub fn claims<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Rejection> {
        let claims = self.claims.as_deref().unwrap_or("null");
        json::read(claims.as_bytes()).map_err(|problem| match self.claims {
            None => Rejection::new(Part::Token, "", "Authorization: Bearer and a token"),
            Some(_) => Rejection::of(Part::Token, problem),
        })
    }

    /// The moment when the host admitted the request.
    ///
    /// ```
    /// use galo_kit::test;
    ///
    /// let request = test::get("/", &[]).at("2024-01-17T02:34:41Z");
    /// assert_eq!(request.now().date().to_string(), "2024-01-17");
    /// ```
    pub fn now(&self) -> Timestamp {
        match Timestamp::from_micros(self.now) {
            Some(now) => now,
            None => refuse("the clock of the host is not within the years 1 to 9999"),
        }
    }
}

fn one<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Problem> {
    T::deserialize(Text(Cow::Borrowed(text)))
}

#[cfg(test)]
mod tests {
    use crate::test;

    #[test]
    fn a_setting_that_is_missing_is_a_mistake_of_the_manifest() {
        #[derive(serde::Deserialize)]
        struct Config {
            #[expect(dead_code, reason = "only its name matters")]
            page: u32,
        }
        let request = test::get("/", &[]).with_config(&[("pages", "20")]);
        let rejection = request.config::<Config>().map(drop).unwrap_err();
        assert_eq!((rejection.status, rejection.path.as_str()), (500, "page"));
        assert_eq!(rejection.expected, "a value, and it is missing");
    }

    #[test]
    fn a_name_is_where_the_problem_is() {
        let request = test::get("/", &[("id", "x")]).with_header("x-count", "-1").with_claims(r#"{"sub":7}"#);
        let rejection = request.parameter_as::<u32>("id").unwrap_err();
        assert_eq!((rejection.status, rejection.path.as_str()), (404, "id"));
        let rejection = request.header_as::<u8>("x-count").unwrap_err();
        assert_eq!((rejection.status, rejection.path.as_str()), (400, "x-count"));
        #[derive(serde::Deserialize)]
        struct Claims {
            #[expect(dead_code, reason = "only its name matters")]
            sub: alloc::string::String,
        }
        let rejection = request.claims::<Claims>().map(drop).unwrap_err();
        assert_eq!((rejection.status, rejection.path.as_str()), (401, "sub"));
    }
}
