//! `doctor [--json]`: everything a technician would check, one line each, with the remedy.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Instant;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::api::disk_free;
use crate::capture::{CameraFault, FrameSource, Replay, SourceSpec, V4l2, list};
use crate::cli::model::{detector_proven, golden_result, proven};
use crate::cli::{Context, say, say_json};
use crate::clock::{SystemClock, synchronised};
use crate::config::{Loaded, Sources, load};
use crate::daemon::startup::Startup;
use crate::daemon::tls::{TlsIdentity, existing};
use crate::daemon::{self, capture_settings, effective, load_detector, load_model};
use crate::error::{Error, Result};
use crate::files::writable_by_all;
use crate::logging::mask;
use crate::{place, sync};

/// Less free space than this is a warning.
const DISK_FREE_BYTES_MIN: u64 = 256 << 20;

#[derive(clap::Args)]
pub struct DoctorArguments {
    /// One JSON object a line instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    /// Not required, or not set up: the unit works.
    Note,
    Failed,
}

#[derive(Serialize)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    /// Whether the unit cannot do its work while this fails: only then does the command fail.
    required: bool,
    /// What was found, and the remedy where one is needed.
    message: String,
}

/// Sources that a shell does not see.
const GIVEN_TO_THE_UNIT: [&str; 3] = ["the environment", "systemd credentials", "the command line"];
/// What the configuration shows of a secret.
const MASKED: &str = "***";

/// A certificate that expires sooner is to be renewed.
const RENEWAL_DAYS: i64 = 21;

/// What is checked, whether the unit needs it, and how.
type Check = (&'static str, bool, fn(&Context) -> Result<(Verdict, String)>);

const CHECKS: [Check; 14] = [
    ("state directory", true, state_directory),
    ("access", false, access),
    ("store", true, store),
    ("start-up", true, startup),
    ("model", true, model),
    ("detector", true, detector),
    ("camera", true, camera),
    // The unit counts, and keeps what it counted, without these.
    ("redis", false, redis),
    ("tls", false, tls),
    ("clock", false, clock),
    ("disk", false, disk),
    ("backup", false, backup),
    ("wear", false, wear),
    ("users", false, users),
];

pub fn run(arguments: &DoctorArguments, sources: &Sources) -> Result<ExitCode> {
    let mut findings = Vec::new();
    match load(sources) {
        Err(error) => findings.push(finding("configuration", true, Err(error))),
        Ok(loaded) => {
            let valid = Ok((Verdict::Ok, "valid; `config show` prints it".to_owned()));
            findings.push(finding("configuration", true, valid));
            let (loaded, running) = running_unit(loaded, sources);
            findings.push(finding("running unit", false, running));
            let context = Context::new(loaded);
            findings.extend(CHECKS.iter().map(|(check, required, look)| finding(check, *required, look(&context))));
        }
    }
    for finding in &findings {
        if arguments.json {
            say_json(finding)?;
        } else {
            let mark = match (finding.verdict, finding.required) {
                (Verdict::Ok, _) => "ok    ",
                (Verdict::Note, _) => "note  ",
                (Verdict::Failed, true) => "FAILED",
                (Verdict::Failed, false) => "WARN  ",
            };
            say(&format!("{mark}  {:16} {}", finding.check, finding.message))?;
        }
    }
    let failed = findings.iter().any(|finding| finding.verdict == Verdict::Failed && finding.required);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn finding(check: &'static str, required: bool, found: Result<(Verdict, String)>) -> Finding {
    let (verdict, message) = found.unwrap_or_else(|error| (Verdict::Failed, error.chain()));
    Finding { check, verdict, required, message: mask(&message).into_owned() }
}

/// The configuration to check: this command's, with what the service manager gave the running unit and no shell sees.
fn running_unit(loaded: Loaded, sources: &Sources) -> (Loaded, Result<(Verdict, String)>) {
    let Some(unit) = effective::of_running_unit(&place::state_path(&loaded.config.store)) else {
        return (loaded, Ok((Verdict::Note, "no unit runs on this state directory".into())));
    };
    let mut asked = sources.clone();
    let mut differing = Vec::new();
    for (own, running) in effective::entries(&loaded).into_iter().zip(&unit.entries) {
        if own.key != running.key || own.value == running.value {
            continue;
        }
        let given = GIVEN_TO_THE_UNIT.contains(&running.source.as_str());
        match text(&running.value).filter(|text| given && text != MASKED) {
            Some(text) => asked.flags.push((own.key, text)),
            None => differing.push(format!("{} (in {})", own.key, running.source)),
        }
    }
    let loaded = match load(&asked) {
        Ok(asked) => asked,
        Err(error) => return (loaded, Err(error)),
    };
    let adopted: Vec<_> = asked.flags[sources.flags.len()..].iter().map(|(key, _)| key.as_str()).collect();
    let mut said = "it was asked for its configuration".to_owned();
    if !adopted.is_empty() {
        said = format!("{said}; checked with its values of {}", adopted.join(", "));
    }
    if differing.is_empty() {
        return (loaded, Ok((Verdict::Ok, said)));
    }
    let text = format!("{said}; it works with other values of {}: restart or reload it", differing.join(", "));
    (loaded, Ok((Verdict::Note, text)))
}

/// As a flag takes it.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Array(items) => items.iter().map(text).collect::<Option<Vec<_>>>().map(|items| items.join(",")),
        Value::Object(_) | Value::Null => None,
        Value::String(text) => Some(text.clone()),
        plain => Some(plain.to_string()),
    }
}

