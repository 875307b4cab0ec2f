//! Compiling in a separate process: its limits, what it delays, how it fails, and what the cache keeps.

use std::fmt::Write as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use galo::config::{CacheFolder, Settings};
use galo::develop::build::Profile;
use galo::guest::{Cache, Compiler, ComponentError};
use galo::limits::{self, CompileLimits};
use galo::registry::Stage;
use nix::sys::signal::Signal;

use crate::cli::{Program, run, wait_until};
use crate::fixture::{Guest, marked, replying};
use crate::harness::{GALO, Guests, TestDatabase, TestNode, compile, engine, galo, handlers, scratch, settings};

/// A guest of the world with one function that takes the compiler long: each branch keeps every local alive.
fn huge(branches: usize) -> Vec<u8> {
    const LOCALS: usize = 300;
    let mut function = String::from("(func $huge (param i32) (local");
    function.push_str(&" i32".repeat(LOCALS));
    function.push(')');
    for n in 0..branches {
        let (a, b, c) = (1 + n * 7 % LOCALS, 1 + n * 13 % LOCALS, 1 + n * 31 % LOCALS);
        let _ = write!(
            function,
            "(if (local.get {a}) (then (local.set {b} (i32.mul (local.get {c}) (local.get {a}))) (call $huge (local.get {b}))))"
        );
    }
    function.push(')');
    Guest { items: function.into(), ..Guest::default() }.component()
}

/// A guest that takes the compiler tens of seconds.
fn endless() -> Vec<u8> {
    huge(60_000)
}

fn refusal(galo: &Path, limits: CompileLimits, component: &[u8]) -> ComponentError {
    let compiler = Compiler::new(engine(), galo, limits, None);
    let refused =
        std::thread::scope(|scope| scope.spawn(|| compiler.compile_here(component).map(drop)).join().unwrap());
    refused.unwrap_err().downcast().unwrap()
}

#[test]
fn a_component_that_takes_too_much_to_compile_is_refused_within_its_bound() {
    let (component, ours) = (endless(), CompileLimits::default());
    let cases = [
        (
            CompileLimits { cpu: Duration::from_secs(1), ..ours },
            "compiling it takes over 1 s of CPU; build a smaller",
            false,
        ),
        (
            CompileLimits { memory_bytes_max: 64 << 20, ..ours },
            "compiling it takes over 64 MiB of memory; build a",
            false,
        ),
        (
            CompileLimits { timeout: Duration::from_secs(1), ..ours },
            "compiling it is not done within 1 s; build a",
            true,
        ),
        (
            CompileLimits { component_bytes_max: 1000, ..ours },
            "bytes are over the limit of 1000 for a component",
            false,
        ),
    ];
    for (limits, expected, passing) in cases {
        let begun = Instant::now();
        let refused = refusal(Path::new(GALO), limits, &component);
        assert!(refused.to_string().contains(expected), "{expected}: {refused}");
        assert_eq!(refused.may_pass(), passing, "{refused}");
        assert!(begun.elapsed() < Duration::from_secs(20), "{expected}: {:?}", begun.elapsed());
    }
    // The project's handlers are compiled within a few MiB of what a node of the compose stack leaves free.
    for name in ["transacoes", "extrato"] {
        let component = std::fs::read(handlers(Profile::Release).join(format!("{name}.wasm"))).unwrap();
        let tight = CompileLimits { memory_bytes_max: 40 << 20, ..ours };
        let compiler = Compiler::new(engine(), Path::new(GALO), tight, None);
        compiler.compile_here(&component).unwrap();
    }
}

