use std::fs;

use super::*;

fn from_file(text: &str) -> (tempfile::TempDir, Sources) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.toml");
    fs::write(&file, text).unwrap();
    (directory, Sources { file: Some(file), ..Sources::default() })
}

fn refused(text: &str) -> String {
    let (directory, sources) = from_file(text);
    let message = load(&sources).unwrap_err().to_string();
    message.replace(directory.path().to_str().unwrap(), "DIR")
}

#[test]
fn the_defaults_are_valid() {
    let loaded = load(&Sources { file: None, ..Sources::default() }).unwrap();
    assert_eq!(loaded.config.api.listen.to_string(), "127.0.0.1:8000");
}

#[test]
fn later_layers_win_and_are_named() {
    let (directory, mut sources) =
        from_file("[api]\nlisten = \"127.0.0.1:1\"\nupload_bytes_max = 1000000\n[unit]\nid = \"a\"\n");
    let fragments = directory.path().join("config.d");
    fs::create_dir(&fragments).unwrap();
    fs::write(fragments.join("20-late.toml"), "[unit]\nid = \"c\"\n").unwrap();
    fs::write(fragments.join("10-early.toml"), "[unit]\nid = \"b\"\nsite = \"north\"\n").unwrap();
    sources.environment.insert("VEHICLE_CLASSIFIER__API__UPLOAD_BYTES_MAX".into(), "2000000".into());
    sources.environment.insert("CORS_ORIGINS".into(), "https://a.example, https://b.example".into());
    sources.flags.push(("api.listen".into(), "127.0.0.1:2".into()));
    let loaded = load(&sources).unwrap();
    assert_eq!(loaded.config.api.listen.port(), 2);
    assert_eq!(loaded.config.api.upload_bytes_max, 2_000_000);
    assert_eq!(loaded.config.api.cors_origins, ["https://a.example", "https://b.example"]);
    assert_eq!((loaded.config.unit.id.as_str(), loaded.config.unit.site.as_str()), ("c", "north"));
    let origin = |key: &str| loaded.entries().into_iter().find(|(name, ..)| name == key).unwrap().2;
    assert!(origin("unit.id").ends_with("20-late.toml"));
    assert_eq!(origin("api.listen"), "the command line");
    assert_eq!(origin("api.upload_bytes_max"), "the environment");
    assert_eq!(origin("log.level"), "default");
}

#[test]
fn a_number_like_secret_stays_as_it_was_written() {
    let secret = "012345678901234567890123456789012345";
    let environment = BTreeMap::from([("SECRET_KEY".to_owned(), secret.to_owned())]);
    let loaded = load(&Sources { environment, ..Sources::default() }).unwrap();
    assert_eq!(loaded.config.auth.secret_key.reveal(), secret);
    let shown = loaded.entries().into_iter().find(|(key, ..)| key == "auth.secret_key").unwrap();
    assert_eq!(shown.1, "***");
    assert!(!format!("{loaded:?}").contains(secret));
}

#[test]
fn credentials_come_from_their_directory() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("auth.secret_key"), "k".repeat(40) + "\n").unwrap();
    let environment =
        BTreeMap::from([("CREDENTIALS_DIRECTORY".to_owned(), directory.path().to_str().unwrap().to_owned())]);
    let loaded = load(&Sources { environment, ..Sources::default() }).unwrap();
    assert_eq!(loaded.config.auth.secret_key.reveal(), "k".repeat(40));
}

#[test]
fn bad_files_say_where_and_why() {
    assert_eq!(
        refused("[api]\nlisten_on = \"x\"\n"),
        "Unknown key `api.listen_on` in DIR/config.toml. Did you mean `api.listen`? `vehicle-classifierd config show` lists all keys."
    );
    let wrong_type = refused("[api]\nupload_bytes_max = \"lots\"\n");
    assert!(wrong_type.contains("`api.upload_bytes_max`") && wrong_type.contains("DIR/config.toml"), "{wrong_type}");
    let broken = refused("[api\n");
    assert!(broken.contains("DIR/config.toml") && broken.contains("line 1"), "{broken}");
    let senseless = refused("[capture]\nfps = 0.0\n");
    assert!(senseless.starts_with("Bad value for `capture.fps` in DIR/config.toml:"), "{senseless}");
}

