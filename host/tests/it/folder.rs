//! A handlers folder that is read in the middle of a change: files written in place, files missing, or paths that are
//! not regular files.

use std::path::Path;
use std::time::{Duration, Instant};

use galo::registry::Stage;
use http::Method;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::fixture::{Guest, answers, marked};
use crate::harness::{Connection, Guests, TestDatabase, TestNode, until};

/// Two handlers, x and y; the last lines of y's entry set limits and headers.
async fn two() -> (TestDatabase, Guests, TestNode) {
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("x", &answers(200), "").add(
        "y",
        &answers(200),
        "headers = [\"a\"]\nlimits = { deadline_ms = 50 }\n",
    );
    let node = TestNode::guests(&database, &guests).await;
    (database, guests, node)
}

fn handlers(node: &TestNode) -> usize {
    node.running.node.registry.table().handlers.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_is_written_in_place_costs_no_request() {
    let (_database, guests, node) = two().await;
    let (path, whole) = (guests.folder.path().join("galo.toml"), guests.manifest());
    // Given a writer that is interrupted after every line, and before the first byte,
    let cuts: Vec<_> = std::iter::once(0).chain(whole.match_indices('\n').map(|(at, _)| at + 1)).collect();
    let writer = tokio::task::spawn_blocking(move || {
        for _ in 0..4 {
            for cut in &cuts {
                std::fs::write(&path, &whole[..*cut]).unwrap();
                // Longer than the pause between scans, so the node scans each of these states.
                std::thread::sleep(Duration::from_millis(40));
                std::fs::write(&path, &whole).unwrap();
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    });
    // then every request is answered by its handler, and the entry of y stays the same.
    let mut connection = Connection::open(&node.address()).await;
    while !writer.is_finished() {
        for path in ["/x", "/y"] {
            assert_eq!(connection.send(Method::GET, path, "").await.unwrap().status, 200, "{path}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let handler = node.handler("y");
        assert_eq!(handler.entry.limits.deadline, Duration::from_millis(50));
        assert_eq!(handler.entry.headers.len(), 1);
    }
    writer.await.unwrap();
    assert_eq!((node.generation("x"), node.generation("y")), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_without_handlers_is_never_taken() {
    let (database, guests, node) = two().await;
    for text in ["", "# handlers to come\n", "handler = []\n"] {
        guests.put_file("galo.toml", text.as_bytes());
        let (stage, message) = node.until_manifest_refused().await;
        assert!(
            stage == Stage::Manifest && message.ends_with("it has no handler: add one, as a `[[handler]]` table"),
            "{message}"
        );
        assert_eq!(handlers(&node), 2);
    }
    // A node does not start with it either.
    assert!(guests.refusal(&database).await.contains("it has no handler"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_comes_back_goes_on_where_it_was() {
    let (_database, guests, node) = two().await;
    let whole = guests.manifest();
    let first = whole.split("[[handler]]").nth(1).unwrap();
    // Given a handler whose second generation was rolled back,
    let traps = Guest::default().component();
    guests.put("y", &traps);
    node.until_generation("y", 2).await;
    assert_eq!(node.get("/y").await.status, 200);
    assert_eq!(node.generation("y"), 1);
    // when it leaves the manifest, which takes effect once the file has not changed for a second,
    let begun = Instant::now();
    guests.put_file("galo.toml", format!("[[handler]]{first}").as_bytes());
    until("y has left", String::new, || handlers(&node) == 1).await;
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(node.get("/y").await.status, 404);
    // and comes back, then the rolled back component is still barred,
    guests.put_file("galo.toml", whole.as_bytes());
    until("y is back", String::new, || handlers(&node) == 2).await;
    assert_eq!((node.get("/y").await.status.as_u16(), node.generation("y")), (200, 1));
    assert_eq!(node.handler("y").lineage().rolled_back.as_ref().unwrap().number, 2);
    // the numbers continue, and requests to a new generation are rescued.
    guests.put("y", &marked(&traps, 1));
    node.until_generation("y", 3).await;
    assert_eq!((node.get("/y").await.status.as_u16(), node.generation("y")), (200, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_is_not_a_file_is_refused_at_once_and_delays_no_other_handler() {
    let (database, guests, node) = two().await;
    let path = |name: &str| guests.folder.path().join(name);
    // Renamed into place: a scan must not find the path missing.
    let place = |path: &Path, make: &dyn Fn(&Path)| {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let new = guests.folder.path().join("new");
        make(&new);
        std::fs::rename(new, path).unwrap();
    };
    let pipe = |path: &Path| place(path, &|new| mkfifo(new, Mode::S_IRWXU).unwrap());
    let mut generation = 1;
    for name in ["x.wasm", "x/examples/one.json"] {
        pipe(&path(name));
        let (_, message) = node.until_refused("x").await;
        assert!(message.contains("not a regular file"), "{message}");
        // The other handler can still be swapped.
        generation += 1;
        guests.put("y", &marked(&answers(200), generation));
        node.until_generation("y", generation).await;
        std::fs::remove_file(path(name)).unwrap();
        guests.put("x", &answers(200));
        until("x is mended", String::new, || node.handler("x").refusal().is_none()).await;
    }
    let manifest = guests.manifest();
    for other in ["pipe", "/dev/zero"] {
        let file = path("galo.toml");
        match other {
            "pipe" => pipe(&file),
            device => place(&file, &|new| std::os::unix::fs::symlink(device, new).unwrap()),
        }
        let (_, message) = node.until_manifest_refused().await;
        assert!(message.contains("not a regular file"), "{message}");
        assert!(guests.refusal(&database).await.contains("not a regular file"));
        generation += 1;
        guests.put("y", &marked(&answers(200), generation));
        node.until_generation("y", generation).await;
        guests.put_file("galo.toml", manifest.as_bytes());
        until("it is taken again", String::new, || node.running.node.registry.refusal().is_none()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn handlers_of_a_refused_manifest_have_no_metrics() {
    let (_database, guests, node) = two().await;
    // Given a manifest with one handler that could be loaded and one that could not,
    guests.put("good", &answers(200));
    let table =
        |name: &str| format!("[[handler]]\nname = \"{name}\"\ncomponent = \"{name}.wasm\"\nroute = \"GET /{name}\"\n");
    guests.put_file("galo.toml", format!("{}{}{}", guests.manifest(), table("good"), table("bad")).as_bytes());
    assert!(node.until_manifest_refused().await.1.contains("bad.wasm"));
    // then the metrics show neither.
    let metrics = node.admin("/metrics").await;
    assert!(metrics.text().contains("handler=\"x\"") && !metrics.text().contains("handler=\"good\""));
    guests.put("bad", &answers(200));
    until("it is taken", String::new, || handlers(&node) == 4).await;
    assert!(node.admin("/metrics").await.text().contains("handler=\"good\""));
}
