//! The bounds of the host, with their reasons. Other files take sizes, counts and waits from here;
//! `tests/it/tidy_modules.rs` checks it.
//!
//! Three kinds: what one request may cost, what a node may hold, and how long anything is waited for. Limits that a
//! handler may change in the manifest have a default (`*_DEFAULT`) and a ceiling (`*_CEILING`).

use std::time::Duration;

// ---- one request -------------------------------------------------------------------------------------------------

/// Bytes of a request body a handler accepts unless its manifest sets another limit: a form has a few hundred.
pub const BODY_BYTES_DEFAULT: usize = 8 * 1024;
/// No manifest may ask for more: the body is copied into the guest whole.
pub const BODY_BYTES_CEILING: usize = 1024 * 1024;
/// Bytes by which a body may exceed the largest limit and still reach a node through a proxy (`galo proxy nginx`): the
/// node answers 413 with the texts and headers of the service.
pub const PROXY_BODY_BYTES_MORE: usize = 8 * 1024;
/// Bytes of request line and headers together. hyper needs at least 8 KiB; browsers with many cookies send 8–12 KiB.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Headers of one request. nginx adds about five.
pub const HEADERS_MAX: usize = 64;
/// Parameters of one route and arguments of one call. Postgres itself stops at 100.
pub const ARGUMENTS_MAX: usize = 64;
/// Bytes of all rows that one statement may return, as Postgres sends them and as the guest receives them: a procedure
/// to one call, a batch form to all calls of its batch, which have 16 KiB each when they are 64. A row of ten numbers
/// and short texts is about 100 and 250, so a list of 1,000 such rows takes a quarter.
pub const ROWS_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of one value in the memory of a guest: its case, and a number or the place of a text. The text is extra.
pub const VALUE_BYTES: usize = 16;
/// Bytes of the place of a text there: address and length.
pub const TEXT_BYTES: usize = 8;

/// Calls in one statement of a batch form. Five sixths of what a batch of 64 takes Postgres is the work of its calls;
/// more of them would only keep the clients' rows locked for longer.
pub const BATCH_CALLS_MAX: usize = 64;
/// Bytes of their arguments: 16 KiB for each call of a full batch. Calls beyond it go with the next statement.
pub const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// Calls that wait for one lane. Requests in flight are fewer; this also counts calls whose clients have
/// disconnected.
pub const LANE_CALLS_MAX: usize = 1024;
/// Calls that wait for one key whose row is locked or slow. A quarter of the requests in flight: the rest is left for
/// other keys.
pub const KEY_CALLS_MAX: usize = 128;

// ---- one guest call ----------------------------------------------------------------------------------------------