fn startup(context: &Context) -> Result<(Verdict, String)> {
    Startup::read(&context.loaded, &context.state_directory()?)?;
    Ok((Verdict::Ok, "every file that the configuration names can be used".into()))
}

fn detector(context: &Context) -> Result<(Verdict, String)> {
    let startup = Startup::read(&context.loaded, &context.state_directory()?)?;
    let Some(detector) = startup.detector else {
        return Ok((Verdict::Note, "not in use: there is no source of video, or traffic.detector is none".into()));
    };
    Ok((Verdict::Ok, detector_proven(&detector, context)?))
}

fn state_directory(context: &Context) -> Result<(Verdict, String)> {
    let directory = context.claimed_directory()?;
    let probe = directory.join(format!(".doctor-{}", std::process::id()));
    let written = OpenOptions::new().write(true).create_new(true).open(&probe).and_then(|file| file.sync_all());
    let removed = std::fs::remove_file(&probe);
    written.and(removed).map_err(|cause| {
        let named = directory.display();
        Error::config(format!(
            "{named} cannot be written to ({cause}); make it belong to the account that runs the unit"
        ))
    })?;
    Ok((Verdict::Ok, directory.display().to_string()))
}

/// Whoever can change these rules the unit.
fn access(context: &Context) -> Result<(Verdict, String)> {
    let exposed = writable_by_all(&daemon::guarded(&context.loaded, &context.state_directory()?));
    if exposed.is_empty() {
        return Ok((Verdict::Ok, "configuration and state are the unit's and root's alone to change".into()));
    }
    let named: Vec<_> = exposed.iter().map(|path| path.display().to_string()).collect();
    Ok((Verdict::Note, format!("every account of this machine can write to these; chmod o-w {}", named.join(" "))))
}

fn store(context: &Context) -> Result<(Verdict, String)> {
    let store = context.store()?;
    let health = store.health().wait();
    store.close();
    let health = health?;
    if health.damaged > 0 {
        let text = format!(
            "{} damaged database(s) set aside; `store check` names them, `restore` brings a backup back, `store acknowledge` ends this line",
            health.damaged
        );
        return Ok((Verdict::Failed, text));
    }
    if health.ok {
        return Ok((Verdict::Ok, format!("{} KiB on disk; `store check` reads all of it", health.bytes / 1_024)));
    }
    Ok((Verdict::Failed, "the database does not answer; see `store check`".into()))
}

