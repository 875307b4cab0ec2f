//! Generates the configuration of a proxy in front of the nodes: which requests it may repeat, and how it answers
//! requests that reach no node. For nginx this is a file of directives for the context `server`. It depends only on the
//! manifest, so the same manifest gives the same bytes. `cli` uses it.
//!
//! nginx chooses a location by the normalised path, a node chooses a route by the path as sent. If they differ, the
//! node gets either a `Galo-Try` for a route without a key, which it refuses, or none, and nothing is repeated.

use std::collections::{BTreeMap, BTreeSet};

use crate::cors::Cors;
use crate::failure::Code;
use crate::limits;
use crate::manifest::{Manifest, Retry};
use crate::route::{Route, Segment};
use crate::wire::Messages;

/// When nginx asks another node. Without `non_idempotent` it does so for a POST or PATCH only when none of it was sent.
const NEXT: &str = "error timeout invalid_header http_503";

/// The methods that a location without a key takes; nginx knows the last two as those that it must not repeat.
const KNOWN: &str = r#""^(GET|HEAD|OPTIONS|POST|PATCH)\z""#;

/// A valid `traceparent`: nothing of it is all zeros, version ff is none, and only a later version than 00 has more.
const TRACEPARENT: &str = r"^(?!ff|00.{54})[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?\z";

/// The beginning of every file.
const HEAD: &str = r#"# What nginx may send a second time, what it never does, and what it answers itself, for a galo.toml. Written by
#
#     galo proxy nginx HANDLERS
#
# for the context `server`, in front of `upstream @upstream@`. Do not edit it: change galo.toml, and write it again.
#
# error: the node died, drains, or its socket is gone. timeout: it hangs. invalid_header: it died within its answer.
# http_503: it sheds, or its own connections to Postgres broke; the other one may be better off. Not http_500: a handler
# that faults does so on every node.

# The head of a node's response, at most (limits.rs: RESPONSE_HEAD_BYTES_MAX). A longer one would be an invalid answer
# to a request that was carried out.
proxy_buffer_size @head@;

# The largest body that a handler takes (body_bytes_max), and some more: the node itself refuses one that is slightly
# larger. Buffer and limit are equal, so no body is ever written to disk.
client_max_body_size    @body@;
client_body_buffer_size @body@;

# A location with a proxy_set_header of its own loses these: add yours here beside, not in a location.
proxy_http_version 1.1;
proxy_set_header Connection "";
# As the client wrote it: a node refuses a POST of a page whose Origin is another host than the one that was asked. A
# client of HTTP/1.0 names no host.
proxy_set_header Host $galo_host;
set $galo_host $http_host;
if ($galo_host = "") { set $galo_host @upstream@; }
# For logs. Set, never passed on: it is not a key.
proxy_set_header X-Request-Id $galo_request_id;
set $galo_request_id $request_id;
# The trace of the request (W3C Trace Context): the client's, or a new one where that is missing or malformed; then its
# tracestate is removed too. Both tries of a request are in one trace. nginx makes no span, so the span of a new one is
# the first half of its trace, by which a node knows that its own span is the root.
proxy_set_header Traceparent $galo_traceparent;
proxy_set_header Tracestate  $galo_tracestate;
set $galo_traceparent $http_traceparent;
set $galo_tracestate  $http_tracestate;
if ($request_id ~ "^(.{16})") { set $galo_span $1; }
if ($http_traceparent !~ "@traceparent@") {
    set $galo_traceparent 00-$request_id-$galo_span-00;
    set $galo_tracestate  "";
}
# Empty, and so not sent, but where it is set below: a client's own is removed. It begins with the time: keys that come
# in order cost an index half the log of random ones.
proxy_set_header Galo-Try $galo_try;
set $galo_try "";

# Which page may read what nginx answers itself, as [cors] has it: two headers of the answers to failures.
set $cors_origin "";
set $cors_credentials "";
@cors@

# From one location to another by method, and then to a page for a failure.
recursive_error_pages on;
error_page 418 = @galo;
error_page 419 = @galo_once;

