//! The unit behind a real nginx, with the configuration that the documentation gives, and under a path.

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::browser::Browser;
use crate::sync::free_port;
use crate::unit::{PASSWORD, Unit};
use crate::waiting::until;

const EXAMPLE: &str = include_str!("../../docs/examples/proxy/nginx.conf");
/// Debian puts it where not every account looks.
const NGINX: &str = "/usr/sbin/nginx";
/// The unit trusts the address that nginx calls from, and no other of this machine's.
const TRUSTED: (&str, &str) = ("API__TRUSTED_PROXIES", "127.0.0.1/32");

struct Nginx {
    child: Child,
    tls: u16,
    plain: u16,
    _directory: TempDir,
}

impl Nginx {
    /// The documented configuration for this unit, on free ports, with a certificate made for it, and without TLS too.
    fn before(unit: &Unit, change: impl Fn(String) -> String) -> Self {
        let directory = TempDir::new().unwrap();
        let path = |name: &str| directory.path().join(name);
        let (tls, plain) = (free_port(), free_port());
        make_certificate(&path("units.pem"), &path("units.key"));
        let server = EXAMPLE
            .replace("listen 443 ssl;", &format!("listen 127.0.0.1:{tls} ssl;\nlisten 127.0.0.1:{plain};"))
            .replace("/etc/ssl/certs/units.pem", path("units.pem").to_str().unwrap())
            .replace("/etc/ssl/private/units.key", path("units.key").to_str().unwrap())
            .replace("127.0.0.1:8000", &unit.address);
        let d = directory.path().display();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {d}/{kind};"))
            .concat();
        let whole = format!(
            "daemon off; master_process off; pid {d}/pid; error_log stderr notice; events {{}}\n\
             http {{ access_log {d}/access.log; {temporary}\n{}\n}}",
            change(server)
        );
        std::fs::write(path("nginx.conf"), whole).unwrap();
        let mut child = Command::new(NGINX)
            .arg("-c")
            .arg(path("nginx.conf"))
            .arg("-p")
            .arg(directory.path())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx is missing: .ci/setup installs it");
        until("nginx listens", || {
            assert_eq!(child.try_wait().unwrap(), None, "nginx ended by itself");
            std::net::TcpStream::connect(("127.0.0.1", plain)).is_ok()
        });
        Self { child, tls, plain, _directory: directory }
    }

