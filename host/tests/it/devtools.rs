//! A browser that a test drives: Chromium over its DevTools protocol, on two pipes instead of a port and a WebSocket.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::PATIENCE;

/// A browser with one page.
pub struct Devtools {
    child: Child,
    _folder: TempDir,
    to: File,
    from: BufReader<File>,
    last: u64,
    session: String,
    /// What the page has complained about: errors of its script, what its policy has stopped.
    pub complaints: Vec<String>,
}

impl Devtools {
    /// Starts it, with an empty page of this size.
    pub fn start(width: u32, height: u32) -> Self {
        use std::os::unix::process::CommandExt as _;
        let folder = tempfile::tempdir().unwrap();
        let [input, output, profile] = ["in", "out", "profile"].map(|name| folder.path().join(name));
        [&input, &output].iter().for_each(|path| mkfifo(*path, Mode::S_IRWXU).unwrap());
        let mut command = Command::new("sh");
        // As root it has no sandbox, and a container's /dev/shm is small.
        command.args(["-c", "exec chromium --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
                             --disable-background-networking --remote-debugging-pipe \"--user-data-dir=$3\" 3<\"$1\" 4>\"$2\""]);
        command.args(["sh"]).args([&input, &output, &profile]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let child = command.spawn().unwrap();
        // Both ends wait for each other, in this order.
        let to = File::options().write(true).open(&input).unwrap();
        let from = BufReader::new(File::open(&output).unwrap());
        let (session, complaints) = (String::new(), Vec::new());
        let mut browser = Self { child, _folder: folder, to, from, last: 0, session, complaints };
        let page = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let attached = browser.call("Target.attachToTarget", json!({"targetId": page["targetId"], "flatten": true}));
        browser.session = attached["sessionId"].as_str().unwrap().to_owned();
        ["Page", "Runtime", "Log", "Network"]
            .iter()
            .for_each(|part| drop(browser.call(&format!("{part}.enable"), json!({}))));
        browser.resize(width, height);
        browser
    }

    /// Calls a method of the protocol, and waits for its result.
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let mut message = json!({"id": self.last, "method": method, "params": parameters});
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        self.to.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let mut bytes = Vec::new();
            self.from.read_until(0, &mut bytes).unwrap();
            assert_eq!(bytes.pop(), Some(0), "chromium has ended; is it installed? apt-get install chromium");
            let message: Value = serde_json::from_slice(&bytes).unwrap();
            if message["id"] == self.last {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].clone();
            }
            if matches!(message["method"].as_str(), Some("Log.entryAdded" | "Runtime.exceptionThrown")) {
                self.complaints.push(message["params"].to_string());
            }
        }
    }

    /// Gives the page another size.
    pub fn resize(&mut self, width: u32, height: u32) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", size);
    }

    /// Shows a page.
    pub fn show(&mut self, url: &str) {
        self.call("Page.navigate", json!({"url": url}));
        self.until(&format!("document.readyState == 'complete' && location.href == {}", json!(url)));
    }

    /// The value of an expression in the page, or of its promise.
    pub fn value(&mut self, expression: &str) -> Value {
        let asked = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        self.call("Runtime.evaluate", asked)["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    pub fn until(&mut self, expression: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.value(expression) != true {
            assert!(Instant::now() < deadline, "still not: {expression}\n{:?}", self.complaints);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Presses a key.
    pub fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            other => (0, other),
        };
        let mut event = json!({"type": "keyDown", "key": key, "code": key, "windowsVirtualKeyCode": code});
        if !text.is_empty() {
            event["text"] = json!(text);
        }
        self.call("Input.dispatchKeyEvent", event.clone());
        event["type"] = json!("keyUp");
        event.as_object_mut().unwrap().remove("text");
        self.call("Input.dispatchKeyEvent", event);
    }

    /// Presses Tab until this expression is true of the page.
    pub fn tab_until(&mut self, expression: &str) {
        for _ in 0..200 {
            if self.value(expression) == true {
                return;
            }
            self.press("Tab");
        }
        panic!("no way there with the keyboard: {expression}");
    }
}

impl Drop for Devtools {
    fn drop(&mut self) {
        // Its process group: it has children.
        let _ = killpg(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}