/// Linear memory a guest begins with, unless it is linked otherwise (`handlers/kit/link`), and the least that a
/// manifest may allow: one page of wasm. An ordinary call needs no more.
pub const MEMORY_BYTES_MIN: usize = 64 * 1024;
/// Linear memory a guest may grow to: the largest rows and the largest reply at once. One built with std begins with
/// 1.1 MiB untuned.
pub const MEMORY_BYTES_DEFAULT: usize = 4 * 1024 * 1024;
/// The size of a slot of the pool, so no manifest may ask for more. A JavaScript engine begins with 9.1 MiB and Python
/// with 12.4; both hold a request several times over, as bytes, as their own text and parsed.
pub const MEMORY_BYTES_CEILING: usize = 64 * 1024 * 1024;
/// Bytes of a guest's memory that are its own: 16 KiB of stack, and static data. Ours have 6 KiB of data, one that
/// reads JSON with serde's derive has 30 KiB.
pub const GUEST_OWN_BYTES: usize = 48 * 1024;
/// Bytes of a memory that are wiped by memset instead of given back to the kernel. Above this a call pays page
/// faults; 192 KiB holds a tuned guest with std whole, and one of 64 KiB that has grown by 128 causes none. Such a slot
/// keeps what it has touched, so this bounds what a node keeps for guests: see `GUESTS_RESIDENT_BYTES_MAX`.
pub const MEMORY_KEEP_RESIDENT_BYTES: usize = 192 * 1024;
/// Bytes that all slots of the pool together may keep between calls, two memories for each live guest. Few nodes come
/// near it: a handler has a slot for each thread that served it, of 64 KiB unless its calls grow.
pub const GUESTS_RESIDENT_BYTES_MAX: usize = 48 * 1024 * 1024;
/// Time a guest has for one call. Ours take 2 µs; the rest is room for a host that is not scheduled.
pub const DEADLINE_DEFAULT: Duration = Duration::from_millis(100);
/// A guest that loops keeps a thread busy, so even the most patient manifest must give it back.
pub const DEADLINE_CEILING: Duration = Duration::from_secs(2);
/// How often deadlines are checked: a guest overruns its deadline by at most this. 200 wake-ups a second cost less than
/// 0.1 % of a core.
pub const EPOCH_TICK: Duration = Duration::from_millis(5);
/// CPU time a guest has on the thread that serves its request, from the first tick on. A call that needs more is
/// stopped, and runs again on a separate thread. A guest that takes 4 ms, as in Python, stays on its thread; one that
/// loops is stopped at the second tick, after at most 10 ms. The slice is shorter than a tick because a thread never
/// runs for the whole of one.
pub const GUEST_SLICE: Duration = Duration::from_millis(4);
/// Calls of one generation that run on separate threads. While they do and another overruns, the calls of that
/// generation are shed: a handler that loops must not take more.
pub const SLOW_CALLS_PER_GENERATION: usize = 2;
/// Threads for such calls, of all generations together. Each holds an instance of the pool.
pub const SLOW_THREADS_MAX: usize = 28;
/// Turns of the scheduler that a call of a generation with slow calls waits at most, while another call overruns in
/// each.
pub const SLOW_TURNS_MAX: usize = 16;
/// Priority of these threads: two of them leave a busy worker four fifths of a core, and it is never behind them.
pub const SLOW_NICENESS: i32 = 10;
/// Bytes a guest may return from one call, counted by wasmtime while it copies them out. As many as the rows, which a
/// list returns in whole: a number is shorter as JSON than in memory, by about the name of its column.
pub const REPLY_BYTES_DEFAULT: usize = ROWS_BYTES_MAX;
/// As for a body: it is copied whole.
pub const REPLY_BYTES_CEILING: usize = 4 * 1024 * 1024;
/// Elements of a table (function pointers). Ours have under 100, a large std guest some 2,000.
pub const TABLE_ELEMENTS_DEFAULT: usize = 4 * 1024;
/// The size of a table slot of the pool.
pub const TABLE_ELEMENTS_CEILING: usize = 16 * 1024;
/// Native stack a guest may use. It is set for the engine, not per handler: a guest runs on the worker's stack.
pub const GUEST_STACK_BYTES: usize = 256 * 1024;
/// Stack of a command such as a handler's unit tests: the test harness formats with it. It runs on the main thread,
/// which has 8 MiB.
pub const COMMAND_STACK_BYTES: usize = 512 * 1024;
/// Bytes of output that one run of a command may print.
pub const COMMAND_OUTPUT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Stack of a thread that only waits: for the next epoch, for the end of stdin.
pub const SMALL_STACK_BYTES: usize = 64 * 1024;
/// Stack of a worker thread: the guest's share, and the host's frames above and below it.
pub const WORKER_STACK_BYTES: usize = 2 * 1024 * 1024;
/// Core instances one component may have. wit-component makes 4 of a handler in Rust, and componentize-py 39 of one in
/// Python: each of its libraries is one. The pool only counts them.
pub const CORE_INSTANCES_PER_COMPONENT: u32 = 64;
/// Memories of one component: one for each handler that it is composed of, and address space for as many in each slot
/// of the pool, which takes no memory.
pub const MEMORIES_PER_COMPONENT: u32 = 8;
/// Tables of one component: two for each of its memories, its own and the shims of wit-component for a guest with
/// imports.
pub const TABLES_PER_COMPONENT: u32 = 16;
/// Address space reserved for a memory of the pool: 4 GiB and a guard behind it let the machine's own page tables check
/// every access of a guest. It is reserved, never filled: `RLIMIT_AS` counts it, memory is not taken.
pub const MEMORY_RESERVATION_BYTES: u64 = 4 * 1024 * 1024 * 1024;
/// The guard behind it, for an access with an offset.
pub const MEMORY_GUARD_BYTES: u64 = 32 * 1024 * 1024;
/// Address space of a node besides its pool: the program, its libraries, stacks, what the allocator reserves.
pub const ADDRESS_SPACE_BYTES: u64 = 4 * 1024 * 1024 * 1024;
/// Live guests of the process: a call holds one while it runs on its thread, and there are no more threads than this.
/// It is also the number of slots that keep the memory image of a handler ready.
pub const INSTANCES_MAX: u32 = 128;
/// Memories that keep the image of the handler that used them last, `MEMORY_KEEP_RESIDENT_BYTES` of it at most: two for
/// each live guest. A composed handler takes more only while others leave them.
pub const WARM_MEMORIES_MAX: u32 = 2 * INSTANCES_MAX;
/// Worker threads a node may be given; a machine with more cores needs more nodes.
pub const WORKERS_MAX: usize = 64;
/// Threads that replace workers while a guest with WASI blocks them. When all are taken, such calls wait.
pub const BLOCKING_THREADS_MAX: usize = 32;
/// Bytes of a component file. Ours have about 60 KiB, one with std and serde 200 KiB, one in JavaScript 12 MB and one
/// in Python 18 MB.
pub const COMPONENT_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Bytes one call of a guest with WASI may print (stdout and stderr together); more is a fault.
pub const GUEST_OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// Host resources (streams, pollables) one call of a guest with WASI may hold. std holds three.
pub const GUEST_RESOURCES_MAX: usize = 64;
/// Random bytes a guest with WASI may ask for at once. A `HashMap` asks for 16.
pub const GUEST_RANDOM_BYTES_MAX: u64 = 4 * 1024;
/// Bytes of a guest's last words in the log: a panic message, or the end of what it printed. The kit has 1,024 for one.
pub const LAST_WORDS_BYTES_MAX: usize = 1024;
/// Bytes of a fault's text in the log and in `/handlers`: the guest's last words in full, and the host's text around
/// them.
pub const FAULT_BYTES_MAX: usize = LAST_WORDS_BYTES_MAX + 256;
/// Bytes of a name chosen by a guest, in the text of its fault.
pub const NAME_SHOWN_BYTES_MAX: usize = 64;
/// Functions of a trap's backtrace, the innermost first. A panic has five of its own before the handler's.
pub const BACKTRACE_FRAMES_MAX: usize = 16;
/// Headers of a guest's response, as many as a request may have.
pub const RESPONSE_HEADERS_MAX: usize = HEADERS_MAX;
/// Bytes of the head of a response, status line and all headers. It is what a proxy takes: `galo proxy nginx` writes it
/// as `proxy_buffer_size`. A proxy would answer 502 for a longer head, although the request was executed.
pub const RESPONSE_HEAD_BYTES_MAX: usize = 4 * 1024;
/// Bytes of it that the host adds: status line, date, length, connection, which take 150.
pub const HOST_HEAD_BYTES_MAX: usize = 1024;
/// Bytes of a guest's headers: names, values and separators.
pub const RESPONSE_HEADERS_BYTES_MAX: usize = RESPONSE_HEAD_BYTES_MAX - HOST_HEAD_BYTES_MAX;
/// Lines for the log of a guest's response, and bytes of all of them: a trace of one decision, not a dump.
pub const RESPONSE_LINES_MAX: usize = 16;
/// See [`RESPONSE_LINES_MAX`].
pub const RESPONSE_LINES_BYTES_MAX: usize = 4 * 1024;
/// Requests that wait to be written by the recorder. What does not fit is dropped and counted.
pub const RECORD_QUEUE_MAX: usize = 1024;
/// The rarest sample of requests that is recorded: one in a million.
pub const RECORD_EVERY_MAX: usize = 1_000_000;
/// Bytes of requests that wait to be written by the recorder, on top of [`RECORD_QUEUE_MAX`]: one has up to a few MiB.
pub const RECORD_QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Records that are kept of a handler unless another number is asked for.
pub const RECORDS_DEFAULT: usize = 256;
/// Events that a node keeps for its page: those of a day of deployments.
pub const EVENTS_MAX: usize = 256;
/// Bytes of the text of one event; the log has all of it.
pub const EVENT_BYTES_MAX: usize = 4 * 1024;
/// How often the traffic of each route is sampled for the page, and how many samples it shows: a minute.
pub const TRAFFIC_INTERVAL: Duration = Duration::from_secs(1);
/// See [`TRAFFIC_INTERVAL`].
pub const TRAFFIC_SAMPLES: usize = 60;
/// Routes whose traffic is sampled, of all handlers together. A sample of one takes 2 µs and holds 4 KiB.
pub const TRAFFIC_ROUTES_MAX: usize = 1024;
/// Rows of each table of the page. The API has all of them.
pub const PAGE_ROWS_MAX: usize = 100;
/// Bytes of a text that the page shows whole; behind it is how many are left out.
pub const PAGE_TEXT_BYTES_MAX: usize = 16 * 1024;
/// Bytes of the body of a request to the admin address: a request to be sent has its own body in it, in JSON.
pub const ADMIN_BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Pages and replays that are made at once; others wait. They take a core for milliseconds, and files are read.
pub const ADMIN_WORK_MAX: usize = 2;
/// A request of the page, from the connection to the end of its response: more than the node itself takes at most.
pub const ADMIN_SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of its response.
pub const ADMIN_SEND_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How often and how many times the record of that request is looked for: it is written just after the response.
pub const ADMIN_RECORD_PAUSE: Duration = Duration::from_millis(5);
/// See [`ADMIN_RECORD_PAUSE`].
pub const ADMIN_RECORD_TRIES: u32 = 40;
/// Records of a corpus that are read ahead for each thread of a replay.
pub const REPLAY_RECORDS_AHEAD: usize = 64;
/// Threads of a replay.
pub const REPLAY_THREADS_MAX: usize = 256;
/// Differences that a replay shows.
pub const DIFFERENCES_SHOWN_MAX: usize = 50;
/// Characters of a line of a saved example, as a person would break it.
pub const EXAMPLE_LINE_MAX: usize = 110;
/// Rows of the outcome of one call that the page shows.
pub const PAGE_ROWS_SHOWN: usize = 20;
/// Requests that the page lists unless more are asked for.
pub const PAGE_REQUESTS: usize = 30;
/// Characters of the name of a saved example.
pub const EXAMPLE_NAME_MAX: usize = 64;
/// Bytes of the records that are kept of a handler: 256 of 4 KiB.
pub const RECORDS_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a line of a corpus: a record holds a request and its rows, which are bounded; base64 and JSON escape them.
pub const RECORD_LINE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Paths of one handler at which a comparison counts differences; the rest is counted together. A path may contain
/// names from a body, so that their number has no other bound.
pub const DIFFERENCE_PATHS_MAX: usize = 1000;
/// Differences of one record that are counted.
pub const DIFFERENCES_PER_RECORD_MAX: usize = 100;
/// Paths that `galo replay` prints; `--json` has all that are counted.
pub const DIFFERENCE_PATHS_SHOWN: usize = 20;
/// Between two lines about the progress of a comparison.
pub const REPLAY_PROGRESS: Duration = Duration::from_secs(5);
/// Between two requests of `galo tap` to a node: fast enough for a person who watches, nothing for a node.
pub const TAP_PAUSE: Duration = Duration::from_millis(200);
/// Records that `galo tap` takes at once. A node keeps no more of a handler by default.
pub const TAP_RECORDS_MAX: usize = 10_000;
/// Bytes of the path by which it asks: 16 of each handler's name and number, far below what a head may have.
pub const TAP_CURSOR_BYTES_MAX: usize = 8 * 1024;
/// The largest `--slower` of `galo tap`, in milliseconds: an hour.
pub const TAP_SLOWER_MS_MAX: usize = 60 * 60 * 1000;
/// Bytes of a line of a log that `galo explain` looks at at once.
pub const LOG_LINE_BYTES_READ: u64 = 1024 * 1024;
/// For the procedure of `galo explain`, from the connect to the last row. It is a look-up by key.
pub const EXPLAIN_TIMEOUT: Duration = Duration::from_secs(3);
/// Bytes of the records of all handlers: 32 handlers whose records are as large as they may be. Beyond it, the handler
/// with the most bytes loses its oldest.
pub const RECORDS_NODE_BYTES_MAX: usize = 32 * RECORDS_BYTES_MAX;
/// Bytes of a record besides its line and its id: its place in the ring, and what the allocator adds.
pub const RECORD_OVERHEAD_BYTES: usize = 128;
/// One record in so many may be of a shed request: under overload there may be thousands a second.
pub const RECORD_SHED_SHARE: usize = 8;
/// How often the recorder looks at the last requests of each handler to find the slowest hundredth.
pub const RECORD_WINDOW: Duration = Duration::from_secs(1);
/// Requests that a look needs: with fewer, a hundredth is not one request.
pub const RECORD_WINDOW_REQUESTS_MIN: u64 = 100;
/// Names or paths of one list of the manifest's `record`.
pub const RECORD_NAMES_MAX: usize = 64;
/// Bytes of one of its paths. Each of its steps may visit all of a document.
pub const RECORD_PATH_BYTES_MAX: usize = 256;
/// Bytes of a text that is also taken out where it is repeated. A shorter one, such as `1`, is part of other texts.
pub const REDACTED_TEXT_BYTES_MIN: usize = 8;
/// Texts of one record that are taken out where they are repeated. The automaton that finds them takes a few MiB. Where
/// more were taken out, all texts are.
pub const REDACTED_TEXTS_MAX: usize = 500;
/// Texts among them that are longer than [`SECRET_SHORT_BYTES_MAX`].
pub const REDACTED_LONG_TEXTS_MAX: usize = 16;
/// Milliseconds that the export of one batch of spans may take, with its retries (`OTEL_EXPORTER_OTLP_TIMEOUT`).
pub const TRACES_TIMEOUT_MS_DEFAULT: usize = 10_000;
/// Milliseconds that a span waits for others, unless a batch is full before (`OTEL_BSP_SCHEDULE_DELAY`).
pub const TRACES_SCHEDULE_MS_DEFAULT: usize = 5_000;
/// The most that either may be set to: five minutes. What waits for longer was dropped by then.
pub const TRACES_MS_MAX: usize = 300_000;
/// Spans that wait for the collector (`OTEL_BSP_MAX_QUEUE_SIZE`). What does not fit is dropped and counted.
pub const TRACES_QUEUE_DEFAULT: usize = 2048;
/// The most that it may be set to: a span takes half a kilobyte.
pub const TRACES_QUEUE_CEILING: usize = 256 * 1024;
/// Spans of one request to the collector (`OTEL_BSP_MAX_EXPORT_BATCH_SIZE`).
pub const TRACES_BATCH_DEFAULT: usize = 512;
/// How long the exporter waits before it sends a batch again; doubled each time.
pub const TRACES_RETRY_PAUSE: Duration = Duration::from_millis(500);
/// How long a node that ends waits until the last spans are with the collector.
pub const TRACES_CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of a collector's answer that are read: it says how many spans it rejected, and why.
pub const TRACES_ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a `tracestate` that is passed on; W3C asks for 512.
pub const TRACESTATE_BYTES_MAX: usize = 512;
/// Bytes of a path, a message or another text of a span.
pub const SPAN_TEXT_BYTES_MAX: usize = 1024;
/// How long the spans of a batch's calls are waited for before the span of the batch is made: they end together.
pub const BATCH_SPAN_PATIENCE: Duration = Duration::from_secs(1);
/// Batches whose span is waited with. A batch takes a millisecond, and few of them have a call that is traced.
pub const BATCH_SPANS_MAX: usize = 1024;
/// Bytes of the name of a node. Postgres keeps 63 of an `application_name`, which has `galo/` and ` batches` beside it.
pub const NODE_NAME_BYTES_MAX: usize = 48;
/// Bytes of the procedure in the comment of a statement. Its types are a part of its name where it is overloaded.
pub const COMMENT_BYTES_MAX: usize = 512;
/// Bytes of the message of an error that a procedure raised, and of its detail, as a handler gets them.
pub const ERROR_TEXT_BYTES_MAX: usize = 4 * 1024;
/// Bytes of the message of a `PTxyz` that a client reads.
pub const RAISED_BYTES_MAX: usize = 1024;
/// Entries of an index space of a component that is read before it is compiled, and components within each other:
/// Python's, the largest that was seen, has a few hundred entries.
pub const DECLARED_ENTRIES_MAX: usize = 10_000;
/// See [`DECLARED_ENTRIES_MAX`].
pub const DECLARED_DEPTH_MAX: usize = 80;
/// Imports that a refusal may name.
pub const DECLARED_IMPORTS_MAX: usize = 64;
/// Bytes of a line of a secret from which on it is taken out of texts by itself. A shorter one is a word like any
/// other, such as `}` of a JSON.
pub const SECRET_LINE_BYTES_MIN: usize = 8;
/// Forms of secrets that are searched one by one, which is the quickest for a few; further ones are searched together.
pub const SECRET_FORMS_SINGLY_MAX: usize = 64;
/// Bytes of a secret up to which it is searched together with others.
pub const SECRET_SHORT_BYTES_MAX: usize = 256;
/// Characters at the end of a text that was cut which may be the beginning of a secret by chance.
pub const SECRET_SHOWN_CHARS_MAX: usize = 3;
/// Bytes of a text of `[messages]`: a sentence or two. nginx takes 4,096 bytes of it as one word, escaped.
pub const MESSAGE_BYTES_MAX: usize = 256;
/// Bytes of the id of a try, `Galo-Try`; as many as an `Idempotency-Key` has in most services. nginx sends 47.
pub const TRY_BYTES_MAX: usize = 255;
/// Bytes of what `[cors]` puts into an answer's head: the longest origin and the names of the headers that a page may
/// read. As many again for the names of the headers that a page may send, in the answer to a preflight.
pub const CORS_BYTES_MAX: usize = 256;
/// Origins of `[cors]`: each request of a page is compared with them in turn.
pub const CORS_ORIGINS_MAX: usize = 64;
/// How long a browser may keep the answer to a preflight unless `[cors]` sets `max_age`.
pub const CORS_MAX_AGE_DEFAULT: Duration = Duration::from_secs(600);
/// The most a manifest may set. Firefox keeps it for a day at most, Chromium for two hours.
pub const CORS_MAX_AGE_CEILING: Duration = Duration::from_secs(24 * 3600);
/// Bytes of `X-Request-Id` in a log line. nginx's `$request_id` has 32.
pub const TRACE_SHOWN_BYTES_MAX: usize = 128;
/// Bytes of a path in a line of the access log, and of a method.
pub const PATH_SHOWN_BYTES_MAX: usize = 256;
/// The same failure of a handler is logged the first time, and then counted: one line per this interval.
pub const REPEAT_INTERVAL: Duration = Duration::from_secs(10);
/// Failures of one generation that the log distinguishes: two phases, six kinds, and the SQLSTATEs of its calls.
pub const REPEATS_MAX: usize = 64;

