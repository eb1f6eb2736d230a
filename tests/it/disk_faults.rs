//! A disk that is full, read-only or failing, and well again: refused with the reason, kept, and on without a restart.

use std::fs;

use crate::disk::tap;
use crate::unit::{Unit, golden};
use crate::waiting::until;

/// The errno of Linux, and what the answer says.
const FAULTS: [(&str, i32, &str); 3] =
    [("full", 28, "disk is full"), ("failing", 5, "failing"), ("read-only", 30, "disk")];

#[test]
fn a_disk_that_refuses_writes_costs_uploads_only_and_recovery_no_restart() {
    let place = tempfile::tempdir().unwrap();
    let (library, fault) = (tap(place.path()), place.path().join("fault"));
    let unit = Unit::with_environment(&[
        ("LD_PRELOAD", library.to_str().unwrap()),
        ("DISK_TAP_DIRECTORY", "/tmp/"),
        ("DISK_TAP_FAULT", fault.to_str().unwrap()),
    ]);
    let token = unit.account("ann", "user");
    assert_eq!(unit.classify(&token, "a.jpg", &golden()).status, 201);
    for (name, errno, words) in FAULTS {
        fs::write(&fault, errno.to_string()).unwrap();
        let refused = unit.classify(&token, "a.jpg", &golden());
        assert_eq!(refused.status, 503, "{name}: {}", refused.text());
        assert_eq!(refused.error_code(), "SERVICE_UNAVAILABLE");
        assert!(refused.text().contains(words), "{name}: {}", refused.text());
        assert_eq!(refused.header("retry-after"), Some("30"), "{name}");
        let health = unit.get("/health", "").json();
        assert_eq!((&health["status"], &health["database_healthy"]), (&"degraded".into(), &false.into()), "{name}");
        assert_eq!(unit.get("/health/live", "").status, 200);
        fs::remove_file(&fault).unwrap();
        until("uploads are taken again", || unit.classify(&token, "a.jpg", &golden()).status == 201);
        assert_eq!(unit.get("/health", "").json()["database_healthy"], true, "{name}");
    }
    for check in [["store", "check"], ["audit", "verify"]] {
        let output = unit.command(&check, "");
        assert!(output.status.success(), "{check:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
