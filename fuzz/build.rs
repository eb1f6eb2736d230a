//! Lets the targets find TensorFlow Lite where the product's build found it.

use std::env;
use std::path::PathBuf;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let target = env::var("TARGET").unwrap_or_default().to_uppercase().replace('-', "_");
    let name = format!("TFLITEC_PREBUILT_PATH_{target}");
    println!("cargo::rerun-if-env-changed={name}");
    if let Some(directory) = env::var_os(name).map(PathBuf::from).as_deref().and_then(|library| library.parent()) {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{}", directory.display());
    }
}