/// A script that replaces the compiler.
fn script(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("compiler");
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn every_way_a_compiler_can_fail_is_a_refusal() {
    let (_folder, path) = scratch("programs");
    std::fs::create_dir(&path).unwrap();
    let component = replying(200, None, 0).component();
    let panic =
        "cat >/dev/null & printf \"\\nthread 'main' panicked at a.rs:1:2:\\nno such thing\\nnote: run\" >&2; exit 101";
    for (text, expected, passing) in [
        ("kill -KILL $$", "the compiler was killed by SIGKILL, most likely because memory ran out", true),
        (panic, "panic of the compiler: a.rs:1:2: no such thing", false),
        ("kill -SEGV $$", "the compiler died of SIGSEGV", false),
        ("echo broken >&2; exit 7", "the compiler failed (exit status: 7): broken", false),
        ("echo nonsense", "the compiled form cannot be loaded", true),
        ("echo no room >&2; exit 5", "its compiled form cannot be written: no room", true),
    ] {
        let refused = refusal(&script(&path, text), CompileLimits::default(), &component);
        assert!(refused.to_string().contains(expected), "{text}: {refused}");
        assert_eq!(refused.may_pass(), passing, "{refused}");
    }
    let refused = refusal(&path.join("missing"), CompileLimits::default(), &component);
    assert!(refused.to_string().contains("the compiler cannot be run: No such file"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_names_handler_and_line_of_what_does_not_compile() {
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("good", &replying(200, None, 0).component(), "").add("bad", &endless(), "");
    let compile = CompileLimits { memory_bytes_max: 64 << 20, ..CompileLimits::default() };
    let settings = Settings { compile, ..settings(guests.folder.path()) };
    let Err(error) = galo::serve::start(&settings, &database.target(), engine()).await else { panic!("it started") };
    let (error, file) = (format!("{error:#}"), guests.folder.path().join("bad.wasm"));
    let expected = format!("bad: {}: compiling it takes over 64 MiB of memory", file.display());
    assert!(error.contains(&expected) && error.contains("galo.toml:6: "), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_takes_long_delays_neither_another_one_nor_its_own_repair() {
    let database = TestDatabase::new().await;
    let answers = |status| replying(status, None, 0).component();
    let guests = Guests::new().add("x", &answers(200), "").add("y", &answers(200), "");
    let node = TestNode::guests(&database, &guests).await;
    let bad = endless();
    for round in 1..=2_u64 {
        // Given a component that takes tens of seconds to compile,
        guests.put("x", &marked(&bad, round));
        // when another handler changes, then it is live while the first one is still compiled,
        guests.put("y", &marked(&answers(201), round));
        node.until_generation("y", 1 + round).await;
        assert_eq!((node.generation("x"), node.handler("x").refusal().is_none()), (round, true));
        // and so is a manifest with one handler more or less;
        guests.put("z", &answers(203));
        let more = "[[handler]]\nname = \"z\"\ncomponent = \"z.wasm\"\nroute = \"GET /z\"\n";
        let manifest = if round == 1 { guests.manifest() + more } else { guests.manifest().replace(more, "") };
        guests.put_file("galo.toml", manifest.as_bytes());
        let count = || node.running.node.registry.table().handlers.len();
        crate::harness::until("the manifest is taken", String::new, || count() == if round == 1 { 3 } else { 2 }).await;
        // and when the first one's file is repaired, then that is live soon: the compiler of the bad one was ended.
        let begun = Instant::now();
        guests.put("x", &marked(&answers(202), round));
        node.until_generation("x", 1 + round).await;
        assert!(begun.elapsed() < limits::COMPILE_CPU_MAX / 4, "{:?}", begun.elapsed());
        assert_eq!(node.get("/x").await.status, 202);
    }
    // A file that has the serving bytes again is not a candidate: nothing is compiled any more.
    guests.put("x", &bad);
    guests.put("y", &answers(204));
    node.until_generation("y", 4).await;
    guests.put("x", &marked(&answers(202), 2));
    guests.put("y", &answers(205));
    node.until_generation("y", 5).await;
    assert_eq!((node.generation("x"), node.handler("x").refusal().is_none()), (3, true));
}

/// The compilers of a process.
fn compilers(node: &Program) -> Vec<u32> {
    let parent = format!("PPid:\t{}\n", node.pid());
    let processes =
        std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    let pids = processes.filter_map(|name| name.parse::<u32>().ok());
    pids.filter(|pid| read(*pid, "status").contains(&parent) && read(*pid, "cmdline").contains("compiler")).collect()
}

/// A file of a process, empty when the process is gone.
fn read(pid: u32, file: &str) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default()
}

/// The peak memory of a process, in KiB.
fn peak(pid: u32) -> u64 {
    let status = read(pid, "status");
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    line.map_or(0, |line| line.split_whitespace().nth(1).unwrap().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compiler_is_not_its_nodes_memory_and_dies_with_it() {
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("x", &replying(200, None, 0).component(), "");
    let (_folder, cache) = scratch("cache");
    let mut command = galo();
    command.arg("serve").arg("--cache").arg(&cache);
    let mut node = Program::serve_with(command, &database, guests.folder.path());
    let pid = node.pid().as_raw().unsigned_abs();
    let before = peak(pid);
    let component = endless();
    guests.put("x", &component);
    let mut most = 0;
    wait_until("a compiler takes memory", || {
        most = compilers(&node).into_iter().map(peak).max().unwrap_or_default().max(most);
        most > 100 << 10
    });
    let [compiler] = compilers(&node)[..] else { panic!("one compiler") };
    // The kernel kills it first when memory runs out, and schedules it last.
    assert_eq!(read(compiler, "oom_score_adj").trim(), "1000");
    let stat = read(compiler, "stat");
    let nice = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(16).unwrap();
    assert_eq!(nice, limits::RELOAD_NICENESS.to_string());
    assert!(read(compiler, "limits").contains(&limits::COMPILE_MEMORY_BYTES_MAX.to_string()));
    // The node reads the file, and reads it again with every scan; the rest is a margin.
    let grown = peak(pid) - before;
    assert!(grown < (component.len() as u64 >> 10) * 4 + (16 << 10), "the node grew by {grown} KiB");
    // When the node is killed, then so is its compiler.
    node.signal(Signal::SIGKILL);
    node.wait();
    wait_until("its compiler is gone", || !read(compiler, "cmdline").contains("compiler"));
}

#[test]
fn a_cache_without_room_costs_time_and_no_component() {
    let (_folder, path) = scratch("programs");
    std::fs::create_dir(&path).unwrap();
    // The compiler's message and status for a full disk: only writing into the cache folder fails.
    let full = format!(
        "case $(readlink /proc/$$/fd/1) in *memfd*) exec {GALO} \"$@\";; esac\necho 'No space left on device' >&2; exit 5"
    );
    let (_place, folder) = scratch("cache");
    let cache = Cache::open(&folder).unwrap();
    let component = replying(200, None, 0).component();
    let compiler = Compiler::new(engine(), &script(&path, &full), CompileLimits::default(), Some(cache));
    assert!(!compiler.compile_here(&component).unwrap().cached);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_a_manifest_waits_for_is_compiled_whatever_happens_to_the_serving_one() {
    let database = TestDatabase::new().await;
    let good = replying(200, None, 0).component();
    let guests = Guests::new().add("x", &good, "").add("y", &good, "");
    let mut command = galo();
    command.arg("serve");
    let node = Program::serve_with(command, &database, guests.folder.path());
    // Given a manifest that names another component, which takes long to compile,
    let manifest = guests.manifest();
    guests.put("x-v2", &endless());
    guests.put_file("galo.toml", manifest.replace("x.wasm", "x-v2.wasm").as_bytes());
    let mut compiler = 0;
    wait_until("it is compiled", || {
        compiler = compilers(&node).first().copied().unwrap_or_default();
        compiler != 0
    });
    // when the file of the serving component breaks and is repaired, and another handler goes live,
    for generation in 2..=5_u64 {
        guests.put("x", if generation % 2 == 0 { b"garbage" } else { &good });
        guests.put("y", &marked(&good, generation));
        node.wait_for(&format!("y: generation {generation} live"));
    }
    // then the same compiler still runs, and nothing was refused.
    assert!(compilers(&node).contains(&compiler), "{}", node.log());
    assert!(!node.log().contains("rejected;"), "{}", node.log());
    // It ends when no manifest waits for its component.
    guests.put_file("galo.toml", manifest.as_bytes());
    wait_until("its compiler is gone", || !compilers(&node).contains(&compiler));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_form_is_compiled_again_once_and_never_run() {
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("x", &replying(200, None, 0).component(), "");
    let (_folder, cache) = scratch("cache");
    let start = || {
        let mut command = galo();
        command.arg("serve").arg("--cache").arg(&cache);
        Program::serve_with(command, &database, guests.folder.path())
    };
    let form = || {
        let files: Vec<_> = std::fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        files[0].clone()
    };
    drop(start());
    let whole = std::fs::read(form()).unwrap();
    // Bytes all over the compiled form: its head, its code, its tables, its seal.
    for part in 0..16 {
        let at = whole.len() * part / 16 + 7;
        let file = std::fs::OpenOptions::new().write(true).open(form()).unwrap();
        file.write_all_at(&[!whole[at]], at as u64).unwrap();
        let before = std::fs::metadata(form()).unwrap().ino();
        let node = start();
        assert!(node.log().contains("compiled component not usable, compiling again: it is damaged"), "{}", node.log());
        assert_eq!(crate::harness::request(&node.listen, http::Method::GET, "/x", "").await.status, 200);
        assert_ne!(std::fs::metadata(form()).unwrap().ino(), before);
        assert!(std::fs::read(form()).unwrap() == whole, "part {part}");
        drop(node);
        let node = start();
        assert!(!node.log().contains("damaged"), "{}", node.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_compiled_before_a_deployment_is_found_at_the_start() {
    let database = TestDatabase::new().await;
    let (_folder, cache) = scratch("cache");
    let compile = |folder: &Path| {
        let mut command = galo();
        command.arg("compile").arg(folder).arg("--cache").arg(&cache);
        run(&mut command)
    };
    let folder = handlers(Profile::Release);
    let (success, shown, stderr) = compile(folder);
    assert!(success, "{stderr}");
    for line in ["[1/2] ", "[2/2] ", "transacoes: compiled in ", "extrato: compiled in ", "2 of 2 compiled in "] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    let (success, shown, stderr) = compile(folder);
    assert!(success && shown.contains("transacoes: already compiled"), "{shown}{stderr}");
    // A node without a compiler starts: with everything in the cache it does not need one.
    let found =
        Settings { cache: CacheFolder::Required(cache.clone()), galo: PathBuf::from("/missing"), ..settings(folder) };
    TestNode::with(&database, found.clone()).await;
    let Err(error) =
        galo::serve::start(&Settings { cache: CacheFolder::None, ..found }, &database.target(), engine()).await
    else {
        panic!("it started")
    };
    assert!(format!("{error:#}").contains("the compiler cannot be run"), "{error:#}");
    // A component that cannot be compiled fails the command, after the others were compiled.
    let guests = Guests::new().add("bad", b"garbage", "").add("good", &replying(200, None, 0).component(), "");
    let (success, shown, stderr) = compile(guests.folder.path());
    assert!(!success && shown.contains("bad: refused: ") && shown.contains("good: compiled in "), "{shown}");
    assert!(shown.contains("bad.wasm: not a valid component: "), "{shown}");
    assert!(stderr.contains("1 of 2 components cannot be compiled"), "{stderr}");
}

#[test]
fn a_cache_folder_is_private_also_while_it_is_written_to() {
    let (_folder, path) = scratch("cache");
    let cache = Cache::open(&path).unwrap();
    compile(&replying(200, None, 0).component(), Some(&cache)).unwrap();
    for entry in std::fs::read_dir(&path).unwrap() {
        assert_eq!(entry.unwrap().metadata().unwrap().mode() & 0o077, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_without_address_space_for_the_pool_reports_the_remedy() {
    let database = TestDatabase::new().await;
    let limited = "ulimit -v 16000000 && exec \"$0\" serve --listen 127.0.0.1:0 --admin 127.0.0.1:0 --handlers \"$1\"";
    let mut command = Command::new("sh");
    command.args(["-c", limited, GALO]).arg(handlers(Profile::Release)).env("DATABASE_URL", database.service_url());
    let (success, _, stderr) = run(&mut command);
    assert!(!success && stderr.contains("limited to 15.3 GiB (RLIMIT_AS, `ulimit -v`)"), "{stderr}");
    assert!(stderr.contains("ulimit -v unlimited"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_the_compiler_has_its_stage_and_names_the_file() {
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("x", &replying(200, None, 0).component(), "");
    let compile = CompileLimits { cpu: Duration::from_secs(1), ..CompileLimits::default() };
    let node = TestNode::with(&database, Settings { compile, ..settings(guests.folder.path()) }).await;
    guests.put("x", &endless());
    let (stage, message) = node.until_refused("x").await;
    assert_eq!(stage, Stage::Compile);
    assert!(message.contains("x.wasm: compiling it takes over 1 s of CPU"), "{message}");
}
