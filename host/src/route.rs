//! Finds the handler of a request. A radix tree maps method and path to a value and path parameters, so the cost does
//! not grow with the number of routes. This module also decides between 404 and 405.
//!
//! A segment of a route is literal or one parameter, `{id}`. If both match, the literal one wins. The values are
//! generic: `registry` fills them in.

use std::collections::BTreeMap;
use std::str::FromStr;

use http::Method;
use percent_encoding::percent_decode_str;

use crate::contract::Field;
use crate::failure::Failure;
use crate::limits;

/// A method and a path with parameters, as written in the manifest: `POST /customers/{id}/orders`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    method: Method,
    segments: Vec<Segment>,
}

/// A segment of a route. Variants are in the order of matching: if both match, the literal one wins.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Segment {
    /// A literal text, not percent-decoded.
    Literal(String),
    /// A parameter with this name, which matches any text that is not empty.
    Parameter(String),
}

/// The routes of a node, each with its value.
#[derive(Debug)]
pub struct Routes<T> {
    tree: matchit::Router<Paths<T>>,
    /// The methods of all routes, in the format of `Allow`.
    allow: String,
}

impl<T> Default for Routes<T> {
    fn default() -> Self {
        Self { tree: matchit::Router::new(), allow: allow(std::iter::empty()) }
    }
}

/// The routes that share one path pattern.
#[derive(Debug)]
struct Paths<T> {
    targets: Vec<Target<T>>,
    /// Their methods, in the format of `Allow`: `GET, HEAD, OPTIONS`.
    allow: String,
}

/// The value of a route. A path with several methods has several.
#[derive(Debug)]
struct Target<T> {
    method: Method,
    parameters: Vec<String>,
    value: T,
}

impl<T> Routes<T> {
    /// Builds the tree.
    ///
    /// # Errors
    /// The indices of two routes of the same method that match the same paths.
    pub fn new(routes: impl IntoIterator<Item = (Route, T)>) -> Result<Self, Ambiguous> {
        let mut by_shape: BTreeMap<String, Vec<(usize, Target<T>)>> = BTreeMap::new();
        for (index, (route, value)) in routes.into_iter().enumerate() {
            let targets = by_shape.entry(route.shape()).or_default();
            if let Some((first, _)) = targets.iter().find(|(_, target)| target.method == route.method) {
                return Err(Ambiguous { first: *first, second: index });
            }
            let parameters = route.parameters().map(str::to_owned).collect();
            targets.push((index, Target { method: route.method, parameters, value }));
        }
        let all = by_shape.values().flatten().map(|(_, target)| &target.method);
        let (mut tree, all) = (matchit::Router::new(), allow(all));
        for (shape, targets) in by_shape {
            let first = targets.first().map_or(0, |(index, _)| *index);
            let targets: Vec<_> = targets.into_iter().map(|(_, target)| target).collect();
            let allow = allow(targets.iter().map(|target| &target.method));
            tree.insert(shape, Paths { targets, allow }).map_err(|_| Ambiguous { first, second: first })?;
        }
        Ok(Self { tree, allow: all })
    }

    /// Finds the route for `method` and `path`, and the percent-decoded values of the path's parameters. HEAD uses the
    /// route of GET unless there is a separate route for HEAD.
    ///
    /// # Errors
    /// [`Failure::NotFound`] or [`Failure::MethodNotAllowed`]. A parameter that is empty or does not decode to
    /// UTF-8 is not found. `*` stands for all paths, as in `OPTIONS *`.
    pub fn find(&self, method: &Method, path: &str) -> Result<(&T, Vec<Field>), Failure> {
        let Ok(found) = self.tree.at(path) else {
            let all = method == Method::OPTIONS && path == "*";
            return Err(if all { Failure::MethodNotAllowed { allow: self.allow.clone() } } else { Failure::NotFound });
        };
        let Paths { targets, allow } = found.value;
        let with = |method: &Method| targets.iter().find(|target| target.method == *method);
        let target = with(method).or_else(|| with(&Method::GET).filter(|_| method == Method::HEAD));
        let Some(target) = target else { return Err(Failure::MethodNotAllowed { allow: allow.clone() }) };
        let values = found.params.iter().map(|(_, value)| percent_decode_str(value).decode_utf8());
        let parameters = target.parameters.iter().zip(values).map(|(name, value)| {
            let value = value.map_err(|_| Failure::NotFound)?;
            Ok(Field { name: name.clone(), value: value.into_owned() })
        });
        Ok((&target.value, parameters.collect::<Result<_, Failure>>()?))
    }
}

/// The value of `Allow` for these methods: each once, plus the methods that the host answers itself.
fn allow<'a>(methods: impl Iterator<Item = &'a Method>) -> String {
    let mut names: Vec<&str> = Vec::new();
    let own = methods.flat_map(|method| {
        let head = (method == Method::GET).then_some(Method::HEAD.as_str());
        [Some(method.as_str()), head]
    });
    for name in own.flatten().chain([Method::OPTIONS.as_str()]) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.join(", ")
}

