//! A browser for the tests: Debian's chromedriver and a headless Chromium, spoken to as W3C
//! WebDriver says (<https://www.w3.org/TR/webdriver2/>), with Chromium's additions where the
//! standard has none (media, console).
//!
//! Nothing here waits for a time: everything waits for a condition, at most [`PATIENCE`].

use base64::Engine as _;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Longest wait for a condition; generous, because a loaded machine is not a failure.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(15);
/// Longest single call; starting Chromium on a loaded machine is the slowest.
const CALL_TIME_MAX: Duration = Duration::from_secs(90);
/// Time for a process to end by itself before it is killed.
const END_TIME_MAX: Duration = Duration::from_secs(10);
/// A browser ends after this many seconds even if its test was killed.
const LIFE_MAX_SECONDS: &str = "600";

/// Times that a driver is started until it has its port.
const DRIVER_STARTS_MAX: usize = 10;

const HELP: &str = "The tests of the page need Debian's chromium and chromium-driver; \
.ci/test, the test command of README.md, installs them.";

/// One browser at a time: two of them share two cores badly, and times would mean nothing.
static TURN: Mutex<()> = Mutex::new(());

/// The key of an element reference (WebDriver, section "Elements").
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// The keys that a keyboard has and text has not (WebDriver, "Keyboard actions").
pub const TAB: char = '\u{E004}';
/// See [`TAB`].
pub const ENTER: char = '\u{E007}';
/// See [`TAB`].
/// See [`TAB`].
pub const ESCAPE: char = '\u{E00C}';
/// See [`TAB`].
pub const SHIFT: char = '\u{E008}';

/// A process of ours, ended with this value: asked first, then killed.
pub struct Process {
    child: Child,
    lines: Receiver<String>,
    has_group: bool,
}

impl Process {
    /// Starts it and reads what it says. With a group of its own, all its children end with it.
    pub fn start(mut command: Command, has_group: bool, help: &str) -> Process {
        use std::os::unix::process::CommandExt;
        if has_group {
            command.process_group(0);
        }
        let name = command.get_program().to_owned();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{name:?} could not be started ({error}). {help}"));
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        // Reads on when nobody listens any more: a full pipe would hold the process up.
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Process {
            child,
            lines,
            has_group,
        }
    }

    /// Waits for a line in which `pick` finds something; else says what was told instead.
    pub fn told<T>(&self, pick: impl Fn(&str) -> Option<T>) -> Result<T, String> {
        let deadline = Instant::now() + PATIENCE;
        let mut told = String::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    if let Some(found) = pick(&line) {
                        return Ok(found);
                    }
                    told.push_str(&line);
                    told.push('\n');
                }
                Err(error) => return Err(format!("{error}, after:\n{told}")),
            }
        }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let Some(pid) = rustix::process::Pid::from_raw(self.child.id() as i32) else {
            return;
        };
        // It may have ended already.
        let _ = if self.has_group {
            rustix::process::kill_process_group(pid, signal)
        } else {
            rustix::process::kill_process(pid, signal)
        };
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(rustix::process::Signal::TERM);
        let deadline = Instant::now() + END_TIME_MAX;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(LOOK_EVERY);
        }
        self.signal(rustix::process::Signal::KILL);
        let _ = self.child.wait();
    }
}

/// The last element that can be seen, fits a selector and contains a text.
const LAST_SEEN: &str = "const [selector, text] = arguments;
  const fits = [...document.querySelectorAll(selector)].filter((one) =>
    one.checkVisibility({visibilityProperty: true}) && one.getClientRects().length && one.textContent.includes(text));
  return fits.at(-1) ?? null;";

/// In what the page is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// A window of this width and height, with a mouse.
    Desktop(u32, u32),
    /// A screen of this width and height, touched.
    Phone(u32, u32),
}

/// What else a browser is started with.
#[derive(Clone, Debug, Default)]
pub struct Outfit {
    /// Switches of the command line.
    pub switches: Vec<String>,
    /// Whether it says that it is a phone's; for [`Device::Phone`] only.
    pub agent: Option<&'static str>,
    /// Whether scripts of pages never run.
    pub has_no_scripts: bool,
    /// Whether requests are noted, for [`Browser::requests`].
    pub notes_requests: bool,
}

