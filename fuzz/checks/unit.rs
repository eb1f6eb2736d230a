//! A unit in this process, without a socket: its whole HTTP side over a real store and a real model.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use salvo::conn::{ConnCtrl, SocketAddr};
use salvo::http::uri::Scheme;
use salvo::http::{HeaderMap, ResBody};
use salvo::{Request, Service};
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use vehicle_classifierd::api::{ApiParts, AppState, service};
use vehicle_classifierd::auth::Signer;
use vehicle_classifierd::auth::key::load_or_create;
use vehicle_classifierd::capture::Supervisor;
use vehicle_classifierd::classifier::ActiveModel;
use vehicle_classifierd::clock::{Clock, SystemClock};
use vehicle_classifierd::config::{Loaded, Sources, load};
use vehicle_classifierd::daemon::{capture_settings, inference_settings, load_model, store_settings};
use vehicle_classifierd::frame::LiveView;
use vehicle_classifierd::inference::Inference;
use vehicle_classifierd::metrics::Metrics;
use vehicle_classifierd::record::{AuditEvent, Outcome, Role};
use vehicle_classifierd::store::{NewUser, Store};

/// Its store grows with every request: after so many it is given up for a fresh one.
const REQUESTS_MAX: u32 = 20_000;
const DAY: Duration = Duration::from_secs(86_400);

thread_local! {
    static UNIT: std::cell::RefCell<Option<Unit>> = const { std::cell::RefCell::new(None) };
}

/// An answer.
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

struct Unit {
    // In the order in which they are to go.
    service: Service,
    inference: Option<Inference>,
    capture: Option<Supervisor>,
    store: Store,
    runtime: Runtime,
    token: String,
    requests: u32,
    _state: TempDir,
}

impl Drop for Unit {
    fn drop(&mut self) {
        if let Some(capture) = self.capture.take() {
            capture.stop();
        }
        if let Some(inference) = self.inference.take() {
            inference.stop();
        }
        self.store.close();
    }
}

/// Answers a request of an admin.
pub fn answer(mut request: Request) -> Reply {
    UNIT.with_borrow_mut(|unit| {
        if unit.as_ref().is_some_and(|unit| unit.requests >= REQUESTS_MAX) {
            *unit = None;
        }
        let unit = unit.get_or_insert_with(Unit::start);
        unit.requests += 1;
        let bearer = format!("Bearer {}", unit.token).parse().unwrap();
        request.headers_mut().insert("authorization", bearer);
        unit.runtime.block_on(unit.handle(request))
    })
}

impl Unit {
    fn start() -> Self {
        let state = tempfile::Builder::new().prefix("unit").tempdir_in(memory()).unwrap();
        let loaded = settings(state.path());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let inside = runtime.enter();
        let metrics = Arc::new(Metrics::new().unwrap());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let model = ActiveModel::new(load_model(&loaded, state.path()).unwrap());
        let store = Store::open(store_settings(&loaded, state.path().to_owned()), metrics.clone()).unwrap();
        let signer = Signer::new(&load_or_create(&state.path().join("token.key")).unwrap(), "unit-1");
        let settings = inference_settings(&loaded);
        let inference = Inference::start(&settings, &model, Box::new(|_, _| {}), &metrics).unwrap();
        let live = LiveView::new();
        let watching = capture_settings(&loaded).unwrap();
        let capture = Supervisor::start(watching, clock.clone(), metrics.clone(), Box::new(|_| {})).unwrap();
        let token = admin_token(&store, &signer, clock.as_ref());
        let shared = AppState::new(ApiParts {
            config: loaded.config.clone(),
            state_directory: state.path().to_owned(),
            unit_id: "unit-1".into(),
            guarded: Vec::new(),
            store: store.clone(),
            queue: inference.queue(),
            sync: None,
            camera: capture.status(),
            view: live,
            model,
            detector_is_older: false,
            workers: 1,
            signer,
            metrics,
            clock,
            gap: Arc::new(|| None),
        });
        let service = service(shared).unwrap();
        let (inference, capture) = (Some(inference), Some(capture));
        drop(inside);
        Self { service, inference, capture, store, runtime, token, requests: 0, _state: state }
    }

    async fn handle(&self, request: Request) -> Reply {
        let here = || SocketAddr::from(std::net::SocketAddr::from(([127, 0, 0, 1], 8000)));
        let handler = self.service.hyper_handler(here(), here(), Scheme::HTTP, None, ConnCtrl::new(), None);
        let response = handler.handle(request).await;
        let status = response.status_code.map_or(200, |status| status.as_u16());
        let headers = response.headers.clone();
        let body = match response.body {
            // These do not end by themselves.
            ResBody::Stream(_) | ResBody::Channel(_) => Vec::new(),
            body => body.collect().await.map(|body| body.to_bytes().to_vec()).unwrap_or_default(),
        };
        Reply { status, headers, body }
    }
}

/// Memory, where there is such a place: a disk would wear out.
fn memory() -> PathBuf {
    let shared = Path::new("/dev/shm");
    if shared.is_dir() { shared.to_owned() } else { std::env::temp_dir() }
}

fn settings(state: &Path) -> Loaded {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|place| place.join("models"));
    let models = models.into_iter().find(|models| models.is_dir()).unwrap();
    let file = state.join("config.toml");
    std::fs::write(&file, "").unwrap();
    let flag = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let flags = vec![
        flag("store.state_directory", state.to_str().unwrap()),
        flag("classifier.models_directory", models.to_str().unwrap()),
        flag("classifier.workers", "1"),
        flag("classifier.picture_pixels_max", "65536"),
        flag("api.requests_per_minute_max", "0"),
        flag("store.readers", "1"),
    ];
    load(&Sources { file: Some(file), flags, ..Sources::default() }).unwrap()
}

fn admin_token(store: &Store, signer: &Signer, clock: &dyn Clock) -> String {
    let now = clock.now();
    let new = NewUser {
        name: "alma".into(),
        role: Role::Admin,
        password_hash: "none".into(),
        must_change_password: false,
        created_at: now.at,
    };
    let event = AuditEvent {
        user: None,
        action: "user.add".into(),
        resource: "alma".into(),
        outcome: Outcome::Success,
        details: json!(null),
        ip_address: None,
        at: now.clone(),
        authority: None,
    };
    let user = store.add_user(new, event).wait().unwrap();
    signer.issue_access(&user, now.at, DAY).unwrap().token
}