/// Two routes that match the same requests.
#[derive(Debug, PartialEq, Eq)]
pub struct Ambiguous {
    /// The index of the first route.
    pub first: usize,
    /// The index of the second route.
    pub second: usize,
}

impl Route {
    /// A path that this route matches, with `1` for each parameter, if its method is the given one.
    pub fn example(&self, method: &Method) -> Option<String> {
        let segments = self.segments.iter().map(|segment| match segment {
            Segment::Literal(text) => format!("/{text}"),
            Segment::Parameter(_) => "/1".to_owned(),
        });
        (self.method == *method).then(|| segments.collect())
    }

    /// The method it answers.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The segments of its path.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The names of its parameters, in their order.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Literal(_) => None,
            Segment::Parameter(name) => Some(name.as_str()),
        })
    }

    /// The path with its parameters numbered, so that `/{a}` and `/{b}` are the same key.
    fn shape(&self) -> String {
        let mut number = 0;
        let mut shape = String::new();
        for segment in &self.segments {
            shape.push('/');
            match segment {
                Segment::Literal(text) => shape.push_str(text),
                Segment::Parameter(_) => {
                    shape.push_str(&format!("{{{number}}}"));
                    number += 1;
                }
            }
        }
        shape
    }
}

impl FromStr for Route {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (method, path) = text.split_once(' ').ok_or("a route is a method, a space and a path")?;
        let method = known(method)?;
        let segments = path.strip_prefix('/').ok_or("a path begins with `/`")?.split('/').map(segment);
        let route = Self { method, segments: segments.collect::<Result<_, _>>()? };
        let names: Vec<_> = route.parameters().collect();
        if names.len() > limits::ARGUMENTS_MAX {
            return Err(format!("more than {} parameters", limits::ARGUMENTS_MAX));
        }
        match names.iter().enumerate().find(|(index, name)| names[..*index].contains(name)) {
            Some((_, name)) => Err(format!("the parameter `{name}` appears twice")),
            None => Ok(route),
        }
    }
}

impl std::fmt::Display for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ", self.method)?;
        self.segments.iter().try_for_each(|segment| match segment {
            Segment::Literal(text) => write!(f, "/{text}"),
            Segment::Parameter(name) => write!(f, "/{{{name}}}"),
        })
    }
}

/// The methods that a route may have. CONNECT and TRACE are for proxies, and no other method is in use with an API.
const METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];

/// How similar a word must be to a method to be taken for a typo of it, from 0 to 1: one wrong letter of three is 0.67.
const SIMILARITY_MIN: f64 = 0.65;