/// What the driver refused: WebDriver's error code and its message.
struct Refusal(String);

/// A reference to an element of the page.
#[derive(Clone, Debug)]
pub struct Element(String);

/// One browser with one page, closed with this value.
pub struct Browser {
    name: String,
    session: String,
    agent: ureq::Agent,
    // Fields are dropped in this order: the browser, its folder, and then it is the next one's turn.
    _driver: Process,
    _profile: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Browser {
    /// Starts a browser for the test of that name.
    pub fn start(name: &str, device: Device) -> Browser {
        Browser::start_in(name, device, &Outfit::default())
    }

    /// The same, otherwise than usual.
    pub fn start_in(name: &str, device: Device, outfit: &Outfit) -> Browser {
        // A test that failed has left nothing behind.
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let found = ["chromedriver", "chromium", "timeout"].map(is_installed);
        assert_eq!(found, [true; 3], "{HELP}");
        let (driver, port) = start_driver();
        let profile = tempfile::tempdir().unwrap();
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(CALL_TIME_MAX))
            .http_status_as_error(false)
            .proxy(None)
            .build()
            .into();
        // A picture of an earlier failure would mislead.
        let _ = std::fs::remove_file(picture_of(&format!("failed-{name}")));
        let mut browser = Browser {
            name: name.to_owned(),
            session: format!("http://127.0.0.1:{port}/session"),
            agent,
            _driver: driver,
            _profile: profile,
            _turn: turn,
        };
        let wishes = browser.wishes(device, outfit);
        let answer = browser.must("POST", "", wishes);
        let id = answer["sessionId"].as_str().unwrap();
        browser.session = format!("{}/{id}", browser.session);
        if let Device::Desktop(width, height) = device {
            browser.resize(width, height);
        }
        browser
    }