# What nginx itself has to refuse, as a node would: the codes, with the texts of [messages]. Paths, not named locations:
# those need a request line that could be read.
@errors@"#;

/// The end of every file: the location for everything that no earlier location matches.
const REST: &str = r#"
# What only reads is repeated. Of what writes, nothing is sent to a second node once any of it was sent to the first.
# nginx would repeat what is neither POST nor PATCH, a PUT or a DELETE too, so that goes to one node only.
location / {
@once@}
location @galo {
@once@}
location @galo_once {
    proxy_next_upstream off;
    proxy_pass http://@upstream@;
}
"#;

/// The answers of nginx itself: its statuses, the status that clients get, and the code.
const ERRORS: [(&str, Code); 8] = [
    ("400", Code::MalformedRequest),
    ("404", Code::NotFound),
    // TRACE.
    ("405", Code::MethodNotAllowed),
    ("408", Code::BodyTimeout),
    ("413", Code::BodyTooLarge),
    ("414 494", Code::HeadersTooLarge),
    ("501", Code::TransferCodingUnsupported),
    // No node answered. As with a node's 503, a sent call is recorded as a whole or not at all.
    ("500 502 504", Code::Unavailable),
];

/// The directives for nginx's context `server`. `upstream` is the name of its block with the nodes.
pub fn nginx(manifest: &Manifest, upstream: &str) -> String {
    let head = format!("{}k", limits::RESPONSE_HEAD_BYTES_MAX / 1024);
    let body = manifest.handlers.iter().map(|entry| entry.limits.body_bytes_max).max().unwrap_or(0);
    let body = format!("{}k", (body + limits::PROXY_BODY_BYTES_MORE).div_ceil(1024));
    let once = once(upstream);
    let cors = manifest.cors.as_ref().map(Cors::nginx).unwrap_or_default();
    let mut text = HEAD
        .replace("@upstream@", upstream)
        .replace("@head@", &head)
        .replace("@body@", &body)
        .replace("@traceparent@", TRACEPARENT)
        .replace("@cors@\n", &cors);
    // Last: a text of the manifest may look like one of the places.
    text = text.replace("@errors@", &errors(&manifest.messages));
    let named = manifest.handlers.iter().any(|entry| entry.headers.iter().any(|name| name == "x-request-id"));
    for (shape, methods) in locations(manifest) {
        let inside = if methods.is_empty() { once.clone() } else { repeated(&methods, upstream, named) };
        text.push_str(&format!("\nlocation {} {{\n{inside}}}\n", pattern(&shape)));
    }
    text + &REST.replace("@upstream@", upstream).replace("@once@", &once)
}

/// Where nginx goes for its own answers, and the answers.
fn errors(messages: &Messages) -> String {
    let (mut pages, mut locations) = (String::new(), String::new());
    for (statuses, code) in ERRORS {
        let status = code.status().as_u16();
        let changed = if statuses == status.to_string() { String::new() } else { format!(" ={status}") };
        pages.push_str(&format!("error_page {statuses}{changed} /galo/error/{status};\n"));
        let again = match code {
            Code::Unavailable => format!("set $retry_after {}; ", limits::RETRY_AFTER_SECONDS),
            _ => String::new(),
        };
        let body = quoted(&String::from_utf8_lossy(messages.body(code)));
        locations
            .push_str(&format!("    location = /galo/error/{status} {{ internal; {again}return {status} {body}; }}\n"));
    }
    format!(
        "{pages}set $retry_after \"\";
location ^~ /galo/error/ {{
    internal;
    default_type application/json;
    # Those in here inherit all of these, unless they add one of their own. An empty one is not sent.
    add_header Access-Control-Allow-Origin      $cors_origin      always;
    add_header Access-Control-Allow-Credentials $cors_credentials always;
    add_header Vary                             Origin            always;
    add_header Retry-After                      $retry_after      always;
{locations}}}\n"
    )
}

