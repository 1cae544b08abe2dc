//! Chromium without a window, driven over the pipe of its developer tools: no port, no driver, no
//! crate. A message is JSON and ends with a zero byte.
//!
//! Where there is no Chromium the tests say that they are skipped; with `HARDLOG_REQUIRE_PROGRAMS`
//! set they fail instead.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

const PROGRAMS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
/// How long an answer may take on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

/// A browser with one page.
pub(crate) struct Browser {
    child: Child,
    to: File,
    from: Receiver<Value>,
    session: String,
    id: u64,
    /// Errors of scripts, and what was said on the console as one.
    pub(crate) errors: Vec<String>,
    _home: TempDir,
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have gone already; nothing is left to do then.
        let _ = self.send("Browser.close", json!({}), false);
        for _ in 0..50 {
            if self.child.try_wait().is_ok_and(|ended| ended.is_some()) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Browser {
    /// Starts one; `None`, and a word of it, where there is none.
    pub(crate) fn start() -> Option<Self> {
        let runs = |program: &&&str| {
            let quiet = Command::new(program).arg("--version").stdout(Stdio::null()).status();
            quiet.is_ok_and(|status| status.success())
        };
        let Some(program) = PROGRAMS.iter().find(runs) else {
            let required = std::env::var_os("HARDLOG_REQUIRE_PROGRAMS").is_some();
            assert!(!required, "no Chromium, and HARDLOG_REQUIRE_PROGRAMS is set");
            eprintln!("SKIPPED: no Chromium on this machine");
            return None;
        };
        let home = TempDir::new().unwrap();
        let path = |name: &str| home.path().join(name);
        for pipe in ["in", "out"] {
            assert!(Command::new("mkfifo").arg(path(pipe)).status().unwrap().success());
        }
        // Opened for both, a pipe waits for nobody.
        let open = |name| OpenOptions::new().read(true).write(true).open(path(name)).unwrap();
        let (to, out) = (open("in"), open("out"));
        let child = Command::new("sh")
            .arg("-c")
            .arg("exec \"$0\" \"$@\" 3<\"$HOME/in\" 4>\"$HOME/out\"")
            .args([program, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
            .args(["--remote-debugging-pipe", "--no-first-run", "--disable-extensions"])
            .args(["--disable-background-networking", "--window-size=1400,860"])
            .arg(format!("--user-data-dir={}", path("profile").display()))
            .env("HOME", home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (send, from) = channel();
        thread::spawn(move || {
            for message in BufReader::new(out).split(0).map_while(Result::ok) {
                let Ok(message) = serde_json::from_slice(&message) else { continue };
                if send.send(message).is_err() {
                    return;
                }
            }
        });
        let (session, errors) = (String::new(), Vec::new());
        let mut browser = Self { child, to, from, session, id: 0, errors, _home: home };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", attach);
        browser.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    fn send(&mut self, method: &str, params: Value, in_page: bool) -> std::io::Result<()> {
        self.id += 1;
        let mut message = json!({ "id": self.id, "method": method, "params": params });
        if in_page {
            message["sessionId"] = json!(self.session);
        }
        self.to.write_all(message.to_string().as_bytes())?;
        self.to.write_all(&[0])
    }

    /// Asks, and waits for the answer.
    pub(crate) fn call(&mut self, method: &str, params: Value) -> Value {
        self.send(method, params, !self.session.is_empty()).unwrap();
        let (id, until) = (self.id, Instant::now() + PATIENCE);
        loop {
            let message = self.next(until, method);
            if message["id"] == id {
                assert!(message.get("error").is_none(), "{method}: {message}");
                return message["result"].clone();
            }
        }
    }

    /// The next message; what is an error of a script is kept.
    fn next(&mut self, until: Instant, waiting: &str) -> Value {
        let left = until.saturating_duration_since(Instant::now());
        let message = self.from.recv_timeout(left);
        let message = message.unwrap_or_else(|_| panic!("no answer in time to {waiting}"));
        let params = &message["params"];
        match message["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" => self.errors.push(params.to_string()),
            "Runtime.consoleAPICalled" if params["type"] == "error" => {
                self.errors.push(params.to_string());
            }
            "Log.entryAdded" if params["entry"]["level"] == "error" => {
                self.errors.push(params["entry"]["text"].to_string());
            }
            _ => {}
        }
        message
    }

    /// Opens a page, with a link's end, and waits until it is drawn.
    pub(crate) fn open(&mut self, page: &Path, link: &str) {
        // Another address of the same page would only change its link.
        self.call("Page.navigate", json!({ "url": "about:blank" }));
        let url = format!("file://{}{link}", page.display());
        self.call("Page.navigate", json!({ "url": url }));
        let until = Instant::now() + PATIENCE;
        while self.eval("document.readyState") != "complete" {
            assert!(Instant::now() < until, "{url} does not load");
            thread::sleep(Duration::from_millis(20));
        }
        self.frame();
    }

    /// Waits for two frames.
    pub(crate) fn frame(&mut self) {
        self.eval(
            "new Promise(r => requestAnimationFrame(() => requestAnimationFrame(() => r(1))))",
        );
    }

    /// The value of an expression in the page.
    pub(crate) fn eval(&mut self, expression: &str) -> Value {
        let params =
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let answer = self.call("Runtime.evaluate", params);
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// A text of the page.
    pub(crate) fn text(&mut self, expression: &str) -> String {
        self.eval(expression)
            .as_str()
            .unwrap_or_else(|| panic!("{expression} is no text"))
            .to_owned()
    }

    /// A key goes down and up.
    pub(crate) fn key(&mut self, key: &str) {
        let text = if key.chars().count() == 1 { key } else { "" };
        let key = json!({ "type": "keyDown", "key": key, "text": text });
        self.call("Input.dispatchKeyEvent", key.clone());
        let mut up = key;
        up["type"] = json!("keyUp");
        self.call("Input.dispatchKeyEvent", up);
        self.frame();
    }

    /// The mouse moves, and clicks if asked.
    pub(crate) fn mouse(&mut self, x: f64, y: f64, click: bool) {
        let kinds: &[&str] =
            if click { &["mouseMoved", "mousePressed", "mouseReleased"] } else { &["mouseMoved"] };
        for kind in kinds {
            let button = if click { "left" } else { "none" };
            let event = json!({ "type": kind, "x": x, "y": y, "button": button, "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", event);
        }
        self.frame();
    }

    /// What the system asks for: `dark` or `light`.
    pub(crate) fn prefers(&mut self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features }));
    }

    /// Nothing went wrong so far.
    pub(crate) fn no_errors(&self) {
        assert!(self.errors.is_empty(), "{:#?}", self.errors);
    }
}

impl Browser {
    /// What the page looks like, as PNG.
    pub(crate) fn picture(&mut self, to: &Path) {
        self.frame();
        let answer = self.call("Page.captureScreenshot", json!({ "format": "png" }));
        let text = answer["data"].as_str().unwrap();
        std::fs::write(to, base64(text)).unwrap();
    }

    /// The size of the window.
    pub(crate) fn size(&mut self, width: u32, height: u32) {
        let metrics =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", metrics);
    }
}

/// The bytes of a text in base64.
fn base64(text: &str) -> Vec<u8> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => u32::from(c - b'A'),
        b'a'..=b'z' => u32::from(c - b'a') + 26,
        b'0'..=b'9' => u32::from(c - b'0') + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u8> = text.bytes().filter(|c| *c != b'=').collect();
    let mut bytes = Vec::new();
    for four in digits.chunks(4) {
        let bits = four.iter().fold(0, |bits, c| bits << 6 | digit(*c)) << (6 * (4 - four.len()));
        let places = [16, 8, 0].into_iter().take(four.len() - 1);
        bytes.extend(places.map(|place| u8::try_from(bits >> place & 255).unwrap()));
    }
    bytes
}
