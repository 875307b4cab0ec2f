//! Misbehaving guests as a few lines of text: the bodies of the two functions as core wasm, wrapped into a component
//! of the handler's world the way the toolchain does it.

#![expect(clippy::unwrap_used, reason = "set-up for tests: what fails here fails the test")]

use std::borrow::Cow;

use galo::contract::Request;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The two functions of a guest, and what stands beside them in its module.
#[derive(Clone)]
pub struct Guest<'a> {
    /// The body of `prepare`; must leave the address of a plan. Its parameter is the address of the request: the method
    /// (address, length) at 0, path at 8, route at 16, parameters at 24, whether there is a query at 32, headers at 44,
    /// body at 52.
    pub prepare: &'a str,
    /// The body of `respond`; must leave the address of an optional response. It lies as a reply does, but its case is
    /// 1.
    pub respond: &'a str,
    /// Imports, which come first in a module.
    pub imports: &'a str,
    /// Data, globals, start functions.
    pub items: Cow<'a, str>,
    /// Pages of memory, and the most it may grow to.
    pub memory: &'a str,
}

impl Default for Guest<'_> {
    fn default() -> Self {
        Self { prepare: "unreachable", respond: "unreachable", imports: "", items: Cow::Borrowed(""), memory: "1" }
    }
}

impl Guest<'_> {
    /// The component.
    pub fn component(self) -> Vec<u8> {
        self.try_component().unwrap()
    }

    /// The component, or why it cannot be made.
    pub fn try_component(self) -> anyhow::Result<Vec<u8>> {
        let Self { prepare, respond, imports, items, memory } = self;
        // A request has over 16 fields, so its address is passed; an outcome is its case and ten fields.
        let prepare_parameters = "i32";
        let respond_parameters = "i32 ".repeat(13);
        let module = format!(
            r#"(module {imports}
                (memory (export "memory") {memory})
                (global $top (mut i32) (i32.const 32768))
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                    (global.set $top (i32.add (global.get $top) (i32.and (i32.add (local.get 3) (i32.const 15)) (i32.const -8))))
                    (i32.sub (global.get $top) (i32.and (i32.add (local.get 3) (i32.const 15)) (i32.const -8))))
                {items}
                (func (export "prepare") (param {prepare_parameters}) (result i32) {prepare})
                (func (export "respond") (param {respond_parameters}) (result i32) {respond}))"#
        );
        encode(&module, "handler")
    }
}

/// A guest that replies at once with this status, header and body.
///
/// A plan lies in memory as: the case at 0 (0 reply, 1 call); of a response the status at 4, headers (address, count)
/// at 8, body (address, length) at 16, log (address, count) at 24; of a call procedure at 4, arguments at 12, carry at
/// 20.
pub fn replying(status: u16, header: Option<(&str, &str)>, body_bytes: u32) -> Guest<'static> {
    let (low, high) = (status & 0xff, status >> 8);
    let (name, value) = header.unwrap_or_default();
    let count = u8::from(header.is_some());
    let (name_bytes, value_bytes) = (name.len(), value.len());
    let (body, none) = (word(body_bytes), word(0).repeat(2));
    let items = format!(
        r#"(data (i32.const 1024) "\00\00\00\00\{low:02x}\{high:02x}\00\00\00\08\00\00\{count:02x}\00\00\00\00\10\00\00{body}{none}")
           (data (i32.const 2048) "\00\0c\00\00{}\00\0d\00\00{}")
           (data (i32.const 3072) "{name}")
           (data (i32.const 3328) "{value}")"#,
        word(u32::try_from(name_bytes).unwrap()),
        word(u32::try_from(value_bytes).unwrap()),
    );
    Guest { prepare: "i32.const 1024", items: items.into(), ..Guest::default() }
}

/// A request as a guest sees it, without parameters, headers and body.
pub fn request(method: &str, path: &str) -> Request {
    Request {
        method: method.to_owned(),
        path: path.to_owned(),
        route: format!("{method} {path}").into(),
        parameters: Vec::new(),
        query: None,
        headers: Vec::new(),
        body: Vec::new(),
        id: "test".to_owned(),
        now: 0,
        config: [].into(),
        claims: None,
    }
}

/// The component of a guest that replies with this status and nothing else.
pub fn answers(status: u16) -> Vec<u8> {
    replying(status, None, 0).component()
}

/// What a guest of this module does with an outcome: it answers rows with the response at 4096, and leaves an error to
/// the host, because the memory at 512 is zero: no response.
const RESPOND: &str = "(select (i32.const 512) (i32.const 4096) (local.get 2))";

/// A guest that calls a procedure without arguments, and answers 200 to whatever it returned.
pub fn calling(procedure: &str) -> Vec<u8> {
    calling_then(procedure, 200).component()
}

/// The same with another status.
pub fn calling_then(procedure: &str, status: u16) -> Guest<'static> {
    let (low, high) = (status & 0xff, status >> 8);
    let (length, rest) = (word(u32::try_from(procedure.len()).unwrap()), "\\00".repeat(26));
    let items = format!(
        r#"(data (i32.const 1024) "\01\00\00\00\00\0c\00\00{length}\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00")
           (data (i32.const 3072) "{procedure}")
           (data (i32.const 4096) "\01\00\00\00\{low:02x}\{high:02x}{rest}")"#
    );
    Guest { prepare: "i32.const 1024", respond: RESPOND, items: items.into(), ..Guest::default() }
}

