//! Merges the layers of the configuration, later wins: defaults, `config.toml`, `config.d/*.toml`, systemd credentials,
//! environment, flags. Every value keeps the name of the layer it came from, for messages and for `config show`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use config::{ConfigError, File, FileFormat, Map, Source, Value, ValueKind};
use serde_json::Value as Json;

use super::sections::Config;
use crate::error::{Error, Result, nearest};

/// The configuration file read when none is named; it may be absent.
pub const DEFAULT_FILE: &str = "/etc/vehicle-classifier/config.toml";
const ENVIRONMENT_PREFIX: &str = "VEHICLE_CLASSIFIER__";
/// Names the predecessor's deployments use.
const ALIASES: [(&str, &str); 3] =
    [("SECRET_KEY", "auth.secret_key"), ("CORS_ORIGINS", "api.cors_origins"), ("TRUSTED_HOSTS", "api.trusted_hosts")];
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";
/// Read from `$CREDENTIALS_DIRECTORY/<key>`.
const CREDENTIALS: [&str; 4] = ["auth.secret_key", "sync.redis_url", "sync.redis_password", "sync.sentinel_password"];

/// The variables that are text. A variable of another program may hold any bytes (POSIX.1-2024, 8.1) and is passed over.
///
/// # Errors
/// [`crate::error::ErrorKind::Config`] when a variable of this program is not UTF-8.
pub fn environment(variables: impl Iterator<Item = (OsString, OsString)>) -> Result<BTreeMap<String, String>> {
    let own = |name: &str| {
        name.starts_with(ENVIRONMENT_PREFIX)
            || name == CREDENTIALS_DIRECTORY
            || ALIASES.iter().any(|(alias, _)| *alias == name)
    };
    let mut readable = BTreeMap::new();
    for (name, value) in variables {
        match (name.to_str(), value.into_string()) {
            (Some(name), Ok(value)) => {
                readable.insert(name.to_owned(), value);
            }
            _ if own(&name.to_string_lossy()) => {
                let name = name.to_string_lossy();
                return Err(Error::config(format!("The environment variable {name} is not UTF-8 text; set it anew.")));
            }
            _ => {}
        }
    }
    Ok(readable)
}

/// Where to look; nothing here is read from the process itself, so tests need not touch the real environment.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `--config F`; it must exist, unlike [`DEFAULT_FILE`].
    pub file: Option<PathBuf>,
    /// Environment variables.
    pub environment: BTreeMap<String, String>,
    /// Flags as `(key, value)`, for example `("store.state_directory", "/tmp/x")`.
    pub flags: Vec<(String, String)>,
}

/// The effective configuration and where each key's value came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    /// Files and directories that it is read from.
    pub files: Vec<PathBuf>,
    origins: BTreeMap<String, String>,
}

impl Loaded {
    /// Every key with its value (secrets masked) and its origin, in order of the keys.
    #[must_use]
    pub fn entries(&self) -> Vec<(String, Json, String)> {
        let mut entries = Vec::new();
        flatten_json("", &tree(&self.config), &mut |key, value| {
            let origin = self.origins.get(key).cloned().unwrap_or_else(|| "default".into());
            entries.push((key.to_owned(), value.clone(), origin));
        });
        entries
    }
}

/// Merges all layers and validates the result.
///
/// # Errors
/// [`crate::error::ErrorKind::Config`], naming the file or layer, the key and the reason.
pub fn load(sources: &Sources) -> Result<Loaded> {
    let known = known_keys();
    let mut builder = config::Config::builder();
    let mut origins = BTreeMap::new();
    for layer in layers(sources, &known)? {
        for (key, origin) in layer.keys() {
            if !known.contains_key(&key) {
                return Err(unknown_key(&key, &origin, &known));
            }
            origins.insert(key, origin);
        }
        builder = builder.add_source(layer);
    }
    let merged = builder.build().map_err(|cause| Error::config(cause.to_string()))?;
    let config: Config = merged.try_deserialize().map_err(|cause| Error::config(format!("Bad value: {cause}.")))?;
    if let Some((key, reason)) = config.problem() {
        let origin = origins.get(key).map_or("default", String::as_str);
        return Err(Error::config(format!("Bad value for `{key}` in {origin}: {reason}.")));
    }
    Ok(Loaded { config, files: files(sources), origins })
}

fn layers(sources: &Sources, known: &BTreeMap<String, Json>) -> Result<Vec<Layer>> {
    let mut layers = Vec::new();
    let main = sources.file.clone().unwrap_or_else(|| DEFAULT_FILE.into());
    if sources.file.is_some() || main.exists() {
        layers.push(Layer::from_file(&main)?);
    }
    for fragment in fragments(&main)? {
        layers.push(Layer::from_file(&fragment)?);
    }
    layers.push(credentials(&sources.environment, known)?);
    layers.push(variables(&sources.environment, known));
    layers.push(Layer::from_texts("the command line", sources.flags.iter().cloned(), known));
    Ok(layers)
}

/// The main file and the directory of the fragments, as far as they exist; also the directory of [`DEFAULT_FILE`], which
/// holds nothing else.
fn files(sources: &Sources) -> Vec<PathBuf> {
    let main = sources.file.clone().unwrap_or_else(|| DEFAULT_FILE.into());
    let own = main.parent().filter(|_| sources.file.is_none()).map(Path::to_owned);
    let found = [Some(main.with_file_name("config.d")), Some(main), own];
    found.into_iter().flatten().filter(|path| path.exists()).collect()
}