// ---- a node ------------------------------------------------------------------------------------------------------

/// Handlers of one manifest: more than one service has endpoints.
pub const HANDLERS_MAX: usize = 4096;
/// Bytes of the manifest: 4,096 handlers of 1 KiB each.
pub const MANIFEST_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Bytes of a name that Postgres keeps whole: NAMEDATALEN - 1.
pub const IDENTIFIER_BYTES_MAX: usize = 63;
/// Open client connections. At the limit the connection that has been idle longest is closed for a new one; while all
/// are being served, new ones wait in the kernel's backlog, which nginx sees as a slow connect.
pub const CONNECTIONS_MAX_DEFAULT: usize = 1024;
/// The ceiling: a larger number is a typo. No process has that many open files.
pub const CONNECTIONS_CEILING: usize = 1_000_000;
/// Requests between their head and the end of their answer. 512 waiting on 8 connections that each serve 2,000 calls
/// a second wait 32 ms; beyond that a quick 503 serves the client better than a queue.
pub const IN_FLIGHT_MAX_DEFAULT: usize = 512;
/// The ceiling: there are no more requests than connections.
pub const IN_FLIGHT_CEILING: usize = CONNECTIONS_CEILING;
/// Open connections of the admin address: people and probes.
pub const ADMIN_CONNECTIONS_MAX: usize = 32;
/// Memory that a node takes for its connections and the requests on them, for `galo check --memory`: measured with 64
/// busy connections.
pub const NODE_TRAFFIC_BYTES: u64 = 12 * 1024 * 1024;
/// Open files of a node beside those of its connections: the runtime, sockets, logs, the watched folders, and what a
/// verification opens. A node at rest has 25.
pub const FILES_RESERVED: usize = 64;
/// Open files of one handler: the memory image and the file of each generation that is kept, of a canary with the old
/// generation beside it, and of a candidate.
pub const FILES_PER_HANDLER: usize = 12;
/// Bytes of the admin address's token: 16 of base64 are 96 bits, which nobody guesses over a network.
pub const ADMIN_TOKEN_BYTES_MIN: usize = 16;
/// It is sent in a header: far below the bytes of a head, and longer than any token in use.
pub const ADMIN_TOKEN_BYTES_MAX: usize = 1024;
/// By how much the clock of whoever issued a client's token may differ from ours: `exp` and `nbf` count with it.
pub const TOKEN_LEEWAY: Duration = Duration::from_secs(30);
/// Keys of a JWKS file. Providers publish two to five; more are as good as none for a token that names none.
pub const TOKEN_KEYS_MAX: usize = 64;
/// Keys that a token without a key id is tried with: each try costs up to 0.2 ms of the thread that serves.
pub const TOKEN_KEYS_TRIED_MAX: usize = 4;
/// A JWKS file: 64 keys of RSA with their certificates.
pub const TOKEN_KEYS_BYTES_MAX: u64 = 1024 * 1024;
/// The file or the variable of a secret of the manifest.
pub const SECRET_BYTES_MAX: u64 = 16 * 1024;
/// Routes of one handler.
pub const ROUTES_MAX: usize = 256;
/// Values of a handler's `config`.
pub const CONFIG_VALUES_MAX: usize = 64;
/// The names and values of a handler's `config` together: each request lowers them into the guest's memory.
pub const CONFIG_BYTES_MAX: usize = 8 * 1024;
/// Connections the kernel queues until they are accepted. It limits this to `net.core.somaxconn` (4,096).
pub const BACKLOG_DEFAULT: usize = 1024;
/// The ceiling: the kernel stores the number in 16 bits.
pub const BACKLOG_CEILING: usize = 65_535;
/// Database connections of one node. Four keep a core of Postgres busy; two nodes of 8 leave room in its 100.
pub const POOL_CONNECTIONS_DEFAULT: usize = 8;
/// Two nodes at this ceiling, each with two more for probes and the catalogue and those for batches, still fit a
/// Postgres with 200 connections; with `lanes` in the manifest, up to twice as many.
pub const POOL_CONNECTIONS_CEILING: usize = 90;

