//! A real browser, driven over the W3C WebDriver protocol: each one a chromedriver of its own with a fresh profile.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};
use ureq::Agent;

use crate::waiting::{PATIENCE, pause};

/// What stands for an element in the protocol (W3C WebDriver, 11).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

pub struct Browser {
    driver: Child,
    agent: Agent,
    session: String,
}

impl Browser {
    pub fn start() -> Self {
        let mut driver = Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines().map(Result::unwrap);
        let port: u16 = lines
            .find_map(|line| line.strip_suffix('.')?.rsplit_once("successfully on port ")?.1.parse().ok())
            .expect("chromedriver did not start");
        // Read on, so that it never waits for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        let agent = Agent::config_builder().http_status_as_error(false).build().into();
        let mut browser = Self { driver, agent, session: format!("http://127.0.0.1:{port}/session") };
        // The sandbox wants rights that a container lacks; the only pages seen here are the unit's own.
        let arguments = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"];
        let wanted = json!({
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        });
        let made = browser.call("POST", "", &json!({ "capabilities": { "alwaysMatch": wanted } }));
        browser.session = format!("{}/{}", browser.session, made["sessionId"].as_str().unwrap());
        browser
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        self.try_call(method, path, body).unwrap_or_else(|problem| panic!("{method} {path}: {problem}"))
    }

    fn try_call(&self, method: &str, path: &str, body: &Value) -> Result<Value, Value> {
        let request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.session));
        let sent = if method == "POST" { body.to_string() } else { String::new() };
        let mut answer = self.agent.run(request.body(sent).unwrap()).unwrap();
        let value = answer.body_mut().read_json::<Value>().unwrap()["value"].take();
        if answer.status().is_success() { Ok(value) } else { Err(value) }
    }

    pub fn open(&self, url: &str) {
        self.call("POST", "/url", &json!({ "url": url }));
    }

    /// Runs JavaScript in the page and gives what it returns.
    pub fn script(&self, script: &str) -> Value {
        self.call("POST", "/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Waits until the JavaScript expression is true.
    pub fn until(&self, expression: &str) {
        let end = Instant::now() + PATIENCE;
        while self.script(&format!("return Boolean({expression})")) != json!(true) {
            assert!(
                Instant::now() < end,
                "never came: {expression}\n{}",
                self.script("return document.body.innerText")
            );
            pause();
        }
    }

    fn element(&self, css: &str) -> String {
        self.until(&format!("document.querySelector({})", json!(css)));
        let found = self.call("POST", "/element", &json!({ "using": "css selector", "value": css }));
        found[ELEMENT].as_str().unwrap().to_owned()
    }

    /// Types as a person would; into a file field, the file's path.
    pub fn type_into(&self, css: &str, text: &str) {
        self.call("POST", &format!("/element/{}/value", self.element(css)), &json!({ "text": text }));
    }

    pub fn click(&self, css: &str) {
        self.call("POST", &format!("/element/{}/click", self.element(css)), &json!({}));
    }

    pub fn choose_file(&self, css: &str, file: &Path) {
        self.type_into(css, file.to_str().unwrap());
    }

    /// What the page complained of in the browser's console, the security policy's refusals among them.
    pub fn complaints(&self) -> Vec<String> {
        let entries = self.call("POST", "/se/log", &json!({ "type": "browser" }));
        let serious = entries.as_array().unwrap().iter().filter(|entry| entry["level"] == "SEVERE");
        serious.map(|entry| entry["message"].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.try_call("DELETE", "", &Value::Null);
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