/// A body as one word of nginx's configuration. It has no `$`, which nginx would take for a variable.
fn quoted(body: &str) -> String {
    format!("'{}'", body.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// The inside of a location without a key.
fn once(upstream: &str) -> String {
    format!(
        "    if ($request_method !~ {KNOWN}) {{ return 419; }}
    proxy_next_upstream {NEXT};
    proxy_pass http://{upstream};\n"
    )
}

/// The inside of a location where these methods have a key. The try is named once for a request, so that the second one
/// has the same name. It ends with the id of the request, which goes along by itself only when a handler reads it
/// (`named`): by profile, a header is 0.6 µs of the 38 that a request costs a node.
fn repeated(methods: &BTreeSet<&str>, upstream: &str, named: bool) -> String {
    let methods: Vec<_> = methods.iter().copied().collect();
    let others = match &methods[..] {
        // Compared, which takes less than a match.
        [method] => format!("!= {method}"),
        several => format!("!~ \"^({})\\z\"", several.join("|")),
    };
    let alone = if named { "" } else { "    set $galo_request_id \"\";\n" };
    format!(
        "    if ($request_method {others}) {{ return 418; }}
    set $galo_try $msec-$request_id;\n{alone}    proxy_next_upstream {NEXT} non_idempotent;
    proxy_pass http://{upstream};\n"
    )
}

/// The paths of a route, whatever its parameters are called.
type Shape<'a> = Vec<Piece<'a>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Piece<'a> {
    Literal(&'a str),
    Parameter,
}

/// The paths with a location of their own, each with the methods that may be repeated: where there are any, and where a
/// path without any is also one of those. nginx takes the first that matches; in this order that is the route which a
/// node takes, because a literal comes before a parameter, segment by segment.
fn locations(manifest: &Manifest) -> BTreeMap<Shape<'_>, BTreeSet<&str>> {
    let mut methods: BTreeMap<Shape<'_>, BTreeSet<&str>> = BTreeMap::new();
    for entry in &manifest.handlers {
        for route in &entry.routes {
            let its = methods.entry(shape(route)).or_default();
            // What only reads is repeated without a key.
            if entry.retry == Retry::Key && !route.method().is_safe() {
                its.insert(route.method().as_str());
            }
        }
    }
    let repeated: Vec<_> = methods.iter().filter(|(_, its)| !its.is_empty()).map(|(shape, _)| shape.clone()).collect();
    methods.retain(|shape, _| repeated.iter().any(|other| overlap(shape, other)));
    methods
}

fn shape(route: &Route) -> Shape<'_> {
    let pieces = route.segments().iter().map(|segment| match segment {
        Segment::Literal(text) => Piece::Literal(text),
        Segment::Parameter(_) => Piece::Parameter,
    });
    pieces.collect()
}

/// Whether there is a path that both take.
fn overlap(one: &Shape<'_>, other: &Shape<'_>) -> bool {
    let meet = |(one, other): (&Piece<'_>, &Piece<'_>)| one == other || [one, other].contains(&&Piece::Parameter);
    one.len() == other.len() && one.iter().zip(other).all(meet)
}

/// What nginx compares a path with. `\z` and not `$`, which also matches before a line feed at the end.
fn pattern(shape: &Shape<'_>) -> String {
    if shape.iter().all(|piece| *piece != Piece::Parameter) {
        let path = shape.iter().map(|piece| match piece {
            Piece::Literal(text) => format!("/{text}"),
            Piece::Parameter => String::new(),
        });
        return format!("= \"{}\"", path.collect::<String>());
    }
    let path = shape.iter().map(|piece| match piece {
        Piece::Literal(text) => format!("/{}", escaped(text)),
        Piece::Parameter => "/[^/]+".to_owned(),
    });
    format!("~ \"^{}\\z\"", path.collect::<String>())
}