fn known(word: &str) -> Result<Method, String> {
    if let Some(method) = METHODS.iter().find(|method| method.as_str() == word) {
        return Ok(method.clone());
    }
    let capital = word.to_ascii_uppercase();
    let alike = METHODS.map(|method| (strsim::normalized_damerau_levenshtein(&capital, method.as_str()), method));
    let closest = alike.iter().max_by(|(one, _), (other, _)| one.total_cmp(other));
    let names = METHODS.each_ref().map(Method::as_str).join(", ");
    Err(match closest.filter(|(similarity, _)| *similarity >= SIMILARITY_MIN) {
        Some((_, method)) => format!("unknown method `{word}`; did you mean {method}?"),
        None => format!("unknown method `{word}`, expected one of {names}"),
    })
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// The name of a parameter in the notation of another router: `:id`, `<id>`, `[id]`, `*id`, `{id...}`, `{*id}`,
/// `{id:int}` or `<int:id>`.
fn foreign(text: &str) -> Option<&str> {
    let inside = |open, close| text.strip_prefix(open)?.strip_suffix(close);
    let typed = |text| -> &str { <str>::split_once(text, ':').map_or(text, |(name, _)| name) };
    let name = None
        .or_else(|| text.strip_prefix(':'))
        .or_else(|| text.strip_prefix('*'))
        .or_else(|| inside('{', '}').map(typed))
        .or_else(|| inside('<', '>').map(|text: &str| text.split_once(':').map_or(text, |(_, name)| name)))
        .or_else(|| inside('[', ']'))?;
    let name = name.trim_start_matches('*').trim_end_matches("...").trim_end_matches('?');
    is_name(name).then_some(name)
}

fn segment(text: &str) -> Result<Segment, String> {
    if let Some(name) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'))
        && is_name(name)
    {
        return Ok(Segment::Parameter(name.to_owned()));
    }
    if let Some(name) = foreign(text) {
        return Err(format!("the segment `{text}`: a parameter is written `{{{name}}}`, and is one whole segment"));
    }
    if let Some(name) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        return Err(format!("invalid parameter name `{name}`: use letters, digits and `_`"));
    }
    // The characters of a path segment that need no percent-encoding (RFC 3986, pchar), without `*`, which the tree
    // would take for a catch-all.
    let literal = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()+,;=:@".contains(&b);
    match text.bytes().all(literal) {
        true => Ok(Segment::Literal(text.to_owned())),
        false => Err(format!("the segment `{text}` is neither plain text nor one `{{parameter}}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(texts: &[&str]) -> Result<Routes<usize>, Ambiguous> {
        Routes::new(texts.iter().enumerate().map(|(index, text)| (text.parse().unwrap(), index)))
    }

    #[test]
    fn a_request_finds_its_route_and_parameters() {
        let routes = routes(&["GET /orders/{id}/items", "POST /orders/{order}/items", "GET /", "GET /a/{x}/{y}"]);
        let routes = routes.unwrap();
        for (method, path, index, parameters) in [
            (Method::GET, "/orders/1/items", 0, vec![("id", "1")]),
            (Method::POST, "/orders/1/items", 1, vec![("order", "1")]),
            (Method::GET, "/orders/%31%C3%BC/items", 0, vec![("id", "1ü")]),
            (Method::GET, "/", 2, vec![]),
            (Method::GET, "/a/b/c", 3, vec![("x", "b"), ("y", "c")]),
        ] {
            let (found, fields) = routes.find(&method, path).unwrap();
            let fields: Vec<_> = fields.iter().map(|field| (field.name.as_str(), field.value.as_str())).collect();
            assert_eq!((*found, fields), (index, parameters), "{method} {path}");
        }
    }

    #[test]
    fn unknown_paths_are_404_and_other_methods_405() {
        let routes = routes(&["GET /orders/{id}/items", "POST /orders/{id}/items"]).unwrap();
        for path in ["/", "", "/orders", "/orders/1", "/orders/1/items/", "/orders//items", "/orders/%FF/items"] {
            assert!(matches!(routes.find(&Method::GET, path), Err(Failure::NotFound)), "{path}");
        }
        match routes.find(&Method::DELETE, "/orders/1/items") {
            Err(Failure::MethodNotAllowed { allow }) => assert_eq!(allow, "GET, HEAD, POST, OPTIONS"),
            other => panic!("{other:?}"),
        }
        assert_eq!(*routes.find(&Method::HEAD, "/orders/1/items").unwrap().0, 0);
        // `*` stands for all paths, even if there are no routes.
        for (texts, all) in
            [(&["GET /a", "GET /b", "PUT /a", "OPTIONS /a"][..], "GET, HEAD, PUT, OPTIONS"), (&[], "OPTIONS")]
        {
            let routes = super::tests::routes(texts).unwrap();
            let told = routes.find(&Method::OPTIONS, "*").unwrap_err();
            assert!(matches!(&told, Failure::MethodNotAllowed { allow } if allow == all), "{told}");
            assert!(matches!(routes.find(&Method::GET, "*"), Err(Failure::NotFound)));
        }
    }

    #[test]
    fn a_literal_segment_wins_over_a_parameter() {
        let routes = routes(&["GET /a/{x}", "GET /a/b"]).unwrap();
        assert_eq!(*routes.find(&Method::GET, "/a/b").unwrap().0, 1);
        assert_eq!(*routes.find(&Method::GET, "/a/bc").unwrap().0, 0);
    }

    #[test]
    fn routes_that_no_request_can_tell_apart_are_ambiguous() {
        assert_eq!(routes(&["GET /a", "GET /a/{x}", "GET /a/{y}"]).unwrap_err(), Ambiguous { first: 1, second: 2 });
        assert!(routes(&["GET /a/{x}", "POST /a/{y}"]).is_ok());
    }

    #[test]
    fn a_route_in_the_notation_of_another_router_is_refused_with_ours() {
        for text in [":id", "<id>", "<int:id>", "[id]", "*id", "{id...}", "{*id}", "{id:int}", ":id?"] {
            let told = format!("GET /a/{text}").parse::<Route>().unwrap_err();
            assert!(told.ends_with("a parameter is written `{id}`, and is one whole segment"), "{text}: {told}");
        }
        for (text, reported) in [
            ("get /a", "unknown method `get`; did you mean GET?"),
            ("DELTE /a", "unknown method `DELTE`; did you mean DELETE?"),
            ("ALL /a", "unknown method `ALL`, expected one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
            ("TRACE /a", "unknown method `TRACE`, expected one of GET,"),
            ("GET /{a-b}", "invalid parameter name `a-b`: use letters, digits and `_`"),
        ] {
            let told = text.parse::<Route>().unwrap_err();
            assert!(told.starts_with(reported), "{text}: {told}");
        }
        // A colon inside of a segment is text (RFC 3986), as in the custom methods of some APIs.
        assert_eq!("POST /orders/{id}/a:cancel".parse::<Route>().unwrap().to_string(), "POST /orders/{id}/a:cancel");
    }

    #[test]
    fn a_bad_route_is_refused() {
        for text in [
            "",
            "/a",
            "GET a",
            "get /a",
            "GET /a b",
            "GET /{}",
            "GET /{a-b}",
            "GET /x{a}",
            "GET /{a}/{a}",
            "GET /*",
            "G{T /",
        ] {
            assert!(text.parse::<Route>().is_err(), "{text}");
        }
        let route = "GET /a/{b}".parse::<Route>().unwrap();
        assert_eq!(route.to_string(), "GET /a/{b}");
        assert_eq!(route.example(&Method::GET).as_deref(), Some("/a/1"));
        assert_eq!(route.example(&Method::POST), None);
    }
}
