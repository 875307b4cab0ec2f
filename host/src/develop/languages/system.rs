//! The system of a handler in C: there is none. A C library calls functions of WASI's first preview as soon as
//! something is formatted, and a handler imports nothing. This makes a module that has the functions which another
//! one imports: each returns an error, and `exit` traps. Nothing is written, read or waited for.

use wasm_encoder::{
    CodeSection, ExportKind, ExportSection, Function, FunctionSection, Module, TypeSection, ValType as Encoded,
};
use wasmparser::{Parser, Payload, TypeRef, ValType};

/// The module that the functions are imported from.
pub(super) const NAME: &str = "wasi_snapshot_preview1";
/// WASI's number for a file that is not open.
const BAD_FILE: i32 = 8;

/// A function that is imported.
struct Import<'a> {
    name: &'a str,
    parameters: Vec<Encoded>,
    results: Vec<Encoded>,
}

/// A module with the functions of the system that this one imports; `None` if it imports none.
///
/// # Errors
/// When the module is not well formed, or such a function has a type that WASI does not use.
pub(super) fn absent(module: &[u8]) -> anyhow::Result<Option<Vec<u8>>> {
    let imports = imports(module)?;
    if imports.is_empty() {
        return Ok(None);
    }
    let (mut types, mut functions) = (TypeSection::new(), FunctionSection::new());
    let (mut exports, mut code) = (ExportSection::new(), CodeSection::new());
    for (index, Import { name, parameters, results }) in (0..).zip(imports) {
        types.ty().function(parameters, results.clone());
        functions.function(index);
        exports.export(name, ExportKind::Func, index);
        let mut body = Function::new([]);
        match results.as_slice() {
            [Encoded::I32] => body.instructions().i32_const(BAD_FILE).end(),
            _ => body.instructions().unreachable().end(),
        };
        code.function(&body);
    }
    let mut absent = Module::new();
    absent.section(&types).section(&functions).section(&exports).section(&code);
    Ok(Some(absent.finish()))
}

fn imports(module: &[u8]) -> anyhow::Result<Vec<Import<'_>>> {
    let (mut types, mut found) = (Vec::new(), Vec::new());
    for payload in Parser::new(0).parse_all(module) {
        match payload? {
            Payload::TypeSection(section) => {
                for group in section {
                    types.extend(group?.into_types());
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import?;
                    let TypeRef::Func(index) = import.ty else { continue };
                    if import.module == NAME {
                        let function = types.get(index as usize).filter(|ty| !ty.composite_type.shared);
                        let function = function.map(|ty| ty.unwrap_func());
                        let function = function.ok_or_else(|| anyhow::anyhow!("`{}` has no type", import.name))?;
                        let parameters = function.params().iter().map(encoded).collect::<Result<_, _>>()?;
                        let results = function.results().iter().map(encoded).collect::<Result<_, _>>()?;
                        found.push(Import { name: import.name, parameters, results });
                    }
                }
            }
            _ => {}
        }
    }
    Ok(found)
}

fn encoded(ty: &ValType) -> anyhow::Result<Encoded> {
    match ty {
        ValType::I32 => Ok(Encoded::I32),
        ValType::I64 => Ok(Encoded::I64),
        ValType::F32 => Ok(Encoded::F32),
        ValType::F64 => Ok(Encoded::F64),
        other => anyhow::bail!("a function of the system has the type {other}"),
    }
}
