//! The configuration file, and what is read out of its values.

use std::fs;

use vehicle_classifierd::config::{Sources, load};
use vehicle_classifierd::daemon::{capture_settings, inference_settings, redis_settings, store_settings};
use vehicle_classifierd::error::ErrorKind;
use vehicle_classifierd::traffic::RoadLayout;

thread_local! {
    static DIRECTORY: tempfile::TempDir = tempfile::tempdir().unwrap();
}

/// A file is taken, or refused as a mistake in one line; what is taken can be used by the parts that get it.
pub fn config(text: &[u8]) {
    DIRECTORY.with(|directory| {
        let file = directory.path().join("config.toml");
        fs::write(&file, text).unwrap();
        match load(&Sources { file: Some(file), ..Sources::default() }) {
            Ok(loaded) => {
                assert!(!loaded.entries().is_empty());
                let _ = inference_settings(&loaded);
                let _ = store_settings(&loaded, directory.path().to_owned());
                let cells = RoadLayout::new(&loaded.config.traffic, (640.0, 480.0)).cells(80, 60, 8.0);
                assert!([0, 80 * 60].contains(&cells.len()));
                let sync = &loaded.config.sync;
                // Without the file of an authority, which could be any file of this machine.
                let redis = sync.ca_file.as_os_str().is_empty()
                    && !sync.redis_url.is_empty()
                    && redis_settings(sync, "unit").is_err();
                assert!(!redis, "a checked address is not usable: {}", sync.redis_url.shown());
                if let Err(error) = capture_settings(&loaded) {
                    assert_eq!(error.kind(), ErrorKind::Config, "{}", error.chain());
                }
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Config, "{}", error.chain());
                assert!(!error.message().contains('\n'), "more than one line: {error}");
            }
        }
    });
}