/// A literal segment for a regular expression: of the characters that it may have, these mean something there.
fn escaped(text: &str) -> String {
    let characters = text.chars().map(|c| if ".$()+".contains(c) { format!("\\{c}") } else { c.to_string() });
    characters.collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::manifest;
    use crate::route::Routes;

    const KEYED: &str = "headers = [\"idempotency-key\", \"galo-try\"]\nretry = \"key\"\n";

    fn written(routes: &[(&str, &str)]) -> String {
        let tables = routes.iter().enumerate().map(|(number, (route, more))| {
            format!("[[handler]]\nname = \"h{number}\"\ncomponent = \"a.wasm\"\nroute = \"{route}\"\n{more}")
        });
        nginx(&manifest::parse(Path::new("galo.toml"), &tables.collect::<String>()).unwrap(), "nodes")
    }

    /// What is compared with a path, in the order of the file, each with whether it is repeated.
    fn patterns(text: &str) -> Vec<(String, bool)> {
        let locations =
            text.split("\nlocation ").filter(|location| !location.starts_with("^~")).skip(1).map(|location| {
                let (pattern, inside) = location.split_once(" {\n").unwrap();
                (pattern.to_owned(), inside.split_once("\n}").unwrap().0.contains("non_idempotent"))
            });
        locations.collect()
    }

    #[test]
    fn only_a_route_with_a_key_is_repeated_and_named() {
        let text = written(&[("POST /a/{id}/b.c", KEYED), ("POST /x", ""), ("GET /a/{id}/b.c", "")]);
        let rest = [("/", false), ("@galo", false), ("@galo_once", false)];
        let expected = [(r#"~ "^/a/[^/]+/b\.c\z""#, true)].into_iter().chain(rest);
        assert_eq!(patterns(&text), expected.map(|(text, is)| (text.to_owned(), is)).collect::<Vec<_>>());
        assert!(text.contains("if ($request_method != POST) { return 418; }"), "{text}");
        assert_eq!(text.matches("set $galo_try $msec-$request_id;").count(), 1);
        assert_eq!(text.matches("set $galo_request_id \"\";").count(), 1);
        let read = KEYED.replace("[\"", "[\"x-request-id\", \"");
        assert!(!written(&[("POST /a", &read)]).contains("set $galo_request_id \"\";"));
        // Of several routes of a handler, those that write.
        let table = "[[handler]]\nname = \"a\"\ncomponent = \"a.wasm\"\nroutes = [\"GET /a\", \"POST /a\", \"PUT /b\", \"GET /c\"]\n";
        let manifest = manifest::parse(Path::new("galo.toml"), &format!("{table}{KEYED}")).unwrap();
        let several = nginx(&manifest, "nodes");
        let keyed = [(r#"= "/a""#, true), (r#"= "/b""#, true)].into_iter().chain(rest);
        assert_eq!(patterns(&several), keyed.map(|(text, is)| (text.to_owned(), is)).collect::<Vec<_>>());
        assert!(several.contains("if ($request_method != POST) { return 418; }"), "{several}");
        let none = written(&[("POST /x", ""), ("PUT /y/{id}", "")]);
        assert_eq!(patterns(&none), rest.map(|(text, is)| (text.to_owned(), is)));
        assert!(!none.contains("non_idempotent") && !none.contains("$msec"), "{none}");
    }

    #[test]
    fn nginx_takes_the_largest_body_that_a_handler_takes() {
        for (limits, size) in [("", "16k"), ("limits = { body_bytes_max = 100_001 }\n", "106k")] {
            let text = written(&[("POST /a", limits), ("POST /b", "limits = { body_bytes_max = 1 }\n")]);
            assert!(
                text.contains(&format!("client_max_body_size    {size};\nclient_body_buffer_size {size};\n")),
                "{text}"
            );
        }
    }

    #[test]
    fn nginx_answers_with_the_bodies_of_the_nodes() {
        let section = "[messages]\nunavailable = \"it's \\\\ $1 \\\"ü\\\" @once@\"\n";
        let text = section.to_owned() + "[[handler]]\nname = \"a\"\ncomponent = \"a.wasm\"\nroute = \"GET /a\"\n";
        let manifest = manifest::parse(Path::new("galo.toml"), &text).unwrap();
        let text = nginx(&manifest, "nodes");
        // What nginx makes of a word in single quotes.
        for (_, code) in ERRORS {
            let status = code.status().as_u16();
            let (_, word) = text.split_once(&format!(" return {status} '")).unwrap();
            let word = word.split_once("'; }\n").unwrap().0.replace("\\'", "'").replace("\\\\", "\\");
            assert_eq!(word.as_bytes(), manifest.messages.body(code), "{code:?}");
        }
        assert!(text.contains(r#"'{"error":"unavailable","message":"it\'s \\\\ \\u00241 \\"ü\\" @once@"}'"#), "{text}");
        assert!(text.contains("error_page 413 /galo/error/413;") && text.contains("error_page 500 502 504 =503 /"));
        assert_eq!(text.matches("set $retry_after 1; return 503 ").count(), 1);
    }

    #[test]
    fn nginx_finds_the_route_that_a_node_finds() {
        // A node prefers a literal segment, from the left; so does the order of the file.
        let routes = [
            ("POST /{a}/{b}", KEYED),
            ("PUT /{x}/{y}", KEYED),
            ("POST /{a}/b", ""),
            ("GET /a/{b}", ""),
            ("POST /a/b", ""),
            ("POST /c/d/e", ""),
            ("POST /(x)/$+", KEYED),
        ];
        let expected = [
            (r#"= "/(x)/$+""#, true),
            (r#"= "/a/b""#, false),
            (r#"~ "^/a/[^/]+\z""#, false),
            (r#"~ "^/[^/]+/b\z""#, false),
            (r#"~ "^/[^/]+/[^/]+\z""#, true),
            ("/", false),
            ("@galo", false),
            ("@galo_once", false),
        ];
        let text = written(&routes);
        assert_eq!(patterns(&text), expected.map(|(text, is)| (text.to_owned(), is)));
        assert!(text.contains(r#""^(POST|PUT)\z""#), "{text}");
        // The order of the manifest does not matter.
        let mut turned = routes;
        turned.reverse();
        assert_eq!(written(&turned), text);
    }

    /// Whether the first location that a path matches repeats it, as nginx reads the file. All segments are plain.
    fn is_repeated(manifest: &Manifest, method: &str, path: &[&str]) -> bool {
        let matches = |shape: &Shape<'_>| {
            let meets =
                |(piece, segment): (&Piece<'_>, &&str)| *piece == Piece::Parameter || *piece == Piece::Literal(segment);
            shape.len() == path.len() && shape.iter().zip(path).all(meets)
        };
        let locations = locations(manifest);
        locations.iter().find(|(shape, _)| matches(shape)).is_some_and(|(_, methods)| methods.contains(method))
    }

    proptest! {
        #[test]
        fn nginx_repeats_what_a_node_finds_a_key_for_and_nothing_else(
            routes in vec((select(vec!["POST", "PUT"]), vec(select(vec!["a", "b", "{p}"]), 1..4), any::<bool>()), 1..8),
            method in select(vec!["POST", "PUT"]),
            path in vec(select(vec!["a", "b", "c"]), 1..4),
        ) {
            // A parameter's name is its place, because none may come twice.
            let route = |(method, segments, _): &(&str, Vec<&str>, bool)| {
                let named = segments.iter().enumerate().map(|(place, segment)| segment.replace("{p}", &format!("{{p{place}}}")));
                format!("{method} /{}", named.collect::<Vec<_>>().join("/"))
            };
            let tables = routes.iter().enumerate().map(|(number, each)| {
                let more = if each.2 { KEYED } else { "" };
                format!("[[handler]]\nname = \"h{number}\"\ncomponent = \"a.wasm\"\nroute = \"{}\"\n{more}", route(each))
            });
            let manifest = manifest::parse(Path::new("galo.toml"), &tables.collect::<String>()).unwrap();
            let entries = manifest.handlers.iter().map(|entry| (entry.routes[0].clone(), entry.retry));
            // What no node serves, no proxy need know.
            if let Ok(table) = Routes::new(entries) {
                let found = table.find(&method.parse().unwrap(), &format!("/{}", path.join("/")));
                let keyed = found.is_ok_and(|(retry, _)| *retry == Retry::Key);
                prop_assert_eq!(is_repeated(&manifest, method, &path), keyed);
            }
        }
    }
}