fn model(context: &Context) -> Result<(Verdict, String)> {
    let model = load_model(&context.loaded, &context.state_directory()?)?;
    let sound = proven(&model, &golden_result(&model, context)?);
    let has_camera = context.loaded.config.capture.source != "none";
    let detector = if has_camera { load_detector(&context.loaded)? } else { None };
    let newer_detectors = detector.map(|detector| detector.unusable).unwrap_or_default();
    let unusable = model.unusable.iter().chain(&newer_detectors);
    let said: Vec<_> = unusable.map(|version| format!("{} cannot be used ({})", version.title, version.why)).collect();
    if said.is_empty() {
        return Ok((Verdict::Ok, sound));
    }
    Ok((Verdict::Failed, format!("{} {}: install it again or remove its directory", sound, said.join("; "))))
}

fn camera(context: &Context) -> Result<(Verdict, String)> {
    match context.loaded.config.capture.source.parse()? {
        SourceSpec::None => Ok((Verdict::Note, "none is configured; set capture.source".into())),
        SourceSpec::Replay(spec) => {
            let (path, fps) = (spec.path.display().to_string(), context.loaded.config.capture.fps);
            Replay::open(spec, fps, Arc::new(SystemClock::new()), Box::new(|_| true))?;
            Ok((Verdict::Ok, format!("replay of {path}")))
        }
        SourceSpec::V4l2(path) => one_frame(path, context),
    }
}

/// Opens the camera as the unit would and takes one frame. On a thread of its own: a driver may block for ever.
fn one_frame(path: PathBuf, context: &Context) -> Result<(Verdict, String)> {
    let settings = capture_settings(&context.loaded)?;
    let (send, receive) = channel();
    let said = path.display().to_string();
    let look = move || -> Result<(Verdict, String)> {
        let opened = V4l2::offers(&path)
            .and_then(|offers| Ok((offers, V4l2::open(&path, &settings.requested, Arc::new(SystemClock::new()))?)));
        let (offers, mut camera) = match opened {
            Ok(opened) => opened,
            // The running unit has the camera: it knows best.
            Err(error) if error.fault == CameraFault::InUse => {
                return Ok((Verdict::Note, format!("in use, as it is while the unit runs ({})", Error::from(error))));
            }
            Err(error) => return Err(error.into()),
        };
        let begun = Instant::now();
        let bytes = camera.next()?.map_or(0, |frame| frame.bytes.len());
        let (working, took) = (camera.working(), begun.elapsed().as_millis());
        let offered = list(&offers);
        Ok((Verdict::Ok, format!("{said}: {working}; a frame of {bytes} bytes after {took} ms; it offers {offered}")))
    };
    std::thread::spawn(move || send.send(look()));
    let limit = settings.pauses.opening + settings.frame_deadline;
    match receive.recv_timeout(limit) {
        Ok(found) => found,
        Err(RecvTimeoutError::Timeout) => Ok((
            Verdict::Failed,
            format!("no frame within {} s: the driver blocks; plug the camera in again", limit.as_secs()),
        )),
        Err(RecvTimeoutError::Disconnected) => {
            Ok((Verdict::Failed, "the camera library failed; plug the camera in again".into()))
        }
    }
}

fn redis(context: &Context) -> Result<(Verdict, String)> {
    let config = &context.loaded.config;
    if config.sync.redis_url.is_empty() {
        return Ok((Verdict::Note, "no central site is configured; set sync.redis_url to have one".into()));
    }
    let unit = place::unit_id(&config.unit, &context.state_directory()?)?;
    let shown = config.sync.redis_url.shown();
    Ok(match sync::probe(daemon::redis_settings(&config.sync, &unit)?)? {
        Ok(found) => (Verdict::Ok, format!("{shown} takes this unit's events; {found}")),
        // The unit works without it, and keeps what it cannot deliver.
        Err(problem) => (Verdict::Failed, format!("{shown}: {problem}")),
    })
}