/// Database connections for batches, beside those of the pool: one for each procedure with a batch form, up to this. A
/// lane needs one at a time, for a millisecond. Lanes that a procedure has several of have one each.
pub const BATCH_CONNECTIONS_MAX: usize = 4;
/// Lanes of one procedure, a power of two. Together they may have as many connections as the pool.
pub const LANES_MAX: usize = 64;

/// Violations of one proof that `galo check --sql` prints.
pub const VIOLATIONS_SHOWN_MAX: usize = 20;
/// Partitions of the data. A shard has at least one, and a router keeps a connection to each shard in every session.
pub const PARTITIONS_MAX: u32 = 64;

/// What the allocator of a private Postgres takes from the kernel at once, and keeps before it gives any back. Without
/// these a backend returns the top of its heap after every statement, and requests it again with the next.
pub const POSTGRES_MALLOC: [(&str, usize); 2] =
    [("MALLOC_TOP_PAD_", 1024 * 1024), ("MALLOC_TRIM_THRESHOLD_", 8 * 1024 * 1024)];
/// `initdb` of a private Postgres: it takes half a second; a slow disk under load takes ten.
pub const POSTGRES_INITDB_MAX: Duration = Duration::from_secs(60);
/// Start of a private Postgres: 50 ms. After a crash it first reads the log since the last checkpoint, 1 GB at most.
pub const POSTGRES_START_MAX: Duration = Duration::from_secs(60);
/// A fast shutdown (SIGINT) writes a checkpoint.
pub const POSTGRES_FAST_STOP_MAX: Duration = Duration::from_secs(20);
/// An immediate shutdown (SIGQUIT) gives the backends 5 s before it kills them.
pub const POSTGRES_IMMEDIATE_STOP_MAX: Duration = Duration::from_secs(7);
/// SIGKILL cannot be refused, but a busy kernel takes a while.
pub const POSTGRES_KILL_MAX: Duration = Duration::from_secs(3);
/// The whole ladder: fast, immediate, killed.
pub const POSTGRES_STOP_MAX: Duration =
    POSTGRES_FAST_STOP_MAX.saturating_add(POSTGRES_IMMEDIATE_STOP_MAX).saturating_add(POSTGRES_KILL_MAX);
/// Download of the server's binaries: 20 MB on a slow line, curl's three retries included.
pub const POSTGRES_DOWNLOAD_MAX: Duration = Duration::from_secs(600);
/// How often a download that is still running is logged.
pub const POSTGRES_PROGRESS_EVERY: Duration = Duration::from_secs(2);
/// How long a guard may take until its Postgres is ready. It bounds each of its steps itself; this one ends a guard
/// that hangs. The steps: stop a predecessor's guard, stop its Postgres, download, `initdb`, start.
pub const POSTGRES_READY_MAX: Duration = POSTGRES_STOP_MAX
    .saturating_add(POSTGRES_STOP_MAX)
    .saturating_add(POSTGRES_DOWNLOAD_MAX)
    .saturating_add(POSTGRES_INITDB_MAX)
    .saturating_add(POSTGRES_START_MAX);
/// How long a guard may take to end: stop Postgres, and delete the files of a throwaway cluster.
pub const POSTGRES_GUARD_STOP_MAX: Duration = POSTGRES_STOP_MAX.saturating_add(Duration::from_secs(10));
/// A guard notices at once that its parent has ended. A lock still held after this is in use, unless its holder has
/// noted that it is stopping.
pub const POSTGRES_LOCK_MAX: Duration = Duration::from_secs(2);
/// A throwaway cluster is swept when its lock file is older: a guard may be about to take a younger one.
pub const POSTGRES_SWEEP_AFTER: Duration = Duration::from_secs(60);
/// For conditions without an event: Postgres reports in a file that it is ready, and the end of a process that is not a
/// child has to be polled. A tenth of a start.
pub const POSTGRES_POLL_EVERY: Duration = Duration::from_millis(5);
/// For a program that prints something about itself and ends, such as `postgres --version`: a thousand times what it
/// takes.
pub const PROGRAM_ANSWER_MAX: Duration = Duration::from_secs(5);
/// Lines of a Postgres log in an error: as many as a person reads.
pub const POSTGRES_LOG_TAIL_LINES: usize = 20;
/// Bytes of the path of a unix socket, without the terminating zero: 103 on macOS, 107 on Linux.
pub const POSTGRES_SOCKET_PATH_BYTES_MAX: usize = 103;

/// Bytes of log lines that wait to be written: a reader that stops for a second loses none of 5,000 lines.
pub const LOG_QUEUE_BYTES_MAX: usize = 1024 * 1024;
/// Statuses of one handler that are counted separately; further ones are counted by class.
pub const STATUSES_COUNTED_MAX: usize = 16;
/// Classes of SQLSTATE that are counted separately for one procedure. Postgres has 44, of which calls meet a few; a
/// procedure may raise any.
pub const SQLSTATE_CLASSES_MAX: usize = 24;
/// Handlers, and procedures, that have left the manifest and are still shown in the metrics.
pub const SERIES_LEFT_MAX: usize = STATE_LEFT_MAX;
/// Components of a node's state: as many of ours as of the cache, which are ten times the size compiled.
pub const STATE_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Bytes of components that went live and wait in memory until they are in the state folder: two of the largest, one
/// that was proved and its successor. Ours have about 60 KiB, and wait for milliseconds unless the disk fails.
pub const STATE_HANDED_BYTES_MAX: u64 = 2 * COMPONENT_BYTES_MAX;
/// Their number: a first start has one of each handler.
pub const STATE_HANDED_MAX: usize = HANDLERS_MAX;
/// Bytes of its index: 4,096 handlers with 4 KiB each.
pub const STATE_INDEX_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Handlers that have left the manifest and are remembered, on disk and, compiled, in memory.
pub const STATE_LEFT_MAX: usize = 64;

/// Bytes of a file of certificates. The authorities of a Linux system together are 220 KiB.
pub const CERTIFICATE_FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Bytes of a file of passwords, or of the connection string. A line has about 50.
pub const PASSWORD_FILE_BYTES_MAX: u64 = 1024 * 1024;

// ---- waits -------------------------------------------------------------------------------------------------------

