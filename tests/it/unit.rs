//! A running unit and a client for it.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use ureq::http::{Request, Response};
use ureq::{Agent, Body};
use vehicle_classifierd::config::{Sources, load};
use vehicle_classifierd::daemon::store_settings;
use vehicle_classifierd::metrics::Metrics;
use vehicle_classifierd::store::Store;

use crate::waiting::PATIENCE;

/// Of every account that tests make.
pub const PASSWORD: &str = "a long walk by the river";
pub const ADMIN_PASSWORD: &str = "a longer walk by the river";

/// The program, with nothing of this machine's configuration. `TEST_PROGRAM` names another build of it, for figures.
pub fn program() -> Command {
    bare(Command::new(path()))
}

fn path() -> OsString {
    std::env::var_os("TEST_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_vehicle-classifierd").into())
}

fn bare(mut command: Command) -> Command {
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("VEHICLE_CLASSIFIER__")) {
        command.env_remove(name);
    }
    for name in [
        "NOTIFY_SOCKET",
        "WATCHDOG_USEC",
        "JOURNAL_STREAM",
        "STATE_DIRECTORY",
        "SECRET_KEY",
        "CORS_ORIGINS",
        "TRUSTED_HOSTS",
    ] {
        command.env_remove(name);
    }
    command
        .env("VEHICLE_CLASSIFIER__CLASSIFIER__MODELS_DIRECTORY", Path::new(env!("CARGO_MANIFEST_DIR")).join("models"));
    command
}

/// Marks a variable that is not one of the configuration's.
const BARE: &str = "=";
/// Marks the command that the program is started through.
const THROUGH: &str = "|";

/// A unit that runs until it is dropped.
pub struct Unit {
    child: Child,
    pub address: String,
    pub log: Log,
    pub state: Arc<TempDir>,
    /// What `nsenter` needs to run a command where the unit sees its state directory; none: it is where everybody sees it.
    namespaces: Vec<String>,
    settings: Vec<(String, String)>,
    agent: Agent,
}

/// What the unit has written to standard error so far.
#[derive(Clone, Default)]
pub struct Log {
    lines: Arc<(Mutex<Vec<String>>, Condvar)>,
    reader: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Log {
    pub fn text(&self) -> String {
        self.lines.0.lock().unwrap().join("\n")
    }

    fn push(&self, line: String) {
        let (lines, more) = &*self.lines;
        lines.lock().unwrap().push(line);
        more.notify_all();
    }

    /// Waits until a line holds `text`.
    pub fn wait_for(&self, text: &str) {
        assert!(self.comes_within(PATIENCE, text), "no {text:?} in the log:\n{}", self.text());
    }

    /// The same, and false when it does not come in time.
    pub fn comes_within(&self, time: Duration, text: &str) -> bool {
        let (lines, more) = &*self.lines;
        let missing = |found: &mut Vec<String>| !found.iter().any(|line| line.contains(text));
        let waited = more.wait_timeout_while(lines.lock().unwrap(), time, missing).unwrap();
        !waited.1.timed_out()
    }

    /// Waits for the end of the unit's standard error.
    pub fn to_end(&self) -> String {
        if let Some(reader) = self.reader.lock().unwrap().take() {
            reader.join().unwrap();
        }
        self.text()
    }

    /// Reads up to the line that names the address.
    fn follow(&self, stderr: ChildStderr) -> Option<String> {
        let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
        let mut address = None;
        for line in lines.by_ref() {
            address = line.split("ready: http").nth(1).and_then(|behind| behind.split('/').nth(2)).map(str::to_owned);
            self.push(line);
            if address.is_some() {
                break;
            }
        }
        let kept = self.clone();
        *self.reader.lock().unwrap() = Some(std::thread::spawn(move || lines.for_each(|line| kept.push(line))));
        address
    }
}

impl Unit {
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// `settings`: `("API__DOCS", "false")` and alike, or flags such as `("--config", path)`.
    pub fn with(settings: &[(&str, &str)]) -> Self {
        let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Self::on(Arc::new(TempDir::new().unwrap()), settings)
    }

    /// Variables of the process itself, `LD_PRELOAD` and alike.
    pub fn with_environment(variables: &[(&str, &str)]) -> Self {
        let settings = variables.iter().map(|(name, value)| (format!("{BARE}{name}"), (*value).to_owned())).collect();
        Self::on(Arc::new(TempDir::new().unwrap()), settings)
    }

    /// On a file system of its own: `script` mounts it on the state directory, which is its `$4`, in a mount namespace that
    /// `unshare` makes with these arguments.
    pub fn on_own_disk(unshare: &str, script: &str, settings: &[(&str, &str)]) -> Self {
        let script = format!("{script}\nexec \"$@\"");
        let through =
            ["unshare", unshare, "sh", "-ec", &script, "sh"].map(|word| (THROUGH.to_owned(), word.to_owned()));
        let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let mut unit = Self::on(Arc::new(TempDir::new().unwrap()), through.into_iter().chain(settings).collect());
        let user = ["-U", "--preserve-credentials"].iter().filter(|_| unshare.contains('r'));
        unit.namespaces = ["-m", "-t"].iter().chain(user).map(|word| (*word).to_owned()).collect();
        unit.namespaces.insert(2, unit.pid().to_string());
        unit
    }

