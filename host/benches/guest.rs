//! What a guest call costs: `prepare` and `respond` of the two handlers, each on a fresh instance, beside the same
//! functions linked natively and beside the same handler built with std. `cargo bench`.
//!
//! The std build is made here from the sources of `transacoes`, exported with `galo_kit::export!(…, std)`.

use std::hint::black_box;
use std::path::{Path, PathBuf};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use galo::contract::{Field, Outcome, Plan, Request, Rows, Value};
use galo::develop::build::{self, Cancel, Profile};
use galo::guest::{Compiler, Component, Engine, Grants};
use galo::limits::{CompileLimits, HandlerLimits};
use galo_kit::Handler as _;
use galo_testing::fixture;
use galo_testing::program::{self, checkout};

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One handler with the request and the rows it is called with.
struct Case {
    name: &'static str,
    request: Request,
    outcome: Outcome,
}

fn transacoes() -> Case {
    Case {
        name: "transacoes",
        request: Request {
            parameters: vec![Field { name: "id".to_owned(), value: "3".to_owned() }],
            body: br#"{"valor": 1000, "tipo": "c", "descricao": "descricao"}"#.to_vec(),
            ..fixture::request("POST", "/clientes/3/transacoes")
        },
        outcome: Outcome::Rows(Rows {
            columns: ["resultado", "limite", "saldo"].map(str::to_owned).to_vec(),
            values: vec![Value::Text("ok".to_owned()), Value::Integer(100_000), Value::Integer(-9098)],
        }),
    }
}

fn extrato() -> Case {
    let columns = ["saldo", "limite", "data_extrato", "valor", "tipo", "descricao", "realizada_em"];
    let moment = 1_705_458_881_217_753;
    let row = |n: i64| {
        [
            Value::Integer(-9098),
            Value::Integer(100_000),
            Value::Timestamp(moment),
            Value::Integer(n),
            Value::Text("c".to_owned()),
            Value::Text("descricao".to_owned()),
            Value::Timestamp(moment - n),
        ]
    };
    Case {
        name: "extrato",
        request: Request {
            parameters: vec![Field { name: "id".to_owned(), value: "3".to_owned() }],
            ..fixture::request("GET", "/clientes/3/extrato")
        },
        outcome: Outcome::Rows(Rows {
            columns: columns.map(str::to_owned).to_vec(),
            values: (1..=10).flat_map(row).collect(),
        }),
    }
}

/// Both functions, each on a fresh instance.
fn both(component: &Component, case: &Case) {
    let plan = component.prepare(black_box(&case.request)).expect("the guest prepares");
    let Plan::Call(call) = plan else { panic!("the guest plans a call") };
    black_box(component.respond(&call.carry, black_box(&case.outcome)).expect("the guest responds"));
}

fn load(engine: &Engine, path: &Path, wasi: bool) -> Component {
    let bytes = std::fs::read(path).expect("the component was built");
    let compiler = Compiler::new(engine, program::galo(), CompileLimits::default(), None);
    let compiled = compiler.compile_here(&bytes).expect("the component compiles");
    compiled.fit(Grants { wasi }, HandlerLimits::default()).expect("the component is good")
}

/// `transacoes` built with std: a copy of its crate without `no_std`, as a workspace of its own.
fn transacoes_with_std(folder: &Path) -> PathBuf {
    let root = checkout().root;
    let (kit, build) = (root.join("handlers/kit"), root.join("handlers/kit/link"));
    let source = folder.join("src");
    std::fs::create_dir_all(&source).expect("a scratch folder can be written");
    let manifest = format!(
        "[package]\nname = \"transacoes-std\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[lib]\ncrate-type = [\"cdylib\"]\n\
         [dependencies]\ngalo-kit = {{ path = {kit:?} }}\nserde = {{ version = \"1\", features = [\"derive\"] }}\n\
         [build-dependencies]\ngalo-link = {{ path = {build:?} }}\n[workspace]\n\
         [profile.release]\nlto = \"fat\"\ncodegen-units = 1\nopt-level = 3\nstrip = true\n"
    );
    let write =
        |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("a scratch folder can be written");
    let read = |name: &str| {
        std::fs::read_to_string(root.join("handlers/transacoes/src").join(name)).expect("the sources are there")
    };
    write("Cargo.toml", &manifest);
    let memory =
        "fn main() { galo_link::component_with(galo_link::Memory { initial_kib: Some(192), stack_kib: 32 }); }";
    write("build.rs", memory);
    let library = read("lib.rs").replace("#![cfg_attr(all(target_family = \"wasm\", not(test)), no_std)]", "");
    let library = library.replace("export!(Transacoes)", "export!(Transacoes, std)");
    write("src/lib.rs", &library.replace("#[cfg(test)]\nmod tests;", ""));
    write("src/rules.rs", &read("rules.rs"));
    // Kept between runs, so that only the first one compiles it whole.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("transacoes-std");
    let built = std::process::Command::new(env!("CARGO"))
        .args(["build", "--release", "--target", "wasm32-wasip2", "--quiet", "--target-dir"])
        .arg(&target)
        .current_dir(folder)
        .status()
        .expect("cargo runs");
    assert!(built.success(), "the std build failed");
    target.join("wasm32-wasip2/release/transacoes_std.wasm")
}

fn guest_calls(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime starts");
    let engine = Engine::start().expect("the engine starts");
    let folder = tempfile::tempdir().expect("a scratch folder can be made");
    let built = build::handlers(&checkout(), Profile::Release, &Cancel::default()).expect("the handlers build");
    built.put(folder.path()).expect("a fresh folder takes files");
    let with_std = transacoes_with_std(folder.path());

    let mut group = criterion.benchmark_group("prepare and respond");
    for case in [transacoes(), extrato()] {
        let component = load(&engine, &folder.path().join(format!("{}.wasm", case.name)), false);
        group.bench_function(BenchmarkId::new("guest", case.name), |bencher| bencher.iter(|| both(&component, &case)));
    }
    let case = transacoes();
    let component = load(&engine, &with_std, true);
    let _inside = runtime.enter();
    group.bench_function(BenchmarkId::new("guest with std", case.name), |bencher| {
        bencher.iter(|| both(&component, &case))
    });

    let request = galo_kit::test::post("/clientes/3/transacoes", &[("id", "3")], case.request.body.as_slice());
    let row: [galo_kit::Value; 3] = ["ok".into(), 100_000.into(), (-9098).into()];
    let rows = galo_kit::test::rows(["resultado", "limite", "saldo"], [row]);
    group.bench_function(BenchmarkId::new("native", case.name), |bencher| {
        bencher.iter(|| {
            let plan = transacoes::Transacoes::prepare(black_box(&request));
            let galo_kit::Plan::Call(call) = plan else { panic!("a call is planned") };
            black_box(transacoes::Transacoes::respond(&call.carry, black_box(&rows)).is_ok())
        });
    });
    group.finish();
}

criterion_group!(benches, guest_calls);
criterion_main!(benches);
