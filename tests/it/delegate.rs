//! The XNNPACK delegate takes the whole graph of every shipped model: nothing is left to TFLite's slow kernels.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Nodes left to execute; `delegated` says whether XNNPACK may take its share.
fn nodes(model: &Path, delegated: bool) -> usize {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_vehicle-classifierd"));
    let mut python = Command::new("python3");
    python.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/delegate.py"));
    python.arg(program.with_file_name("libtensorflowlite_c.so")).arg(model);
    if !delegated {
        python.arg("plain");
    }
    let output = python.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

#[test]
fn one_partition_holds_the_whole_graph_of_every_shipped_model() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let versions = |name: PathBuf| {
        std::fs::read_dir(name).into_iter().flatten().map(|entry| entry.unwrap().path().join("model.tflite"))
    };
    let names = std::fs::read_dir(models).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let shipped: Vec<_> = names.flat_map(versions).filter(|model| model.is_file()).collect();
    assert!(!shipped.is_empty());
    for model in shipped {
        assert!(nodes(&model, false) > 20, "{}: the probe counts nothing", model.display());
        assert_eq!(nodes(&model, true), 1, "{}", model.display());
    }
}