#[test]
fn a_named_file_must_exist() {
    let missing = Sources { file: Some("/nonexistent/config.toml".into()), ..Sources::default() };
    assert!(load(&missing).unwrap_err().to_string().contains("/nonexistent/config.toml"));
}

#[test]
fn a_misspelt_environment_variable_is_refused() {
    let environment = BTreeMap::from([("VEHICLE_CLASSIFIER__API__LISTN".to_owned(), "x".to_owned())]);
    let message = load(&Sources { environment, ..Sources::default() }).unwrap_err().to_string();
    assert!(message.starts_with("Unknown key `api.listn` in the environment. Did you mean `api.listen`?"), "{message}");
}

#[test]
fn a_variable_that_is_no_text_is_passed_over_unless_it_is_ours() {
    use std::os::unix::ffi::OsStringExt;
    let bytes = || OsString::from_vec(vec![b'a', 0xff, b'b']);
    let given = [(bytes(), "x".into()), ("FOREIGN".into(), bytes()), ("HOME".into(), "/root".into())];
    assert_eq!(environment(given.into_iter()).unwrap(), BTreeMap::from([("HOME".to_owned(), "/root".to_owned())]));
    for name in ["VEHICLE_CLASSIFIER__UNIT__SITE", "SECRET_KEY", "CREDENTIALS_DIRECTORY"] {
        let message = environment([(name.into(), bytes())].into_iter()).unwrap_err().to_string();
        assert!(message.contains(name), "{message}");
    }
    let mut broken = b"VEHICLE_CLASSIFIER__UNIT__S".to_vec();
    broken.push(0xff);
    assert!(environment([(OsString::from_vec(broken), "x".into())].into_iter()).is_err());
}

#[test]
fn hidden_files_in_the_directory_of_fragments_are_passed_over() {
    let (directory, sources) = from_file("[unit]\nsite = \"north\"\n");
    let fragments = directory.path().join("config.d");
    fs::create_dir(&fragments).unwrap();
    for name in ["._10-site.toml", ".#10-site.toml", ".toml"] {
        fs::write(fragments.join(name), [0, 5, 0x16, 7]).unwrap();
    }
    assert_eq!(load(&sources).unwrap().config.unit.site, "north");
}

#[test]
fn an_address_to_listen_on_is_taken_or_explained() {
    let (_directory, sources) = from_file("[api]\nlisten = \"localhost:8123\"\n");
    assert_eq!(load(&sources).unwrap().config.api.listen.to_string(), "127.0.0.1:8123");
    for bad in ["unit.local:8000", ":8000", "8000", "127.0.0.1", "localhost", "localhost:x"] {
        let message = refused(&format!("[api]\nlisten = \"{bad}\"\n"));
        assert!(message.contains("api.listen") && message.contains("write 127.0.0.1:8000"), "{message}");
    }
}

#[test]
fn a_log_level_that_would_silence_the_log_is_refused() {
    for (bad, part) in [
        ("warning", "did you mean warn?"),
        ("inof", "did you mean info?"),
        ("info,vehicle_classifierd::api=debgu", "did you mean debug?"),
        ("vehicle_classifierd", "is no level"),
        ("", "is no level"),
        ("info,", "is no level"),
    ] {
        let message = refused(&format!("[log]\nlevel = \"{bad}\"\n"));
        assert!(message.contains("log.level") && message.contains(part), "{message}");
    }
    for good in ["off", "WARN", "info,vehicle_classifierd::api=debug", "warn,vehicle_classifierd=trace"] {
        let (_directory, sources) = from_file(&format!("[log]\nlevel = \"{good}\"\n"));
        load(&sources).unwrap();
    }
}
