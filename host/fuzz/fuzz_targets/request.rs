//! Bytes of a client, through the listener's connection and `wire::read`: nothing panics, a connection ends when its
//! client has gone, and every answer is HTTP.

#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use galo::failure::Failure;
use galo::limits::ClientTimeouts;
use galo::{cors, listen};
use galo::place::Place;
use galo::wire::{self, Incoming, MediaType, Messages, Outgoing, Taken};
use http::HeaderName;
use http_body_util::Full;
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::{Builder, Runtime};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Builder::new_current_thread().enable_time().build().unwrap());

static JSON: LazyLock<Result<MediaType, String>> = LazyLock::new(|| "application/json".parse());

const BODY_BYTES_MAX: usize = 64;

async fn answer(incoming: Incoming, checked: Result<(), Failure>) -> Outgoing {
    if let Err(failure) = checked {
        return wire::failed(&failure, Messages::plain());
    }
    let (head, body) = incoming.into_parts();
    cors::is_uninvited(&head, None);
    if let Err(failure) = wire::check_content(&head.headers, &body, JSON.as_ref().ok()) {
        return wire::failed(&failure, Messages::plain());
    }
    let headers = &[HeaderName::from_static("x")];
    let taken = Taken {
        method: &head.method,
        route: &"GET /".into(),
        headers,
        body_bytes_max: BODY_BYTES_MAX,
        config: &[].into(),
        id: String::new(),
        claims: None,
    };
    match wire::read(&head, body, Vec::new(), taken).await {
        Ok(request) => {
            assert!(request.body.len() <= BODY_BYTES_MAX);
            http::Response::new(Full::new(Bytes::from(request.body)))
        }
        Err(failure) => wire::failed(&failure, Messages::plain()),
    }
}

fuzz_target!(|data: &[u8]| {
    let answered = RUNTIME.block_on(async {
        let (mut client, server) = tokio::io::duplex(data.len().max(1));
        let place = Arc::new(Place::new(Instant::now(), ClientTimeouts::default()));
        let served = tokio::spawn(async move { listen::exchange(server, &place, answer).await });
        client.write_all(data).await.ok();
        client.shutdown().await.ok();
        let mut answered = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(20), client.read_to_end(&mut answered)).await;
        ended.expect("the connection does not end").ok();
        served.await.expect("the connection's task panicked");
        answered
    });
    assert!(answered.is_empty() || answered.starts_with(b"HTTP/1."), "{answered:?}");
});