    fn wishes(&self, device: Device, outfit: &Outfit) -> Value {
        let profile = format!("--user-data-dir={}", self._profile.path().display());
        let mut options = json!({"args": [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--hide-scrollbars", profile,
        ]});
        if let Device::Phone(width, height) = device {
            options["mobileEmulation"] = json!({
                "deviceMetrics": {"width": width, "height": height, "pixelRatio": 2.0, "touch": true, "mobile": true},
                // By this a server knows that it is a phone.
                "clientHints": {"platform": "Android", "mobile": true},
            });
            if let Some(agent) = outfit.agent {
                options["mobileEmulation"]["userAgent"] = agent.into();
            }
        }
        if let Some(switches) = options["args"].as_array_mut() {
            switches.extend(outfit.switches.iter().map(|switch| switch.as_str().into()));
        }
        if outfit.has_no_scripts {
            const BLOCKED: u8 = 2;
            options["prefs"] =
                json!({"profile.managed_default_content_settings.javascript": BLOCKED});
        }
        let mut logs = json!({"browser": "ALL"});
        if outfit.notes_requests {
            logs["performance"] = "ALL".into();
        }
        json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "timeouts": {"script": 30_000, "pageLoad": 60_000, "implicit": 0},
            "goog:chromeOptions": options,
            "goog:loggingPrefs": logs,
        }}})
    }

    // ---- the protocol ----

    fn call(&self, method: &str, path: &str, body: Value) -> Result<Value, Refusal> {
        let url = format!("{}{path}", self.session);
        let answer = match method {
            "GET" => self.agent.get(&url).call(),
            "DELETE" => self.agent.delete(&url).call(),
            _ => self
                .agent
                .post(&url)
                .content_type("application/json")
                .send(body.to_string()),
        };
        let mut answer = answer.unwrap_or_else(|error| panic!("the browser is gone: {error}"));
        // A screenshot is the largest answer.
        let body = answer.body_mut().with_config().limit(64 << 20);
        let body = body.read_to_vec().unwrap();
        let mut body: Value = serde_json::from_slice(&body).unwrap();
        let value = body["value"].take();
        if answer.status().is_success() {
            return Ok(value);
        }
        Err(Refusal(format!("{}: {}", value["error"], value["message"])))
    }

    fn must(&self, method: &str, path: &str, body: Value) -> Value {
        self.call(method, path, body)
            .unwrap_or_else(|refusal| panic!("{method} {path}: {}", refusal.0))
    }

    /// A command of Chromium's own (Chrome DevTools Protocol).
    pub fn chromium(&self, command: &str, parameters: Value) -> Value {
        let body = json!({"cmd": command, "params": parameters});
        self.must("POST", "/goog/cdp/execute", body)
    }

    // ---- the window ----

    /// Goes to an address and waits until it is loaded.
    pub fn open(&self, url: &str) {
        self.must("POST", "/url", json!({ "url": url }));
    }

    /// Makes the page that wide and high.
    pub fn resize(&self, width: u32, height: u32) {
        self.chromium(
            "Emulation.setDeviceMetricsOverride",
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}),
        );
    }

    /// Light or dark, and nothing that moves.
    pub fn paint(&self, scheme: &str) {
        self.chromium(
            "Emulation.setEmulatedMedia",
            json!({"features": [
                {"name": "prefers-color-scheme", "value": scheme},
                {"name": "prefers-reduced-motion", "value": "reduce"},
            ]}),
        );
    }

    /// Writes what is seen now to `target/screenshots/{name}.png`.
    pub fn photograph(&self, name: &str) -> PathBuf {
        let image = self.must("GET", "/screenshot", Value::Null);
        let image = base64::engine::general_purpose::STANDARD
            .decode(image.as_str().unwrap())
            .unwrap();
        let file = picture_of(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, image).unwrap();
        file
    }

    /// What the console was told since the last question, as `LEVEL message`.
    pub fn console(&self) -> Vec<String> {
        let lines = self.must("POST", "/se/log", json!({"type": "browser"}));
        let lines = lines.as_array().unwrap().iter();
        lines
            .map(|line| format!("{} {}", line["level"], line["message"]))
            .collect()
    }

    /// The requests that left since the last question: address and headers, in lower case.
    pub fn requests(&self) -> Vec<(String, Vec<(String, String)>)> {
        let lines = self.must("POST", "/se/log", json!({"type": "performance"}));
        let lines = lines.as_array().unwrap().iter();
        let events = lines.map(|line| -> Value {
            serde_json::from_str(line["message"].as_str().unwrap()).unwrap()
        });
        events
            .filter(|event| event["message"]["method"] == "Network.requestWillBeSent")
            .map(|event| {
                let request = &event["message"]["params"]["request"];
                let headers = request["headers"].as_object().unwrap().iter();
                let headers = headers
                    .map(|(name, value)| (name.to_ascii_lowercase(), value.to_string()))
                    .collect();
                (request["url"].as_str().unwrap().to_owned(), headers)
            })
            .collect()
    }

    // ---- conditions ----

    /// Looks until `look` finds something; else fails with what was waited for and what is seen.
    pub fn until<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look() {
                return found;
            }
            if Instant::now() >= deadline {
                let picture = self.photograph(&format!("failed-{}", self.name));
                let seen = self.run("return document.body.innerText", json!([]));
                panic!(
                    "{what}: not within {PATIENCE:?}. Picture: {}. The page says:\n{}",
                    picture.display(),
                    seen.as_str().unwrap_or_default()
                );
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    // ---- the page ----

    /// Runs a function body in the page, with `arguments`.
    pub fn run(&self, body: &str, arguments: Value) -> Value {
        let call = json!({"script": body, "args": arguments});
        self.must("POST", "/execute/sync", call)
    }

    /// Like [`Browser::run`], until the last argument of the body is called with the result.
    pub fn run_async(&self, body: &str, arguments: Value) -> Value {
        let call = json!({"script": body, "args": arguments});
        self.must("POST", "/execute/async", call)
    }

    /// The last element that can be seen, fits the selector and contains the text.
    pub fn seen(&self, selector: &str, text: &str) -> Option<Element> {
        let found = self.run(LAST_SEEN, json!([selector, text]));
        Some(Element(found[ELEMENT].as_str()?.to_owned()))
    }

    /// Waits for such an element.
    pub fn find(&self, selector: &str, text: &str) -> Element {
        self.until(&format!("{selector} with “{text}” is seen"), || {
            self.seen(selector, text)
        })
    }

    /// Clicks or taps it, as a person would: where it is, if nothing lies on top of it.
    pub fn press(&self, selector: &str, text: &str) {
        self.until(
            &format!("{selector} with “{text}” can be pressed"),
            || {
                let Element(id) = self.seen(selector, text)?;
                // What moved or was redrawn in between is looked for again.
                self.call("POST", &format!("/element/{id}/click"), json!({}))
                    .ok()
            },
        );
    }

    /// Types into an element, one key after the other.
    pub fn type_into(&self, element: &Element, text: &str) {
        let path = format!("/element/{}/value", element.0);
        self.must("POST", &path, json!({ "text": text }));
    }

    /// The text that a person sees in such an element.
    pub fn read(&self, selector: &str, text: &str) -> Option<String> {
        let found = self.run(
            &format!("const one = (function () {{ {LAST_SEEN} }})(...arguments); return one && one.innerText"),
            json!([selector, text]),
        );
        Some(found.as_str()?.to_owned())
    }

    /// Role and accessible name, as assistive technology is told.
    pub fn role_and_name(&self, element: &Element) -> (String, String) {
        let ask = |what: &str| {
            let path = format!("/element/{}/computed{what}", element.0);
            let answer = self.must("GET", &path, Value::Null);
            answer.as_str().unwrap().to_owned()
        };
        (ask("role"), ask("label"))
    }

    /// Every element that fits the selector, seen or not.
    pub fn all(&self, selector: &str) -> Vec<Element> {
        let body = json!({"using": "css selector", "value": selector});
        let found = self.must("POST", "/elements", body);
        let found = found.as_array().unwrap().iter();
        found
            .map(|one| Element(one[ELEMENT].as_str().unwrap().to_owned()))
            .collect()
    }

    /// What `look` sees inside of a frame.
    pub fn inside<T>(&self, frame: &Element, look: impl FnOnce(&Browser) -> T) -> T {
        let body = json!({"id": {ELEMENT: frame.0}});
        self.must("POST", "/frame", body);
        let found = look(self);
        self.must("POST", "/frame", json!({"id": null}));
        found
    }

    /// Presses keys on the keyboard, wherever the focus is. `held` stays down meanwhile.
    pub fn keys(&self, held: Option<char>, keys: &str) {
        let down = |key: char| json!({"type": "keyDown", "value": key});
        let up = |key: char| json!({"type": "keyUp", "value": key});
        let pressed = keys.chars().flat_map(|key| [down(key), up(key)]);
        let actions: Vec<Value> = held
            .map(down)
            .into_iter()
            .chain(pressed)
            .chain(held.map(up))
            .collect();
        let body = json!({"actions": [{"type": "key", "id": "keyboard", "actions": actions}]});
        self.must("POST", "/actions", body);
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Closes the browser; after a failure the process group ends it.
        let _ = self.agent.delete(&self.session).call();
    }
}

/// A driver and its port. With port 0 chromedriver takes a free port of IPv6 and gives up when
/// somebody else has the same one of IPv4, so that it is started again.
fn start_driver() -> (Process, u16) {
    let mut last_words = String::new();
    for _ in 0..DRIVER_STARTS_MAX {
        let mut command = Command::new("timeout");
        command.args([
            "--kill-after=10",
            LIFE_MAX_SECONDS,
            "chromedriver",
            "--port=0",
        ]);
        let driver = Process::start(command, true, HELP);
        let port = driver.told(|line| {
            let (_, port) = line.split_once("started successfully on port ")?;
            port.trim_end_matches('.').parse().ok()
        });
        match port {
            Ok(port) => return (driver, port),
            Err(words) => last_words = words,
        }
    }
    panic!("chromedriver does not start: {last_words}\n{HELP}");
}

fn picture_of(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/screenshots");
    folder.join(format!("{name}.png"))
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