    /// On a state directory that is there already, started through another command (`setpriv` and its arguments), which may be
    /// none.
    pub fn through(words: &[&str], state: Arc<TempDir>) -> Self {
        Self::on(state, words.iter().map(|word| (THROUGH.to_owned(), (*word).to_owned())).collect())
    }

    /// On a state directory that is there already.
    pub fn with_state(state: &Arc<TempDir>, settings: &[(&str, &str)]) -> Self {
        let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Self::on(state.clone(), settings)
    }

    fn on(state: Arc<TempDir>, settings: Vec<(String, String)>) -> Self {
        let mut command = serve(&state, &settings);
        let mut child = command.stderr(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
        let log = Log::default();
        let address = log.follow(child.stderr.take().unwrap());
        let address = address.unwrap_or_else(|| panic!("the unit did not start:\n{}", log.to_end()));
        let agent = Agent::config_builder().http_status_as_error(false).max_idle_connections(0).build().into();
        Self { child, address, log, state, namespaces: Vec::new(), settings, agent }
    }

    /// Kills the unit as a power cut would the process, and starts it again on the same state.
    pub fn kill_and_restart(mut self) -> Self {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        Self::on(self.state.clone(), self.settings.clone())
    }

    pub fn stop_and_restart(mut self) -> Self {
        self.signal("TERM");
        assert!(self.wait().success(), "{}", self.log.to_end());
        Self::on(self.state.clone(), self.settings.clone())
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status().unwrap();
        assert!(sent.success());
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    pub fn state_directory(&self) -> &Path {
        self.state.path()
    }

    /// The unit's store, opened from here too: for what only a camera could put there.
    pub fn store(&self) -> Store {
        let loaded = load(&Sources::default()).unwrap();
        let settings = store_settings(&loaded, self.state_directory().to_owned());
        Store::open(settings, Arc::new(Metrics::new().unwrap())).unwrap()
    }

    /// Runs a command beside the unit.
    pub fn command(&self, arguments: &[&str], stdin: &str) -> Output {
        if self.namespaces.is_empty() {
            return run(self.state_directory(), arguments, stdin);
        }
        let mut command = bare(Command::new("nsenter"));
        command.args(&self.namespaces).arg(path());
        finish(command, self.state_directory(), arguments, stdin)
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn get(&self, path: &str, token: &str) -> Reply {
        let mut request = self.agent.get(self.url(path));
        if !token.is_empty() {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        Reply::of(request.call().unwrap())
    }

    /// Sends any request; `token` may be empty.
    pub fn send(&self, method: &str, path: &str, token: &str, content_type: &str, body: Vec<u8>) -> Reply {
        self.send_with(method, path, token, &[("Content-Type", content_type)], body)
    }

    /// Sends any request with headers of one's own.
    pub fn send_with(&self, method: &str, path: &str, token: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Reply {
        let mut request = Request::builder().method(method).uri(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !token.is_empty() {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        Reply::of(self.agent.run(request.body(body).unwrap()).unwrap())
    }

    pub fn post_json(&self, path: &str, token: &str, body: &Value) -> Reply {
        self.send("POST", path, token, "application/json", body.to_string().into_bytes())
    }

    /// Uploads files as multipart fields `(field, file name, content type, bytes)`; text fields have no file name.
    pub fn upload(&self, path: &str, token: &str, parts: &[Part<'_>]) -> Reply {
        self.send("POST", path, token, "multipart/form-data; boundary=XbX", multipart(parts))
    }

    /// The classification of one picture.
    pub fn classify(&self, token: &str, file_name: &str, bytes: &[u8]) -> Reply {
        self.upload("/api/vehicle/classify", token, &[Part::file("file", file_name, bytes)])
    }

    pub fn log_in(&self, name: &str, password: &str) -> Reply {
        self.post_json("/auth/token", "", &json!({ "username": name, "password": password }))
    }

    pub fn token(&self, name: &str, password: &str) -> String {
        let reply = self.log_in(name, password);
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()["access_token"].as_str().unwrap().to_owned()
    }

    pub fn first_password(&self) -> String {
        std::fs::read_to_string(self.state_directory().join("initial-admin-password")).unwrap().trim().to_owned()
    }

    /// A token of `admin`, whose first password is changed on the way.
    pub fn admin(&self) -> String {
        let token = self.token("admin", &self.first_password());
        let change = json!({ "current_password": self.first_password(), "new_password": ADMIN_PASSWORD });
        assert_eq!(self.post_json("/auth/password", &token, &change).status, 204);
        token
    }

    /// A token of a new account.
    pub fn account(&self, name: &str, role: &str) -> String {
        let added = self.command(&["user", "add", name, "--role", role, "--password-stdin"], &format!("{PASSWORD}\n"));
        assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
        self.token(name, PASSWORD)
    }

    /// A service token with scopes such as `metrics`.
    pub fn service_token(&self, name: &str, scopes: &str) -> String {
        let issued = self.command(&["token", "issue", "--name", name, "--scope", scopes], "");
        assert!(issued.status.success(), "{}", String::from_utf8_lossy(&issued.stderr));
        String::from_utf8(issued.stdout).unwrap().trim().to_owned()
    }

    /// A metric's value; `series` with its labels as they are written.
    pub fn metric(&self, token: &str, series: &str) -> f64 {
        let text = self.get("/metrics", token).text();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().unwrap()
    }

    pub fn resident_kilobytes(&self) -> u64 {
        resident_kilobytes(self.pid())
    }
}

/// kB of resident memory of a process, from /proc.
pub fn resident_kilobytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

impl Drop for Unit {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(state: &TempDir, settings: &[(String, String)]) -> Command {
    let through: Vec<_> = settings.iter().filter(|(key, _)| key == THROUGH).map(|(_, word)| word).collect();
    let mut command = match through.split_first() {
        None => program(),
        Some((first, rest)) => {
            let mut command = bare(Command::new(first));
            command.args(rest).arg(path());
            command
        }
    };
    command.args(["serve", "--state-directory"]).arg(state.path());
    command.env("VEHICLE_CLASSIFIER__API__LISTEN", "127.0.0.1:0").env("VEHICLE_CLASSIFIER__LOG__FORMAT", "text");
    for (key, value) in settings.iter().filter(|(key, _)| key != THROUGH) {
        if key.starts_with("--") {
            command.arg(key).arg(value);
            continue;
        }
        match key.strip_prefix(BARE) {
            Some(name) => command.env(name, value),
            None => command.env(format!("VEHICLE_CLASSIFIER__{key}"), value),
        };
    }
    command
}

/// Runs a command of the program to its end.
pub fn run(state: &Path, arguments: &[&str], stdin: &str) -> Output {
    finish(program(), state, arguments, stdin)
}

fn finish(mut command: Command, state: &Path, arguments: &[&str], stdin: &str) -> Output {
    let mut child = command
        .args(arguments)
        .arg("--state-directory")
        .arg(state)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that fails before it reads closes the pipe.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

/// One part of a multipart body.
pub struct Part<'a> {
    name: &'a str,
    file_name: Option<&'a str>,
    content_type: Option<&'a str>,
    bytes: &'a [u8],
}

impl<'a> Part<'a> {
    pub fn file(name: &'a str, file_name: &'a str, bytes: &'a [u8]) -> Self {
        Self { name, file_name: Some(file_name), content_type: None, bytes }
    }

    pub fn text(name: &'a str, text: &'a str) -> Self {
        Self { name, file_name: None, content_type: None, bytes: text.as_bytes() }
    }

    pub fn typed(self, content_type: &'a str) -> Self {
        Self { content_type: Some(content_type), ..self }
    }
}

/// RFC 7578, with the boundary `XbX`.
pub fn multipart(parts: &[Part<'_>]) -> Vec<u8> {
    let mut body = Vec::new();
    for part in parts {
        body.extend_from_slice(format!("--XbX\r\nContent-Disposition: form-data; name=\"{}\"", part.name).as_bytes());
        if let Some(file_name) = part.file_name {
            body.extend_from_slice(format!("; filename=\"{file_name}\"").as_bytes());
        }
        if let Some(content_type) = part.content_type {
            body.extend_from_slice(format!("\r\nContent-Type: {content_type}").as_bytes());
        }
        body.extend_from_slice(b"\r\n\r\n");
        body.extend_from_slice(part.bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--XbX--\r\n");
    body
}

/// An answer, read to its end.
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    fn of(response: Response<Body>) -> Self {
        let (head, mut body) = response.into_parts();
        let headers =
            head.headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
        let body = body.with_config().limit(256 << 20).read_to_vec().unwrap();
        Self { status: head.status.as_u16(), headers, body }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// Checks the error shape of the contract and gives the code.
    pub fn error_code(&self) -> String {
        let body = self.json();
        let keys: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["details", "error_code", "message", "request_id", "timestamp"]);
        assert_eq!(body["request_id"].as_str(), self.header("x-request-id"));
        assert!(!body["message"].as_str().unwrap().is_empty());
        body["error_code"].as_str().unwrap().to_owned()
    }
}

/// The golden picture of the shipped model: a photograph that may be committed.
pub fn golden() -> Vec<u8> {
    std::fs::read(newest_model().join("golden.jpg")).unwrap()
}

/// The model that a unit chooses by itself.
pub fn newest_model() -> PathBuf {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let own = models.join("vehicle-type/1.0.0");
    if own.is_dir() { own } else { models.join("imagenet-vehicles/1.0.0") }
}