/// From the first byte of a request to the end of its headers. For the first request of a connection it starts at the
/// accept, because a client connects in order to send one.
pub const HEAD_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
/// From the end of the headers to the end of the body.
pub const BODY_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
/// The ceiling for both: a mobile network that stalls for a minute recovers within it. A drain waits no longer than
/// `DRAIN_GRACE`.
pub const CLIENT_TIMEOUT_SECONDS_CEILING: usize = 300;
/// A client that takes less than `WRITE_BYTES_MIN` of its response within this time is dropped.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// 13 KiB a second, as in a bad mobile network: a list of 1 MiB then arrives in 80 s. A response that fits in the
/// buffers of kernel and proxy, some 300 KiB, never waits for its client.
pub const WRITE_BYTES_MIN: usize = 64 * 1024;
/// For discarding the rest of a body that is not needed: reading it lets the client read the answer before the close.
pub const DISCARD_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes of such a body that are discarded; beyond it the connection is closed.
pub const DISCARD_BYTES_MAX: usize = 256 * 1024;
/// A connection without a request. nginx closes idle upstream connections after 60 s. The side that reuses a connection
/// must be the one that closes it; otherwise it may send a request on a closed one. Other proxies keep connections
/// longer (docs/operating.md).
pub const IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(75);
/// The ceiling: an hour, six times as long as Google's load balancers keep a connection.
pub const IDLE_TIMEOUT_SECONDS_CEILING: usize = 3600;
/// The ceiling for lingering: after SIGTERM a node reports that it is not ready and serves as before, until it gets no
/// new connections. Kubernetes needs a few seconds for that, a cloud's load balancer up to some minutes.
pub const LINGER_SECONDS_CEILING: usize = 3600;
/// The wait for a free connection of the pool. A client must get its 503 within a second, however slow the network to
/// the database is: a request never waits for a connection to be opened.
pub const ACQUIRE_TIMEOUT: Duration = Duration::from_millis(800);
/// To make one connection to one address, with its start-up exchange, unless the URL has a `connect_timeout`. With TLS
/// and a password it takes nine round trips: 3.6 s at 400 ms each.
pub const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
/// The most a URL may set.
pub const CONNECT_TIMEOUT_CEILING: Duration = Duration::from_secs(60);
/// A host that has not answered for this long is not waited for before the next one of the URL is tried.
pub const CONNECT_STAGGER: Duration = Duration::from_secs(1);
/// To prepare all statements on a connection: a round trip for each `PREPARED_AT_ONCE_MAX` of them.
pub const PREPARE_TIMEOUT: Duration = Duration::from_secs(20);
/// Statements that are sent to be prepared on one connection at once. Those of 4,096 handlers would be a megabyte.
pub const PREPARED_AT_ONCE_MAX: usize = 128;
/// An answer to a probe. Three round trips of 400 ms: one that is lost and sent again is not taken for an outage.
pub const PROBE_TIMEOUT: Duration = Duration::from_millis(1200);
/// Connections for probes that are being made at once, while the database is unavailable: one more each
/// `POOL_PROBE_INTERVAL`, because the address may have changed.
pub const PROBES_MAX: usize = 10;
/// After a connection of the pool could not be made, doubled with each failure up to the next.
pub const POOL_FILL_PAUSE: Duration = Duration::from_millis(250);
/// The upper bound of that pause, because Postgres logs a line for each refusal. A connection that becomes free is in
/// use within five seconds.
pub const POOL_FILL_PAUSE_MAX: Duration = Duration::from_secs(2);
/// A connection is replaced after this, or up to a quarter sooner: a backend's memory grows with use, and a new
/// connection follows a changed DNS name or proxy. A connection costs Postgres about 5 ms of CPU.
pub const CONNECTION_AGE_MAX: Duration = Duration::from_secs(30 * 60);
/// Postgres itself ends a statement after this (`statement_timeout`).
pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(2);
/// Postgres itself ends a wait for a lock after this (`lock_timeout`): shorter, so that the error names the cause.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(1);
/// Postgres ends a transaction that waits this long for its next statement (`idle_in_transaction_session_timeout`),
/// where the timeout is the role's: through a pooler. A call has such a gap only if its node stops in the middle of it.
pub const IDLE_IN_TRANSACTION_TIMEOUT: Duration = Duration::from_secs(5);
/// A batch gives up on a lock after this (`lock_timeout`), and its calls go by keys. The batch of another node holds a
/// client's row for 0.2 to 1 ms, so this is not reached in normal operation; calls for other clients wait at most twice
/// this.
pub const BATCH_LOCK_TIMEOUT: Duration = Duration::from_millis(5);
/// Postgres ends a batch after this (`statement_timeout`), and its calls go by keys; a key that answers within it goes
/// in batches again. A batch of 64 takes 1 ms; the first one of a connection, or one on an overloaded machine, tens of
/// milliseconds.
pub const BATCH_STATEMENT_TIMEOUT: Duration = Duration::from_millis(100);
/// The host's wait for the outcome of a call that was sent; then the connection is dropped as dead.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(3);
/// How often the calls of each shard are looked at: one that answers none of them since the last time is asked itself.
pub const SHARD_WATCH_INTERVAL: Duration = Duration::from_millis(100);
/// A shard's answer to that question, as `PROBE_TIMEOUT`, but on a connection that exists already.
pub const SHARD_PROBE_TIMEOUT: Duration = Duration::from_millis(500);
/// A shard is asked again after this. It serves within two seconds of its return.
pub const SHARD_PROBE_INTERVAL: Duration = Duration::from_millis(500);
/// How long a shard's turn lasts with calls that any shard can answer. Each session changes once for it.
pub const SHARD_TURN: Duration = Duration::from_secs(1);
/// How often a router looks whether the client of a statement is still there (`client_connection_check_interval`): the
/// only thing that ends a statement that waits for a shard that hangs. PL/Proxy 2.10 does not apply its own timeouts
/// while it waits for a single shard, and to cancel a statement it waits for that shard.
pub const ROUTER_CLIENT_CHECK: Duration = Duration::from_secs(1);
/// A router drops a connection to a shard whose machine has not acknowledged for this long (`tcp_user_timeout`): it was
/// switched off, or its address has moved.
pub const SHARD_TCP_TIMEOUT: Duration = Duration::from_secs(2);
/// A router itself ends a statement only after this, when its client is long gone: see `ROUTER_CLIENT_CHECK`.
pub const ROUTER_STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// How often the database is probed, on a separate connection. While it is unavailable only the probe contacts it;
/// service resumes within two seconds and five round trips of its return.
pub const POOL_PROBE_INTERVAL: Duration = Duration::from_millis(500);
/// How long a node that starts waits for its database, which may be starting too.
pub const DATABASE_START_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of one file of `sql/`. A dump of a small table fits; more is a restore, which is not a migration.
pub const MIGRATION_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// A statement of a migration waits this long for a lock (`galo migrate --lock-timeout`). While it waits, every call
/// that wants the same table waits behind it, and a call gives up after `LOCK_TIMEOUT`.
pub const MIGRATION_LOCK_TIMEOUT: Duration = Duration::from_secs(3);
/// A statement of a migration runs this long (`galo migrate --statement-timeout`): to rewrite a million rows takes
/// seconds, but a loop would run for ever.
pub const MIGRATION_STATEMENT_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// One migration waits this long for another one of the same database (`galo migrate --wait`), as when several nodes
/// are deployed at once.
pub const MIGRATION_TURN_TIMEOUT: Duration = Duration::from_secs(60);
/// How often it looks whether the other one has ended.
pub const MIGRATION_TURN_POLL: Duration = Duration::from_millis(100);
/// No timeout of `galo migrate` is longer than a day.
pub const MIGRATION_SECONDS_MAX: usize = 24 * 60 * 60;
/// A cancelled statement ends at once, unless it is in a part of Postgres that cannot be interrupted.
pub const MIGRATION_STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// A copy of a database waits this long until nothing is connected to it; somebody has to close a psql.
pub const BRANCH_TIMEOUT: Duration = Duration::from_secs(120);
/// The pause between two tries; Postgres itself waits 5 s in each.
pub const BRANCH_POLL: Duration = Duration::from_millis(200);
/// Bytes of the name of a database, which Postgres would cut silently: NAMEDATALEN - 1.
pub const DATABASE_NAME_BYTES_MAX: usize = 63;
/// Between two tries of a start.
pub const DATABASE_START_PAUSE: Duration = Duration::from_millis(200);
/// A connection that has been idle for less than this is not closed for a new one: a request may be on its way.
pub const ROOM_GRACE: Duration = Duration::from_millis(100);
/// The connection of a client that has read nothing of its answer for this long is closed for a new one before any idle
/// one. A lost segment is sent again sooner.
pub const WRITE_GRACE: Duration = Duration::from_millis(500);
/// The interval at which a connection that can be closed is searched while a new one waits. A request takes about a
/// millisecond.
pub const ROOM_PAUSE: Duration = Duration::from_millis(10);
/// Closing connections for new ones is logged the first time, and again after this long without one.
pub const ROOM_LOG_PAUSE: Duration = Duration::from_secs(60);
/// The pause after `accept` failed, most likely because file descriptors ran out: connections that end free some.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// From SIGTERM to the end, while requests in flight are answered. Longer than the longest call.
pub const DRAIN_GRACE: Duration = Duration::from_secs(10);
/// The end of a node waits this long for its state to be recorded: a disk writes and syncs it in milliseconds, and one
/// that hangs must not keep the node from ending.
pub const STATE_CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The end of the process waits this long for the log's last lines. A reader that has not read them by then is stuck.
pub const LOG_FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// Between two tries to write the log to a pipe that is full and does not block.
pub const LOG_RETRY_PAUSE: Duration = Duration::from_millis(10);
/// The pause before a task that ended unexpectedly is restarted: one that fails at once must not take a core.
pub const TASK_RESTART_PAUSE: Duration = Duration::from_secs(1);
/// `Retry-After` of a 503, in seconds: after another probe of the database the answer may be different.
pub const RETRY_AFTER_SECONDS: u64 = 1;
/// One request of `galo handlers` or `galo rollback` to a node, from the connect to the last byte. A node answers it
/// from memory; a person waits for it.
pub const OPERATOR_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of a node's answer to it: 4,096 handlers, each with a refusal, a generation that was rolled back, and what the
/// gate found.
pub const OPERATOR_ANSWER_BYTES_MAX: usize = 48 * 1024 * 1024;
/// Time that one unit test of a handler may take under `galo test`.
pub const HANDLER_TEST_TIMEOUT: Duration = Duration::from_secs(60);
/// For making, filling and dropping a scratch database, and for the SQL of an example: each takes a tenth of a second,
/// but a loop in it would run for ever.
pub const SCRATCH_TIMEOUT: Duration = Duration::from_secs(30);
/// For the end of tests after a signal: the build is killed, and an example takes its deadline at most.
pub const TESTS_STOP_MAX: Duration = Duration::from_secs(5);
/// Memory one unit test of a handler may take: the test harness is a std program.
pub const HANDLER_TEST_MEMORY_BYTES: usize = 256 * 1024 * 1024;

// ---- reload ------------------------------------------------------------------------------------------------------