/// `config.d/*.toml` beside the main file, in name order, as a shell lists them: without hidden files, which editors
/// (`.#x.toml`) and other systems (`._x.toml`) leave behind.
fn fragments(main: &Path) -> Result<Vec<PathBuf>> {
    let directory = main.with_file_name("config.d");
    let entries = match std::fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(cause) => return Err(Error::config(format!("Cannot list {}: {cause}.", directory.display()))),
    };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "toml"))
        .filter(|path| !path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")))
        .collect();
    paths.sort();
    Ok(paths)
}

fn credentials(environment: &BTreeMap<String, String>, known: &BTreeMap<String, Json>) -> Result<Layer> {
    let Some(directory) = environment.get(CREDENTIALS_DIRECTORY).map(PathBuf::from) else {
        return Ok(Layer::default());
    };
    let mut found = Vec::new();
    for key in CREDENTIALS {
        let path = directory.join(key);
        match std::fs::read_to_string(&path) {
            Ok(text) => found.push((key.to_owned(), text.trim_end().to_owned())),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {}
            Err(cause) => {
                return Err(Error::config(format!("Cannot read the credential {}: {cause}.", path.display())));
            }
        }
    }
    Ok(Layer::from_texts("systemd credentials", found.into_iter(), known))
}

fn variables(variables: &BTreeMap<String, String>, known: &BTreeMap<String, Json>) -> Layer {
    let aliases = ALIASES.iter().filter_map(|(name, key)| Some(((*key).to_owned(), variables.get(*name)?.clone())));
    let own = variables.iter().filter_map(|(name, value)| {
        let key = name.strip_prefix(ENVIRONMENT_PREFIX)?.to_lowercase().replace("__", ".");
        Some((key, value.clone()))
    });
    Layer::from_texts("the environment", aliases.chain(own), known)
}

/// One layer: values with their origin, by key.
#[derive(Clone, Debug, Default)]
struct Layer {
    values: Map<String, Value>,
}

impl Layer {
    fn from_file(path: &Path) -> Result<Self> {
        let named = path.display().to_string();
        let unusable = |why: String| Error::config(format!("Cannot use {named}: {why}."));
        let text = std::fs::read_to_string(path).map_err(|cause| unusable(cause.to_string()))?;
        let values = File::from_str(&text, FileFormat::Toml).collect().map_err(|cause| unusable(said(&cause)))?;
        // Named here: the crate would call the file by a path relative to the working directory.
        Ok(Self { values: values.into_iter().map(|(key, value)| (key, from(&named, value))).collect() })
    }

    /// Texts become lists where the key's default is one; numbers and booleans are converted when they are read.
    fn from_texts(origin: &str, texts: impl Iterator<Item = (String, String)>, known: &BTreeMap<String, Json>) -> Self {
        let origin = origin.to_owned();
        let mut values = Map::new();
        for (key, text) in texts {
            let kind = if known.get(&key).is_some_and(Json::is_array) {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                ValueKind::Array(items.map(|item| Value::new(Some(&origin), item)).collect())
            } else {
                ValueKind::String(text)
            };
            values.insert(key, Value::new(Some(&origin), kind));
        }
        Self { values }
    }

    /// Every leaf key with its origin.
    fn keys(&self) -> Vec<(String, String)> {
        let mut keys = Vec::new();
        for (key, value) in &self.values {
            flatten_value(key, value, &mut keys);
        }
        keys
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.values.clone())
    }
}

/// `value` with everything in it, as coming from `origin`.
fn from(origin: &String, value: Value) -> Value {
    let kind = match value.kind {
        ValueKind::Table(members) => {
            ValueKind::Table(members.into_iter().map(|(name, member)| (name, from(origin, member))).collect())
        }
        ValueKind::Array(items) => ValueKind::Array(items.into_iter().map(|item| from(origin, item)).collect()),
        plain => plain,
    };
    Value::new(Some(origin), kind)
}

/// What the parser says, without the origin that the caller names.
fn said(cause: &ConfigError) -> String {
    match cause {
        ConfigError::FileParse { cause, .. } => cause.to_string().trim_end().replace('\n', " "),
        other => other.to_string(),
    }
}

fn tree(config: &Config) -> Json {
    serde_json::to_value(config).unwrap_or_default()
}

fn known_keys() -> BTreeMap<String, Json> {
    let mut keys = BTreeMap::new();
    flatten_json("", &tree(&Config::default()), &mut |key, value| {
        keys.insert(key.to_owned(), value.clone());
    });
    keys
}

fn flatten_json(prefix: &str, value: &Json, leaf: &mut dyn FnMut(&str, &Json)) {
    let Json::Object(members) = value else { return leaf(prefix, value) };
    for (name, member) in members {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        flatten_json(&key, member, leaf);
    }
}

fn flatten_value(key: &str, value: &Value, keys: &mut Vec<(String, String)>) {
    if let ValueKind::Table(members) = &value.kind {
        for (name, member) in members {
            flatten_value(&format!("{key}.{name}"), member, keys);
        }
    } else {
        keys.push((key.to_owned(), value.origin().unwrap_or("default").to_owned()));
    }
}

fn unknown_key(key: &str, origin: &str, known: &BTreeMap<String, Json>) -> Error {
    let near = nearest(key, known.keys().map(String::as_str));
    let hint = near.map(|near| format!(" Did you mean `{near}`?")).unwrap_or_default();
    Error::config(format!("Unknown key `{key}` in {origin}.{hint} `vehicle-classifierd config show` lists all keys."))
}

#[cfg(test)]
mod tests;
