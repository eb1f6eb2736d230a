//! The unit on a small file system of its own that is really full, really fails, and is really made read-only by the kernel.
//!
//! A memory file system can be mounted by anybody who may make user namespaces. A disk that fails is a zram device whose memory
//! is taken away: for root only, and only where the kernel has it; elsewhere `disk_faults.rs` has to do.

use std::fs::{self, File};
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use image::{GrayImage, ImageFormat, Luma};
use tempfile::TempDir;

use crate::unit::{Reply, Unit, golden};
use crate::waiting::{PATIENCE, pause, until};

fn works(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// A road of one vehicle after the other, as a recording.
fn road(directory: &Path) -> String {
    let mut clip = Vec::new();
    for step in 0..60_u32 {
        let frame = GrayImage::from_fn(320, 240, |x, y| {
            let vehicle = (step * 9).checked_sub(60).is_some_and(|left| (left..left + 60).contains(&x));
            Luma([if vehicle && (100..140).contains(&y) { 230 } else { 90 + (x / 8 % 4 + y / 8 % 4) as u8 }])
        });
        let mut jpeg = Cursor::new(Vec::new());
        frame.write_to(&mut jpeg, ImageFormat::Jpeg).unwrap();
        clip.extend(jpeg.into_inner());
    }
    fs::write(directory.join("road.mjpeg"), clip).unwrap();
    // So slowly that also a busy machine looks at frames enough.
    format!("replay:{}?fps=8&loop=true", directory.join("road.mjpeg").display())
}

/// The sum of a metric over its labels.
fn sum(unit: &Unit, admin: &str, name: &str) -> f64 {
    let text = unit.get("/metrics", admin).text();
    let series = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{'));
    series.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

fn passed(unit: &Unit, admin: &str) -> f64 {
    sum(unit, admin, "vehicle_classifier_passages_total")
}

fn stored(unit: &Unit, token: &str) -> f64 {
    let page = unit.get("/api/traffic/passages?limit=1000", token).json();
    page["data"]["passages"].as_array().unwrap().len() as f64
}

fn upload(unit: &Unit, token: &str) -> Reply {
    unit.classify(token, "a.jpg", &golden())
}

/// Uploads until one is refused, as it must be: what room there was in the log is used up first. How many were taken.
fn assert_refused(unit: &Unit, token: &str, words: &str) -> i64 {
    let mut taken = 0;
    until("refused, and told", || {
        let reply = upload(unit, token);
        if reply.status == 201 {
            taken += 1;
            return false;
        }
        assert_eq!((reply.status, reply.header("retry-after")), (503, Some("30")), "{}", reply.text());
        assert_eq!(reply.error_code(), "SERVICE_UNAVAILABLE");
        assert!(reply.text().contains(words), "{}", reply.text());
        assert_eq!(unit.get("/health/live", "").status, 200);
        let health = unit.get("/health", "").json();
        let told = (&health["status"], &health["database_healthy"]) == (&"degraded".into(), &false.into());
        // A passage or a stretch of watching is smaller than an upload: for one of them there may have been room meanwhile.
        told && unit.get("/health/ready", "").status == 503
    });
    taken
}

fn assert_sound(unit: &Unit) {
    for check in [["store", "check"], ["audit", "verify"]] {
        let output = unit.command(&check, "");
        assert!(output.status.success(), "{check:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Takes all the room that is left.
fn hog(directory: &Path) -> PathBuf {
    let path = directory.join("hog");
    let mut file = File::create(&path).unwrap();
    for size in [1 << 16, 1 << 10, 1] {
        while file.write_all(&vec![7; size]).is_ok() {}
    }
    path
}

#[test]
fn on_a_full_file_system_uploads_are_refused_and_passages_wait_until_there_is_room() {
    if !works(Command::new("unshare").args(["-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"])) {
        println!("skipped: this machine lets nobody mount a memory file system (unshare -rm)");
        return;
    }
    let recording = TempDir::new().unwrap();
    let source = road(recording.path());
    let mount = "mount -t tmpfs -o size=12m,mode=700 tmpfs \"$4\"";
    let settings = [("CAPTURE__SOURCE", source.as_str()), ("TRAFFIC__DETECTOR", "none")];
    let unit = Unit::on_own_disk("-rm", mount, &settings);
    let (token, admin) = (unit.account("ann", "user"), unit.account("alma", "admin"));
    until("vehicles pass", || stored(&unit, &token) > 0.0);
    let hog = hog(&Path::new("/proc")
        .join(unit.pid().to_string())
        .join("root")
        .join(unit.state_directory().strip_prefix("/").unwrap()));
    assert_refused(&unit, &token, "disk is full");
    until("passages wait in memory", || unit.metric(&admin, "vehicle_classifier_store_held") >= 2.0);
    let health = unit.get("/health", "").json()["reasons"].to_string();
    assert!(health.contains("records are kept in memory"), "{health}");
    assert!(passed(&unit, &admin) > stored(&unit, &token));
    // The time goes on to be accounted for, past the point at which it would have been stored.
    let accounted = || sum(&unit, &admin, "vehicle_classifier_watch_seconds_total");
    let before = accounted();
    until("twelve seconds", || accounted() > before + 12.0);
    fs::remove_file(hog).unwrap();
    until("uploads are taken again", || upload(&unit, &token).status == 201);
    until("every vehicle that passed is stored", || {
        unit.metric(&admin, "vehicle_classifier_store_held") == 0.0 && passed(&unit, &admin) == stored(&unit, &token)
    });
    assert_eq!(unit.get("/health", "").json()["database_healthy"], true);
    assert_sound(&unit);
}

/// A block device in memory whose memory can be taken away.
struct Zram {
    number: String,
}

impl Zram {
    const CONTROL: &'static str = "/sys/class/zram-control";

    fn new() -> Option<Self> {
        // Reading it makes a device.
        let number = fs::read_to_string(format!("{}/hot_add", Self::CONTROL)).ok()?.trim().to_owned();
        let device = Self { number };
        fs::write(device.facts("disksize"), "64M").ok()?;
        // Without a journal: a failed write is then an error of that write, and not the end of the file system.
        let made = works(Command::new("mkfs.ext4").args(["-q", "-F", "-O", "^has_journal"]).arg(device.path()));
        made.then_some(device)
    }

    fn path(&self) -> String {
        format!("/dev/zram{}", self.number)
    }

    fn facts(&self, name: &str) -> String {
        format!("/sys/block/zram{}/{name}", self.number)
    }

    fn limit(&self, bytes: &str) {
        fs::write(self.facts("mem_limit"), bytes).unwrap();
    }

    /// As after an error that the kernel found in the file system.
    fn make_read_only(&self) {
        fs::write(format!("/sys/fs/ext4/zram{}/trigger_fs_error", self.number), "test").unwrap();
    }

    fn unit(&self, errors: &str) -> Unit {
        let mount = format!("mount -o errors={errors} {} \"$4\"\nchmod 700 \"$4\"", self.path());
        Unit::on_own_disk("-m", &mount, &[])
    }
}

impl Drop for Zram {
    fn drop(&mut self) {
        // The last unit's namespace may take a moment to go.
        let deadline = Instant::now() + PATIENCE;
        while fs::write(self.facts("reset"), "1").is_err() && Instant::now() < deadline {
            pause();
        }
        let _ = fs::write(format!("{}/hot_remove", Self::CONTROL), &self.number);
    }
}

/// By their rows in the trail, each written in one transaction with its classification.
fn classifications(unit: &Unit) -> i64 {
    let output = unit.command(&["export", "audit", "--from", "2020-01-01", "--to", "2099-01-01"], "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter(|line| line.contains(",vehicle.classify,")).count() as i64
}

#[test]
fn a_device_that_fails_or_becomes_read_only_costs_uploads_only() {
    let Some(device) = Zram::new() else {
        println!("skipped: no zram device here that this account may use");
        return;
    };
    let mut unit = device.unit("continue");
    let token = unit.account("ann", "user");
    let mut taken = 0;
    for _ in 0..3 {
        assert_eq!(upload(&unit, &token).status, 201);
        device.limit("4K");
        taken += assert_refused(&unit, &token, "disk is full or failing");
        device.limit("0");
        until("uploads are taken again", || upload(&unit, &token).status == 201);
        assert_eq!(unit.get("/health", "").json()["database_healthy"], true);
        taken += 2;
        assert_eq!(classifications(&unit), taken, "what was answered with 201, and nothing else");
    }
    assert_sound(&unit);
    unit.signal("TERM");
    assert!(unit.wait().success(), "{}", unit.log.to_end());
    drop(unit);

    let mut unit = device.unit("remount-ro");
    assert_eq!(upload(&unit, &token).status, 201);
    device.make_read_only();
    taken += assert_refused(&unit, &token, "disk is full or failing");
    // Only a new mount helps; the unit can be stopped for it as ever.
    unit.signal("TERM");
    assert!(unit.wait().success(), "{}", unit.log.to_end());
    drop(unit);
    works(Command::new("fsck.ext4").arg("-p").arg(device.path()));
    let unit = device.unit("continue");
    assert_eq!(upload(&unit, &token).status, 201);
    assert_eq!(classifications(&unit), taken + 2, "what was answered with 201, and nothing else");
    assert_sound(&unit);
}