/// How much longer than the old generation's the guest calls of a canary may take: below it, machines differ from one
/// hour to the next.
pub const CANARY_TOLERANCE: f64 = 1.2;
/// At most one clean deployment in so many is taken back for being slow.
pub const CANARY_FALSE_ALARM_ONE_IN: f64 = 1000.0;
/// Paths that are named when a canary answers otherwise: the first ones tell what it is about.
pub const CANARY_PATHS_MAX: usize = 3;
/// Steps of a deployment.
pub const CANARY_STEPS_MAX: usize = 32;
/// How long a step may be held: a day.
pub const CANARY_HOLD_SECONDS_CEILING: usize = 24 * 3600;
/// How long a step is held unless another time is asked for.
pub const CANARY_HOLD_SECONDS_DEFAULT: usize = 60;
/// How often `galo deploy` asks the nodes while it holds a step: when one has rolled back, the others follow this soon.
pub const CANARY_ASK_INTERVAL: Duration = Duration::from_millis(500);
/// Nodes of one deployment.
pub const DEPLOY_NODES_MAX: usize = 256;
/// Deployments that wait for the one that is being verified.
pub const DEPLOYMENTS_MAX: usize = 4;
/// How often it is looked whether the component of a deployment was compiled.
pub const DEPLOY_COMPILING_PAUSE: Duration = Duration::from_millis(50);
/// One deployment, from the first byte to the verdict: to compile and to verify.
pub const DEPLOY_TIMEOUT: Duration = Duration::from_secs(180);
/// Bytes of a deployment's request: a component in base64, its signature and the options.
pub const DEPLOY_BYTES_MAX: usize = 44 * 1024 * 1024;
/// Generations of a handler that are kept for `galo rollback --to`.
pub const HISTORY_MAX: usize = 10;
/// Rolled-back generations of a handler that are not taken from the handlers folder again: more than an operator rolls
/// back before the folder changes.
pub const BARS_MAX: usize = 16;
/// Entries of the audit log that are kept in memory for the admin address: some weeks of a busy team.
pub const AUDIT_ENTRIES_MAX: usize = 1000;
/// Bytes of the file of the audit log. When it is full it becomes the one before, which is replaced.
pub const AUDIT_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Bytes of the name of who did something.
pub const WHO_BYTES_MAX: usize = 256;
/// Bytes of a file of public keys: hundreds of them.
pub const TRUST_BYTES_MAX: u64 = 64 * 1024;
/// Bytes of a signature: minisign's have four lines, one of them a comment.
pub const SIGNATURE_BYTES_MAX: u64 = 8 * 1024;

/// Calls that a new generation serves on probation: a fault that one request in 200 meets occurs among them in 99 of
/// 100 cases.
pub const PROBATION_CALLS_DEFAULT: u64 = 1000;
/// What a manifest may ask for.
pub const PROBATION_CALLS_CEILING: usize = 1_000_000_000;
/// Time that a new generation serves on probation, however many calls it gets. Both must have passed.
pub const PROBATION_DEFAULT: Duration = Duration::from_secs(10);
/// The most a manifest may set: a week.
pub const PROBATION_SECONDS_CEILING: usize = 7 * 24 * 3600;
/// Bytes of a refusal's message: the first differences show what is wrong.
pub const REFUSAL_BYTES_MAX: usize = 3 * 1024;
/// Bytes of the cache of compiled components: 4,096 components made with the kit, and what was compiled during their
/// development. Beyond it the oldest are removed.
pub const CACHE_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;
/// Examples of one handler.
pub const EXAMPLES_MAX: usize = 256;
/// CPU time of all examples of a handler together: ours take 1 ms. Handlers are verified one after the other, so a
/// component that loops delays the swap of another by this and one deadline.
pub const EXAMPLES_CPU_MAX: Duration = Duration::from_secs(2);
/// Bytes of the corpus of a handler, the recorded requests deployed with it: 4,096 of 4 KiB.
pub const CORPUS_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Records of a corpus. `galo record` writes a thousand unless it is asked for more.
pub const CORPUS_RECORDS_MAX: usize = 5_000;
/// The last records of a handler's ring that a candidate is compared on: as many as a corpus has.
pub const RECORDS_GATE_MAX: usize = CORPUS_RECORDS_MAX;
/// CPU time of the gate: 5,000 records of ours take 0.6 s, and twice that where both generations decide. What is left
/// over is counted as skipped, and the swap of another handler is delayed by no more than this and one deadline.
pub const GATE_CPU_MAX: Duration = Duration::from_secs(2);
/// Paths that a comparison counts by themselves; further ones are counted together.
pub const GATE_PATHS_MAX: usize = 8;
/// Bytes of such a path: the names of some fields within each other. The rest is cut.
pub const GATE_PATH_BYTES_MAX: usize = 96;
/// Reasons for skipping a record that a comparison counts by themselves.
pub const GATE_REASONS_MAX: usize = 4;
/// Requests, and differences of each, that `galo dev` shows of those that would be answered otherwise.
pub const GATE_REQUESTS_SHOWN: usize = 5;
/// Bytes of a value in them.
pub const GATE_VALUE_BYTES_SHOWN: usize = 60;
/// Candidates of a handler whose changes were accepted and are remembered: more than are rolled back and forth.
pub const ACCEPTED_MAX: usize = 16;
/// Bytes of the file of accepted digests of a handler: some hundreds of them.
pub const ACCEPTED_BYTES_MAX: u64 = 64 * 1024;
/// Digits of a digest that name a candidate to `galo accept`: by chance one in 16 million begins alike.
pub const ACCEPT_DIGITS_MIN: usize = 6;
/// Shadows that a node runs at once. Each has a thread, and an instance of the pool while that calls.
pub const SHADOWS_MAX: usize = 4;
/// Shadows whose counts are kept when they have ended.
pub const SHADOWS_KEPT_MAX: usize = 64;
/// Requests that wait for a shadow. What does not fit is dropped and counted.
pub const SHADOW_QUEUE_MAX: usize = 1024;
/// Bytes of the requests that wait for all shadows of a node, on top of [`SHADOW_QUEUE_MAX`]: one has up to a few MiB.
pub const SHADOW_QUEUE_BYTES_MAX: usize = RECORD_QUEUE_BYTES_MAX;
/// One request in so many also runs on a shadow, unless another number is given.
pub const SHADOW_EVERY_DEFAULT: usize = 10;
/// How long a shadow runs unless another time is given.
pub const SHADOW_DEFAULT: Duration = Duration::from_secs(10 * 60);
/// The longest: a day has every kind of traffic.
pub const SHADOW_CEILING: Duration = Duration::from_secs(24 * 3600);
/// How often a shadow checks whether it was stopped, and how often its compilation is asked after.
pub const SHADOW_POLL: Duration = Duration::from_millis(100);
/// Priority of a shadow: behind everything else, so that it takes what nothing else wants.
pub const SHADOW_NICENESS: i32 = 19;
/// How long a node waits for the bytes of a component that is sent to it: 32 MiB over a slow network.
pub const UPLOAD_TIMEOUT: Duration = Duration::from_secs(60);
/// How often `galo shadow` asks the node for the counts.
pub const SHADOW_REPORT_EVERY: Duration = Duration::from_secs(1);
/// How often it prints them where they cannot be written over.
pub const SHADOW_PRINT_EVERY: Duration = Duration::from_secs(10);
/// Names of members of JSON that are known of a handler: those of its examples.
pub const MEMBERS_MAX: usize = 10_000;
/// Bytes of one example: a body of the largest size, and the expected results.
pub const EXAMPLE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// A folder without an event for this long has come to rest. `cp` and the linker write without pauses; a file that is
/// read half-written is rejected and tried again.
pub const WATCH_QUIET: Duration = Duration::from_millis(5);
/// A folder that does not come to rest is scanned after this.
pub const WATCH_QUIET_MAX: Duration = Duration::from_millis(100);
/// The upper bound of the pause between two attempts at something that may pass by itself. The pause doubles each time.
pub const RETRY_PAUSE_MAX: Duration = Duration::from_secs(30);
/// A manifest that removes something (a handler, a grant, a limit) is applied when it has not changed for this long: a
/// program that writes it in place has finished by then.
pub const REMOVAL_PAUSE: Duration = Duration::from_secs(1);
/// A handler that has left the manifest is kept this long: if it is added again, it continues where it was.
pub const HANDLER_KEPT: Duration = Duration::from_secs(600);
/// The same for its record in the state folder: a component that was rolled back is still barred after a night.
pub const STATE_LEFT_KEPT: Duration = Duration::from_secs(24 * 3600);
/// To scan the handlers folder and read its manifest: milliseconds, unless a network file system hangs.
pub const FOLDER_TIMEOUT: Duration = Duration::from_secs(5);
/// For the fingerprints of all handlers together: a `stat` for each file. One that does not answer is scanned later.
pub const FINGERPRINT_TIMEOUT: Duration = Duration::from_secs(1);
/// Threads that may call the file system at once: one that hangs in the kernel cannot be ended, and must not take all
/// of them.
pub const FOLDER_THREADS_MAX: usize = 4;
/// To build one handler, from nothing: an engine in C++ takes minutes. A command that waits for a terminal never ends.
pub const BUILD_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// Between SIGTERM and SIGKILL to the processes of a build that is stopped.
pub const BUILD_KILL_AFTER: Duration = Duration::from_secs(2);
/// For the output of a build's program that has ended, once everything in its process group was killed. A daemon that
/// has left the group may hold it open for ever.
pub const BUILD_OUTPUT_AFTER: Duration = Duration::from_secs(2);
/// Between two looks at a build under way.
pub const BUILD_POLL: Duration = Duration::from_millis(20);
/// Lines of a build command that are shown as they come; of those after it, only the last ones.
pub const BUILD_LINES_MAX: usize = 1000;
/// The last lines: where a compiler's error usually is.
pub const BUILD_LINES_LAST: usize = 40;
/// Bytes of one such line; the rest of it is left out.
pub const BUILD_LINE_BYTES_MAX: usize = 4096;
/// Globs that a handler's build command may watch.
pub const BUILD_GLOBS_MAX: usize = 64;
/// Builds in a row during each of which a file has changed, and never between two of them: the build writes it. A
/// person who saves that often while it is built is still followed.
pub const OUTPUT_BUILDS: u32 = 4;
/// Source files that are followed. A scan of so many takes 0.2 s.
pub const SOURCES_MAX: usize = 20_000;
/// Bytes of a source file whose content is compared; a larger one has changed when its size or times have.
pub const SOURCE_BYTES_MAX: u64 = 1024 * 1024;
/// Between two scans of a folder without events. A scan costs a few `stat` per handler.
pub const WATCH_INTERVAL: Duration = Duration::from_secs(2);
/// To open a connection for the catalogue, and to look up one procedure: six round trips each.
pub const CATALOGUE_TIMEOUT: Duration = Duration::from_secs(5);
/// To verify one compiled candidate, at low priority beside a full load. Ours take 6 ms.
pub const VERIFY_TIMEOUT: Duration = Duration::from_secs(60);
/// To compile and verify all handlers at a start: 4,096 of ours take 3 minutes on one core.
pub const VERIFY_START_TIMEOUT: Duration = Duration::from_secs(600);
/// Niceness of the thread that verifies and of the compilers: beside busy workers they get a quarter of a core.
pub const RELOAD_NICENESS: i32 = 6;