/// A guest that calls a procedure with one argument, a text.
pub fn calling_with(procedure: &str, argument: &str) -> Vec<u8> {
    let [name, text] = [procedure, argument].map(|text| word(u32::try_from(text.len()).unwrap()));
    let rest = "\\00".repeat(26);
    // A value of 16 bytes: its case at 0 (4 is a text), address and length at 8.
    let items = format!(
        r#"(data (i32.const 1024) "\01\00\00\00\00\0c\00\00{name}\00\1c\00\00\01\00\00\00\00\00\00\00\00\00\00\00")
           (data (i32.const 3072) "{procedure}")
           (data (i32.const 7168) "\04\00\00\00\00\00\00\00\00\18\00\00{text}")
           (data (i32.const 4096) "\01\00\00\00\c8\00{rest}")
           (data (i32.const 6144) "{argument}")"#
    );
    Guest { prepare: "i32.const 1024", respond: RESPOND, items: items.into(), ..Guest::default() }.component()
}

/// A guest that replies 200 with this number of headers, all with this name and value.
pub fn replying_headers(count: u32, name: &str, value: &str) -> Vec<u8> {
    let [name_bytes, value_bytes] = [name, value].map(|text| u32::try_from(text.len()).unwrap());
    // Texts at 1 MiB and 1.5 MiB, the records of address and length after the first page.
    let items = format!(
        r#"(data (i32.const 1024) "\00\00\00\00\c8\00\00\00\00\00\01\00{}{}")
           (data (i32.const 1048576) "{name}")
           (data (i32.const 1572864) "{value}")
           (func $fill (local $at i32)
               (local.set $at (i32.const 65536))
               (block $full (loop $next
                   (br_if $full (i32.ge_u (local.get $at) (i32.const {end})))
                   (i32.store (local.get $at) (i32.const 1048576))
                   (i32.store offset=4 (local.get $at) (i32.const {name_bytes}))
                   (i32.store offset=8 (local.get $at) (i32.const 1572864))
                   (i32.store offset=12 (local.get $at) (i32.const {value_bytes}))
                   (local.set $at (i32.add (local.get $at) (i32.const 16)))
                   (br $next))))"#,
        word(count),
        word(0).repeat(4),
        end = 65536 + 16 * count,
    );
    let prepare = "call $fill i32.const 1024";
    Guest { prepare, items: items.into(), memory: "32", ..Guest::default() }.component()
}

/// The same component with other bytes: a section without an effect, and another digest.
pub fn marked(component: &[u8], mark: u64) -> Vec<u8> {
    // A custom section: its id, its size, the size of its name, its name, its content.
    let section = [&[0, 13, 4][..], b"mark", &mark.to_le_bytes()].concat();
    [component, &section].concat()
}

/// Four bytes, little endian, as a wat string writes them.
fn word(number: u32) -> String {
    number.to_le_bytes().iter().map(|byte| format!("\\{byte:02x}")).collect()
}

/// Wraps a core module into a component of a world of `wit/handler.wit`.
pub fn encode(module: &str, world: &str) -> anyhow::Result<Vec<u8>> {
    let wit = crate::program::checkout().root.join("wit/handler.wit");
    encode_with(module, &std::fs::read_to_string(wit)?, world)
}

/// Wraps a core module into a component of a world of the given WIT text.
pub fn encode_with(module: &str, wit: &str, world: &str) -> anyhow::Result<Vec<u8>> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("handler.wit", wit)?;
    let world = resolve.select_world(&[package], Some(world))?;
    let mut module = wat::parse_str(module)?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    ComponentEncoder::default().validate(true).module(&module)?.encode()
}

/// A part of a request that a guest can echo.
#[derive(Clone, Copy)]
pub enum Part {
    /// The route.
    Route,
    /// The id.
    Id,
    /// The moment, as eight bytes.
    Now,
    /// The value of the first `config`.
    Config,
    /// The claims; nothing when there are none.
    Claims,
    /// The value of the first header; nothing when there is none.
    Header,
}

/// A guest that replies 200 with a part of the request.
///
/// A request lies in memory as [`Guest::prepare`] says; its id is at 60, now at 72, config at 80, claims at 88 (whether
/// there are any, then the text). A text or a list is its address and its length, and a field two texts.
pub fn echoing(part: Part) -> Vec<u8> {
    let text = |at: u32| format!("(i32.load offset={at} (local.get 0)) (i32.load offset={} (local.get 0))", at + 4);
    // The second text of the first field of a list.
    let first = |at: u32| {
        let field = format!("(i32.load offset={at} (local.get 0))");
        format!(
            "(if (result i32 i32) (i32.load offset={} (local.get 0)) \
             (then (i32.load offset=8 {field}) (i32.load offset=12 {field})) (else (i32.const 0) (i32.const 0)))",
            at + 4
        )
    };
    let slice = match part {
        Part::Route => text(16),
        Part::Id => text(60),
        Part::Now => "(i32.add (local.get 0) (i32.const 72)) (i32.const 8)".to_owned(),
        Part::Config => first(80),
        Part::Header => first(44),
        Part::Claims => format!(
            "(if (result i32 i32) (i32.load8_u offset=88 (local.get 0)) (then {}) \
             (else (i32.const 0) (i32.const 0)))",
            text(92)
        ),
    };
    // A plan as in `replying`, whose body is filled in: its address at 16, its length at 20.
    let prepare = format!(
        "(local $length i32) (local $at i32) {slice} local.set $length local.set $at \
         (i32.store (i32.const 1040) (local.get $at)) (i32.store (i32.const 1044) (local.get $length)) i32.const 1024"
    );
    let items = r#"(data (i32.const 1024) "\00\00\00\00\c8\00")"#;
    Guest { prepare: &prepare, items: items.into(), ..Guest::default() }.component()
}