    fn page(&self) -> String {
        format!("http://127.0.0.1:{}/unit-7/", self.plain)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn make_certificate(certificate: &PathBuf, key: &PathBuf) {
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
    command.args(["-subj", "/CN=units.example.org", "-keyout"]).arg(key).arg("-out").arg(certificate);
    assert!(command.stderr(Stdio::null()).status().unwrap().success());
}

/// A request from an address of this machine's own.
fn curl(from: &str, arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } = Command::new("curl")
        .args(["--silent", "--show-error", "--insecure", "--include", "--max-time", "120", "--interface", from])
        .args(arguments)
        .output()
        .unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap().to_lowercase()
}

/// A wrong login, whose address the audit trail then tells.
fn guess(from: &str, url: &str, headers: &[&str]) -> String {
    let body = json!({ "username": "ann", "password": "wrong" }).to_string();
    let mut arguments = vec![url, "--header", "Content-Type: application/json", "--data", &body];
    headers.iter().for_each(|header| arguments.extend(["--header", header]));
    curl(from, &arguments)
}

fn last_guesser(unit: &Unit, admin: &str) -> Value {
    unit.get("/api/audit?action=auth.token&outcome=denied&limit=1", admin).json()["data"]["events"][0]["ip_address"]
        .clone()
}

#[test]
fn behind_nginx_the_client_is_who_called_it_and_nobody_can_say_otherwise() {
    let unit = Unit::with(&[TRUSTED, ("AUTH__LOGIN_FAILURES_MAX", "1000")]);
    let admin = unit.account("alma", "admin");
    unit.account("ann", "user");
    let nginx = Nginx::before(&unit, |server| server);
    let through = format!("{}auth/token", nginx.page());
    let direct = unit.url("/auth/token");
    let spoofed = ["X-Forwarded-For: 203.0.113.9", "Forwarded: for=203.0.113.9", "X-Forwarded-Proto: https"];

    guess("127.0.0.3", &through, &[]);
    assert_eq!(last_guesser(&unit, &admin), "127.0.0.3");
    guess("127.0.0.4", &through, &spoofed);
    assert_eq!(last_guesser(&unit, &admin), "127.0.0.4", "what the client itself writes counts for nothing");
    let answer = guess("127.0.0.5", &direct, &spoofed);
    assert_eq!(last_guesser(&unit, &admin), "127.0.0.5", "not a proxy of ours");
    assert!(!answer.contains("strict-transport-security"), "{answer}");

    let secure = curl("127.0.0.3", &[&format!("https://127.0.0.1:{}/unit-7/health", nginx.tls)]);
    assert!(secure.starts_with("http/1.1 200") && secure.contains("strict-transport-security"), "{secure}");
    let plain = curl("127.0.0.3", &[&format!("{}health", nginx.page())]);
    assert!(plain.starts_with("http/1.1 200") && !plain.contains("strict-transport-security"), "{plain}");
}

#[test]
fn clients_behind_one_proxy_have_their_own_rates() {
    let unit = Unit::with(&[TRUSTED, ("API__REQUESTS_PER_MINUTE_MAX", "30")]);
    let nginx = Nginx::before(&unit, |server| server);
    let health = format!("{}health", nginx.page());
    let limited = (0..100).any(|_| curl("127.0.0.3", &[&health]).starts_with("http/1.1 429"));
    assert!(limited, "one client is held");
    assert!(curl("127.0.0.4", &[&health]).starts_with("http/1.1 200"), "its neighbour is not");
}

fn page_works(unit: &Unit, page: &str) {
    unit.account("ann", "user");
    let browser = Browser::start();
    // Without the slash behind it, too.
    browser.open(page.trim_end_matches('/'));
    browser.until("document.querySelector('#status').dataset.level != 'wait'");
    browser.type_into("#username", "ann");
    browser.type_into("#password", PASSWORD);
    browser.click("#login-form button");
    browser.until("document.querySelector('#road').checkVisibility()");
    browser.until("document.querySelector('#road-picture-message').innerText.includes('capture.source')");
    let complaints: Vec<_> = browser.complaints().into_iter().filter(|line| !line.contains("status of 40")).collect();
    assert_eq!(complaints, [""; 0], "the page complains in the console");

    browser.open(&format!("{page}docs"));
    browser.until("document.querySelector('button.authorize')");
    assert_eq!(browser.complaints(), [""; 0], "Swagger UI complains in the console");
    let system = "window.ui.getSystem().specSelectors.specJson().toJS()";
    let servers = browser.script(&format!("return {system}.servers[0].url"));
    assert_eq!(servers, page.trim_end_matches('/'));
    let login = format!("{system}.components.securitySchemes.login.flows.password.tokenUrl");
    let answer = browser.script(&format!("return fetch({login}, {{ method: 'POST', body: new URLSearchParams({{ username: 'ann', password: '{PASSWORD}' }}) }}).then((answer) => answer.status)"));
    assert_eq!(answer, 200, "the address that Swagger UI logs in at");
}

#[test]
fn the_page_and_its_description_work_under_a_path_that_the_proxy_removes() {
    let unit = Unit::with(&[TRUSTED]);
    let nginx = Nginx::before(&unit, |server| server);
    page_works(&unit, &nginx.page());
}

#[test]
fn the_page_and_its_description_work_under_a_path_that_the_proxy_keeps() {
    let unit = Unit::with(&[TRUSTED, ("API__BASE_PATH", "/unit-7")]);
    let address = unit.address.clone();
    let nginx = Nginx::before(&unit, |server| {
        let kept = server.replace(&format!("http://{address}/;"), &format!("http://{address};"));
        // The unit itself adds the slash.
        let (before, after) = kept.split_once("location = /unit-7 {").unwrap();
        let (_, after) = after.split_once('}').unwrap();
        format!("{before}location = /unit-7 {{ proxy_pass http://{address}; }}{after}")
    });
    page_works(&unit, &nginx.page());
    let metrics = unit.service_token("prometheus", "metrics");
    unit.metric(&metrics, "vehicle_classifier_requests_total{endpoint=\"/health\",method=\"GET\",status=\"200\"}");
}

#[test]
fn a_browser_shows_events_and_pictures_of_the_unit_with_tickets() {
    let unit = Unit::with(&[TRUSTED]);
    unit.account("ann", "user");
    let nginx = Nginx::before(&unit, |server| server);
    let browser = Browser::start();
    browser.open(&nginx.page());
    let script = format!(
        "return (async () => {{ const token = (await (await fetch('auth/token', {{ method: 'POST', headers: {{ 'Content-Type': 'application/json' }}, \
         body: JSON.stringify({{ username: 'ann', password: '{PASSWORD}' }}) }})).json()).access_token; \
         const ask = async () => (await (await fetch('api/events/ticket', {{ method: 'POST', \
         headers: {{ Authorization: `Bearer ${{token}}` }} }})).json()).ticket; \
         const opened = (ticket) => new Promise((done) => {{ const source = new EventSource(`api/events?ticket=${{ticket}}`); \
         source.addEventListener('health', () => {{ source.close(); done('health'); }}); \
         source.onerror = () => {{ source.close(); done('refused'); }}; }}); \
         const ticket = await ask(); return [await opened(ticket), await opened(ticket), await opened(await ask())]; }})()"
    );
    assert_eq!(browser.script(&script), json!(["health", "refused", "health"]));
}