// ---- compiling ---------------------------------------------------------------------------------------------------

/// Memory that compiling one component may take: private writable memory, which is what the kernel must find room for
/// (`RLIMIT_DATA`). Ours take under 40 MiB; a JavaScript engine of 12 MB takes 500 MB.
pub const COMPILE_MEMORY_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// If the container or the service has a limit, a compiler may use what the node leaves of it, but never less than
/// this: an empty compiler has 33 MiB, ours fit into 40. A node of the compose stack leaves 70 of its 80 MB.
pub const COMPILE_MEMORY_BYTES_MIN: u64 = 40 * 1024 * 1024;
/// CPU time of it. Ours take 0.1 s, the JavaScript engine 14 s.
pub const COMPILE_CPU_MAX: Duration = Duration::from_secs(30);
/// Time of it. Beside a full load it gets a quarter of a core: the CPU time above, four times.
pub const COMPILE_TIMEOUT: Duration = Duration::from_secs(120);
/// Bytes of a compiled form. Native code and its tables are three to six times the component.
pub const COMPILED_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Compilers that run while the node serves. Each that has not ended within `COMPILE_TURN` keeps one of these places.
pub const COMPILERS_MAX: usize = 4;
/// For this long a compiler runs alone, so that usually only one takes memory at a time; those of small components have
/// ended by then. After it the next one starts, so a slow component delays another by no more than this.
pub const COMPILE_TURN: Duration = Duration::from_millis(500);
/// Bytes of a compiler's output that are kept: the reason why it rejects a component.
pub const COMPILER_OUTPUT_BYTES_MAX: u64 = 64 * 1024;
/// Bytes of the test program of a handler, as Cargo makes it.
pub const COMPILE_TEST_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Memory that compiling the test program of a handler may take: std and libtest, on a developer's machine.
pub const COMPILE_TEST_MEMORY_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// CPU time and time of it.
pub const COMPILE_TEST_TIMEOUT: Duration = Duration::from_secs(300);

/// Timeouts for clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientTimeouts {
    /// A connection without a request.
    pub idle: Duration,
    /// The headers of a request, once begun.
    pub head: Duration,
    /// The body of a request.
    pub body: Duration,
}

impl Default for ClientTimeouts {
    fn default() -> Self {
        Self { idle: IDLE_TIMEOUT_DEFAULT, head: HEAD_TIMEOUT_DEFAULT, body: BODY_TIMEOUT_DEFAULT }
    }
}

/// What compiling one component may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileLimits {
    /// Bytes of the component.
    pub component_bytes_max: u64,
    /// Bytes of private writable memory.
    pub memory_bytes_max: u64,
    /// CPU time, in whole seconds.
    pub cpu: Duration,
    /// Time from its start to its end.
    pub timeout: Duration,
}

impl CompileLimits {
    /// Those of the test program of a handler.
    pub fn of_tests() -> Self {
        Self {
            component_bytes_max: COMPILE_TEST_BYTES_MAX,
            memory_bytes_max: COMPILE_TEST_MEMORY_BYTES_MAX,
            cpu: COMPILE_TEST_TIMEOUT,
            timeout: COMPILE_TEST_TIMEOUT,
        }
    }
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self {
            component_bytes_max: COMPONENT_BYTES_MAX,
            memory_bytes_max: COMPILE_MEMORY_BYTES_MAX,
            cpu: COMPILE_CPU_MAX,
            timeout: COMPILE_TIMEOUT,
        }
    }
}

/// What one call of a handler may cost: the defaults above, or the values in its manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandlerLimits {
    /// Bytes of the request's body.
    pub body_bytes_max: usize,
    /// Bytes of linear memory.
    pub memory_bytes_max: usize,
    /// Time for each of the two functions.
    pub deadline: Duration,
    /// Bytes returned by one function.
    pub reply_bytes_max: usize,
    /// Elements of all tables.
    pub table_elements_max: usize,
    /// Calls of a new generation until it has proved itself.
    pub probation_calls: u64,
    /// Time until then, however many calls there are.
    pub probation: Duration,
}

/// Memory that a guest needs for `prepare` with a body of this size and an ordinary head: the body as it is received,
/// and once more as what was read from it. JSON of many small values takes more than that.
pub const fn memory_for_body(body_bytes: usize) -> usize {
    GUEST_OWN_BYTES + 2 * body_bytes
}

/// Memory that a guest needs for `respond` with a body that it carried over whole, the largest rows as they are
/// received, and a reply of this size, whose room doubles while it is written.
pub const fn memory_for_reply(body_bytes: usize, reply_bytes: usize) -> usize {
    GUEST_OWN_BYTES + body_bytes + ROWS_BYTES_MAX + 2 * reply_bytes
}

impl HandlerLimits {
    /// Whether every limit that the others set is set here too, perhaps to another value.
    pub fn keeps(&self, others: &Self) -> bool {
        let default = Self::default();
        let kept = |of: &dyn Fn(&Self) -> u128| of(others) == of(&default) || of(self) != of(&default);
        kept(&|limits| limits.body_bytes_max as u128)
            && kept(&|limits| limits.memory_bytes_max as u128)
            && kept(&|limits| limits.deadline.as_nanos())
            && kept(&|limits| limits.reply_bytes_max as u128)
            && kept(&|limits| limits.table_elements_max as u128)
            && kept(&|limits| u128::from(limits.probation_calls))
            && kept(&|limits| limits.probation.as_nanos())
    }
}

impl Default for HandlerLimits {
    fn default() -> Self {
        Self {
            body_bytes_max: BODY_BYTES_DEFAULT,
            memory_bytes_max: MEMORY_BYTES_DEFAULT,
            deadline: DEADLINE_DEFAULT,
            reply_bytes_max: REPLY_BYTES_DEFAULT,
            table_elements_max: TABLE_ELEMENTS_DEFAULT,
            probation_calls: PROBATION_CALLS_DEFAULT,
            probation: PROBATION_DEFAULT,
        }
    }
}