fn tls(context: &Context) -> Result<(Verdict, String)> {
    let api = &context.loaded.config.api;
    if let Some(identity) = existing(&api.tls, &context.state_directory()?)? {
        let said = format!("the certificate of {}, SHA-256 {}", identity.file.display(), identity.fingerprint);
        return Ok(expiry(&identity, Timestamp::now(), &said));
    }
    if api.tls.self_signed {
        return Ok((Verdict::Note, "a self-signed certificate will be made on the first start".into()));
    }
    if api.listen.ip().is_loopback() {
        return Ok((Verdict::Note, format!("plain HTTP on {}, reachable from this device only", api.listen)));
    }
    if api.behind_tls_proxy {
        return Ok((Verdict::Ok, "a TLS proxy is declared (api.behind_tls_proxy)".into()));
    }
    let remedy = "passwords can be read on the way; set api.tls.certificate and api.tls.key, or api.tls.self_signed, or put a \
                  TLS proxy in front and set api.behind_tls_proxy";
    Ok((Verdict::Note, format!("plain HTTP on {}: {remedy}", api.listen)))
}

/// What remains of the certificate's time.
fn expiry(identity: &TlsIdentity, now: Timestamp, said: &str) -> (Verdict, String) {
    let (end, days) = (identity.expires_at.strftime("%F"), identity.expires_at.duration_since(now).as_hours() / 24);
    if identity.expires_at <= now {
        return (
            Verdict::Failed,
            format!("{said}, expired on {end}: clients refuse it; put a new one there and reload"),
        );
    }
    if days < RENEWAL_DAYS {
        return (Verdict::Note, format!("{said}, expires on {end}, in {days} day(s): put a new one there and reload"));
    }
    (Verdict::Ok, format!("{said}, valid until {end}"))
}

fn clock(_context: &Context) -> Result<(Verdict, String)> {
    if synchronised() {
        return Ok((Verdict::Ok, "synchronised".into()));
    }
    Ok((Verdict::Note, "not synchronised: records are marked as uncertain; start systemd-timesyncd or chrony".into()))
}

fn disk(context: &Context) -> Result<(Verdict, String)> {
    let directory = context.state_directory()?;
    let free = disk_free(&directory)?;
    let said = format!("{} MiB free in {}", free >> 20, Path::new(&directory).display());
    if free >= DISK_FREE_BYTES_MIN {
        return Ok((Verdict::Ok, said));
    }
    Ok((Verdict::Note, format!("{said}: make room, or lower store.classifications_max")))
}

fn wear(context: &Context) -> Result<(Verdict, String)> {
    let store = context.store()?;
    let days = store.write_volume(30).wait();
    store.close();
    let days = days?;
    let Some(newest) = days.last() else {
        return Ok((Verdict::Note, "nothing noted yet; a running unit notes what it writes every ten minutes".into()));
    };
    let mean = days.iter().map(|day| day.bytes).sum::<u64>() / days.len() as u64;
    let said = format!(
        "{} MiB and {} commits written on the newest day, {} MiB a day on average of {}",
        newest.bytes >> 20,
        newest.commits,
        mean >> 20,
        days.len()
    );
    Ok((Verdict::Ok, said))
}

fn backup(context: &Context) -> Result<(Verdict, String)> {
    if context.loaded.config.store.backup_hours == 0 {
        return Ok((Verdict::Note, "no automatic backups (store.backup_hours = 0)".into()));
    }
    let store = context.store()?;
    let newest = store.backups().pop();
    store.close();
    let Some(newest) = newest else {
        return Ok((Verdict::Note, "none yet; a running unit makes the first one after a few minutes".into()));
    };
    let hours = newest.made.elapsed().map_or(0, |age| age.as_secs() / 3_600);
    let said = format!("{} of {hours} h ago", newest.path.display());
    if hours > 2 * u64::from(context.loaded.config.store.backup_hours) {
        return Ok((Verdict::Note, format!("{said}: none since; the unit's log says why")));
    }
    Ok((Verdict::Ok, said))
}

fn users(context: &Context) -> Result<(Verdict, String)> {
    let store = context.store()?;
    let users = store.users().wait();
    store.close();
    let users = users?;
    let waiting = users.iter().filter(|user| user.must_change_password).count();
    Ok(match (users.len(), waiting) {
        (0, _) => (Verdict::Note, "none yet; the first start creates admin".into()),
        (all, 0) => (Verdict::Ok, format!("{all} account(s)")),
        (all, waiting) => {
            (Verdict::Note, format!("{all} account(s), {waiting} of which must still change the password"))
        }
    })
}