const _: () = assert!(COMPILE_TURN.as_millis() < 1000 && COMPILE_CPU_MAX.as_secs() * 4 <= COMPILE_TIMEOUT.as_secs());
const _: () = assert!(COMPONENT_BYTES_MAX * 6 <= COMPILED_BYTES_MAX && COMPILED_BYTES_MAX <= CACHE_BYTES_MAX);
const _: () = assert!(COMPONENT_BYTES_MAX * 4 <= STATE_BYTES_MAX);
const _: () = assert!(COMPILE_TIMEOUT.as_secs() < DEPLOY_TIMEOUT.as_secs());
const _: () = assert!(COMPONENT_BYTES_MAX / 3 * 4 + 64 * 1024 <= DEPLOY_BYTES_MAX as u64);
const _: () = assert!(BUILD_POLL.as_millis() < BUILD_KILL_AFTER.as_millis());
const _: () = assert!(BUILD_KILL_AFTER.as_millis() < BUILD_TIMEOUT.as_millis());
const _: () = assert!(BUILD_POLL.as_millis() < BUILD_OUTPUT_AFTER.as_millis());
const _: () = assert!(BUILD_KILL_AFTER.as_millis() + BUILD_OUTPUT_AFTER.as_millis() < TESTS_STOP_MAX.as_millis());
const _: () = assert!(BUILD_LINES_LAST < BUILD_LINES_MAX);
const _: () = assert!(WATCH_QUIET.as_millis() < WATCH_QUIET_MAX.as_millis());
const _: () = assert!(WATCH_QUIET_MAX.as_millis() < WATCH_INTERVAL.as_millis());
const _: () = assert!(BODY_BYTES_DEFAULT <= BODY_BYTES_CEILING);
const _: () = assert!(ADMIN_TOKEN_BYTES_MIN < ADMIN_TOKEN_BYTES_MAX && ADMIN_TOKEN_BYTES_MAX * 4 <= HEAD_BYTES_MAX);
// The routes of all handlers together are shorter than the manifest.
const _: () = assert!(
    (HANDLERS_MAX * (REFUSAL_BYTES_MAX + FAULT_BYTES_MAX + 1024 + 2048)) as u64 + MANIFEST_BYTES_MAX
        <= OPERATOR_ANSWER_BYTES_MAX as u64
);
const _: () = assert!(TAP_CURSOR_BYTES_MAX < HEAD_BYTES_MAX);
// A person waits for the answer of a node, of which the procedure is a part.
const _: () = assert!(EXPLAIN_TIMEOUT.as_millis() < OPERATOR_TIMEOUT.as_millis());
const _: () = assert!(MEMORY_BYTES_DEFAULT <= MEMORY_BYTES_CEILING);
const _: () = assert!(MEMORY_KEEP_RESIDENT_BYTES <= MEMORY_BYTES_CEILING);
const _: () = assert!(MEMORY_BYTES_CEILING as u64 <= MEMORY_RESERVATION_BYTES);
const _: () = assert!(TABLES_PER_COMPONENT >= 2 * MEMORIES_PER_COMPONENT);
const _: () = assert!(CORE_INSTANCES_PER_COMPONENT >= 4 * MEMORIES_PER_COMPONENT);
// Half of the 128 TiB of address space that a process of x86-64 or aarch64 has, far from what libraries take.
const _: () = assert!(
    (INSTANCES_MAX * MEMORIES_PER_COMPONENT) as u64 * (MEMORY_RESERVATION_BYTES + MEMORY_GUARD_BYTES) < 64 << 40
);
const _: () = assert!(WARM_MEMORIES_MAX <= INSTANCES_MAX * MEMORIES_PER_COMPONENT);
const _: () = assert!(WARM_MEMORIES_MAX as usize * MEMORY_KEEP_RESIDENT_BYTES <= GUESTS_RESIDENT_BYTES_MAX);
// The defaults hold together: a body of the default size fits into the memory that a guest begins with, the largest
// request and the largest rows with the largest reply fit into the default memory, and the ceilings fit into the
// ceiling.
const _: () = assert!(memory_for_body(BODY_BYTES_DEFAULT) <= MEMORY_BYTES_MIN);
const _: () = assert!(
    // Twice: a token of the head is also there as its claims.
    2 * HEAD_BYTES_MAX + CONFIG_BYTES_MAX + memory_for_body(BODY_BYTES_CEILING) <= MEMORY_BYTES_DEFAULT
);
const _: () = assert!(ROWS_BYTES_MAX <= REPLY_BYTES_DEFAULT);
const _: () = assert!(memory_for_reply(BODY_BYTES_DEFAULT, REPLY_BYTES_DEFAULT) <= MEMORY_BYTES_DEFAULT);
const _: () = assert!(memory_for_reply(BODY_BYTES_CEILING, REPLY_BYTES_CEILING) <= MEMORY_BYTES_CEILING);
const _: () = assert!(TABLE_ELEMENTS_DEFAULT <= TABLE_ELEMENTS_CEILING);
const _: () = assert!(EPOCH_TICK.as_millis() * 4 <= DEADLINE_DEFAULT.as_millis());
const _: () = assert!(DEADLINE_DEFAULT.as_millis() <= DEADLINE_CEILING.as_millis());
const _: () = assert!(GUEST_STACK_BYTES * 4 <= WORKER_STACK_BYTES);
const _: () = assert!(WORKERS_MAX + BLOCKING_THREADS_MAX + SLOW_THREADS_MAX + SHADOWS_MAX <= INSTANCES_MAX as usize);
const _: () = assert!(GUEST_SLICE.as_millis() < EPOCH_TICK.as_millis());
const _: () = assert!(SLOW_CALLS_PER_GENERATION < SLOW_THREADS_MAX);
// A proxy's configuration has it in KiB.
const _: () = assert!(RESPONSE_HEAD_BYTES_MAX.is_multiple_of(1024) && HOST_HEAD_BYTES_MAX < RESPONSE_HEAD_BYTES_MAX);
// 512 for the status line and what the host adds: date, length, connection. 256 for the names of CORS' headers.
const _: () = assert!(512 + CORS_BYTES_MAX + 256 <= HOST_HEAD_BYTES_MAX);
// A character that has to be escaped is at most seven bytes of nginx's configuration, for one: `$`. 64 for the code.
const _: () = assert!(7 * MESSAGE_BYTES_MAX + 64 < 4096);
const _: () = assert!(WRITE_TIMEOUT.as_millis() < DRAIN_GRACE.as_millis());
const _: () = assert!(WRITE_GRACE.as_millis() < WRITE_TIMEOUT.as_millis());
const _: () = assert!(CORS_MAX_AGE_DEFAULT.as_secs() <= CORS_MAX_AGE_CEILING.as_secs());
const _: () = assert!(ROOM_PAUSE.as_millis() < ROOM_GRACE.as_millis());
const _: () = assert!(HEAD_TIMEOUT_DEFAULT.as_millis() < DRAIN_GRACE.as_millis());
const _: () = assert!(BODY_TIMEOUT_DEFAULT.as_millis() < DRAIN_GRACE.as_millis());
const _: () = assert!(BACKLOG_DEFAULT <= BACKLOG_CEILING);
const _: () = assert!(POOL_PROBE_INTERVAL.as_millis() + CONNECT_STAGGER.as_millis() < 2000);
const _: () = assert!(POOL_PROBE_INTERVAL.as_millis() + PROBE_TIMEOUT.as_millis() < CALL_TIMEOUT.as_millis());
const _: () = assert!(POOL_FILL_PAUSE_MAX.as_millis() + POOL_PROBE_INTERVAL.as_millis() < 5000);
const _: () = assert!(CONNECT_TIMEOUT_DEFAULT.as_millis() <= PROBES_MAX as u128 * POOL_PROBE_INTERVAL.as_millis());
const _: () = assert!(CONNECT_TIMEOUT_DEFAULT.as_millis() <= CONNECT_TIMEOUT_CEILING.as_millis());
const _: () = assert!(ACQUIRE_TIMEOUT.as_millis() < 1000);
const _: () = assert!(LOCK_TIMEOUT.as_millis() < STATEMENT_TIMEOUT.as_millis());
const _: () = assert!(STATEMENT_TIMEOUT.as_millis() < CALL_TIMEOUT.as_millis());
const _: () = assert!(CALL_TIMEOUT.as_millis() < DRAIN_GRACE.as_millis());
const _: () = assert!(CALL_TIMEOUT.as_secs() + 2 * ROUTER_CLIENT_CHECK.as_secs() < ROUTER_STATEMENT_TIMEOUT.as_secs());
const _: () = assert!(BATCH_CALLS_MAX <= LANE_CALLS_MAX && IN_FLIGHT_MAX_DEFAULT <= LANE_CALLS_MAX);
const _: () = assert!(POOL_CONNECTIONS_DEFAULT <= POOL_CONNECTIONS_CEILING);
const _: () = assert!(2 * (POOL_CONNECTIONS_CEILING + BATCH_CONNECTIONS_MAX + 2) <= 200 - 3);
const _: () = assert!(LANES_MAX.is_power_of_two() && LANES_MAX <= POOL_CONNECTIONS_CEILING);
const _: () = assert!(KEY_CALLS_MAX * 4 <= IN_FLIGHT_MAX_DEFAULT && KEY_CALLS_MAX <= LANE_CALLS_MAX);
const _: () = assert!(TRACES_BATCH_DEFAULT <= TRACES_QUEUE_DEFAULT && TRACES_QUEUE_DEFAULT <= TRACES_QUEUE_CEILING);
const _: () = assert!("galo/".len() + NODE_NAME_BYTES_MAX + " batches".len() <= IDENTIFIER_BYTES_MAX);
const _: () = assert!(BATCH_LOCK_TIMEOUT.as_millis() < BATCH_STATEMENT_TIMEOUT.as_millis());
const _: () = assert!(BATCH_STATEMENT_TIMEOUT.as_millis() < STATEMENT_TIMEOUT.as_millis());
