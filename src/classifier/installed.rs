//! The models on this device: `<directory>/<name>/<version>/manifest.json` with its files beside it.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::classifier::detector::{DetectorManifest, is_detection};
use crate::classifier::manifest::Manifest;
use crate::error::{Error, ErrorKind, Result};

/// A model file larger than this is no model of ours (the largest planned one has 12 MB).
const MODEL_BYTES_MAX: u64 = 256 << 20;
const MANIFEST_BYTES_MAX: u64 = 4 << 20;

/// Chosen, in this order, when neither the configuration nor `model activate` names one.
const BUILT_IN: [&str; 2] = ["vehicle-type", "imagenet-vehicles"];

/// A place that holds models.
#[derive(Clone, Debug)]
pub struct ModelsDirectory {
    root: PathBuf,
}

/// A model on disk, not read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstalledModel {
    pub name: String,
    pub version: String,
    pub directory: PathBuf,
}

/// A version that cannot be used, such as one that was copied only in part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnusableVersion {
    /// `name@version`.
    pub title: String,
    pub why: String,
}

/// A model in memory: manifest checked, file's hash verified.
pub struct LoadedModel {
    pub manifest: Manifest,
    pub bytes: Vec<u8>,
    /// The golden picture's encoded bytes, hash verified.
    pub golden_picture: Vec<u8>,
    /// Newer versions that were passed over, newest first.
    pub unusable: Vec<UnusableVersion>,
}

/// A detector in memory: manifest checked, file's hash verified.
pub struct LoadedDetector {
    pub manifest: DetectorManifest,
    pub bytes: Vec<u8>,
    /// Newer versions that were passed over, newest first.
    pub unusable: Vec<UnusableVersion>,
}

impl LoadedDetector {
    /// `name@version`, as people write it.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{}@{}", self.manifest.name, self.manifest.version)
    }
}

impl LoadedModel {
    /// `name@version`, as people write it.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{}@{}", self.manifest.name, self.manifest.version)
    }
}

impl InstalledModel {
    /// Reads everything of the model and verifies its hashes.
    ///
    /// # Errors
    /// Validation when a file does not match the manifest; internal when one cannot be read.
    pub fn load(&self) -> Result<LoadedModel> {
        let manifest = self.manifest(Manifest::parse)?;
        self.check_names(&manifest.name, &manifest.version)?;
        let bytes = verified(&self.directory.join(&manifest.file), &manifest.sha256, MODEL_BYTES_MAX)?;
        let golden = &manifest.golden.picture;
        let golden_picture = verified(&self.directory.join(&golden.file), &golden.sha256, MANIFEST_BYTES_MAX)?;
        Ok(LoadedModel { manifest, bytes, golden_picture, unusable: Vec::new() })
    }

    /// Whether its manifest says that it finds vehicles instead of telling their types.
    #[must_use]
    pub fn is_detector(&self) -> bool {
        self.manifest(|json| Ok(is_detection(json))).unwrap_or(false)
    }

    /// Reads everything of a detector and verifies its hash.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_detector(&self) -> Result<LoadedDetector> {
        let manifest = self.manifest(DetectorManifest::parse)?;
        self.check_names(&manifest.name, &manifest.version)?;
        let bytes = verified(&self.directory.join(&manifest.file), &manifest.sha256, MODEL_BYTES_MAX)?;
        Ok(LoadedDetector { manifest, bytes, unusable: Vec::new() })
    }

    fn manifest<M>(&self, parse: impl FnOnce(&[u8]) -> Result<M>) -> Result<M> {
        let path = self.directory.join("manifest.json");
        parse(&read(&path, MANIFEST_BYTES_MAX)?)
            .map_err(|error| Error::new(error.kind(), format!("{}: {error}", path.display())))
    }

    fn check_names(&self, name: &str, version: &str) -> Result<()> {
        if (name, version) == (self.name.as_str(), self.version.as_str()) {
            return Ok(());
        }
        Err(Error::validation(format!(
            "{} names {name}@{version}; the directory and the manifest must agree.",
            self.directory.join("manifest.json").display()
        )))
    }

    /// `name@version`.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }
}

impl ModelsDirectory {
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Every installed model, by name, newest version first.
    ///
    /// # Errors
    /// Not found when the directory cannot be listed.
    pub fn list(&self) -> Result<Vec<InstalledModel>> {
        let mut models = Vec::new();
        for (name, directory) in directories(&self.root)? {
            for (version, directory) in directories(&directory)? {
                if directory.join("manifest.json").is_file() {
                    models.push(InstalledModel { name: name.clone(), version, directory });
                }
            }
        }
        models.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| version_key(&b.version).cmp(&version_key(&a.version))));
        Ok(models)
    }

    /// Finds `NAME` (newest version), `NAME@VERSION`, or with an empty `wanted` the built-in choice.
    ///
    /// # Errors
    /// Not found, listing what there is.
    pub fn find(&self, wanted: &str) -> Result<InstalledModel> {
        let models = self.list()?;
        let named = |name: &str, version: Option<&str>| {
            models
                .iter()
                .find(|model| model.name == name && version.is_none_or(|version| model.version == version))
                .cloned()
        };
        let found = match wanted.split_once('@') {
            Some((name, version)) => named(name, Some(version)),
            None if wanted.is_empty() => BUILT_IN
                .iter()
                .find_map(|name| named(name, None))
                .or_else(|| models.iter().find(|model| !model.is_detector()).cloned()),
            None => named(wanted, None),
        };
        found.ok_or_else(|| {
            let there: Vec<_> = models.iter().map(InstalledModel::title).collect();
            let what = if wanted.is_empty() { "a model".to_owned() } else { format!("the model {wanted:?}") };
            let there = if there.is_empty() { "nothing".to_owned() } else { there.join(", ") };
            Error::new(
                ErrorKind::NotFound,
                format!("Cannot find {what} in {}, which holds {there}.", self.root.display()),
            )
        })
    }
}

impl ModelsDirectory {
    /// Loads `NAME@VERSION`, or the newest sound version of `NAME`, or with an empty `wanted` that of the built-in choice.
    ///
    /// # Errors
    /// Those of [`Self::find`], and those of [`InstalledModel::load`] for the newest version when none is sound.
    pub fn load(&self, wanted: &str) -> Result<LoadedModel> {
        let (model, unusable) = self.newest_sound(wanted, InstalledModel::load)?;
        Ok(LoadedModel { unusable, ..model })
    }

    /// The same for a detector.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_detector(&self, wanted: &str) -> Result<LoadedDetector> {
        let (detector, unusable) = self.newest_sound(wanted, InstalledModel::load_detector)?;
        Ok(LoadedDetector { unusable, ..detector })
    }

    /// A version that somebody named is never exchanged for another.
    fn newest_sound<M>(
        &self,
        wanted: &str,
        load: impl Fn(&InstalledModel) -> Result<M>,
    ) -> Result<(M, Vec<UnusableVersion>)> {
        let newest = self.find(wanted)?;
        let unusable =
            |model: &InstalledModel, error: &Error| UnusableVersion { title: model.title(), why: error.chain() };
        let failure = match load(&newest) {
            Ok(model) => return Ok((model, Vec::new())),
            Err(error) => error,
        };
        let mut passed_over = vec![unusable(&newest, &failure)];
        let is_older = |model: &InstalledModel| {
            !wanted.contains('@') && model.name == newest.name && model.version != newest.version
        };
        for older in self.list()?.into_iter().filter(is_older) {
            match load(&older) {
                Ok(model) => return Ok((model, passed_over)),
                Err(error) => passed_over.push(unusable(&older, &error)),
            }
        }
        Err(failure)
    }
}

/// Numbers compare as numbers: 1.10.0 is newer than 1.9.0.
fn version_key(version: &str) -> Vec<(u64, String)> {
    version.split('.').map(|part| (part.parse().unwrap_or(0), part.to_owned())).collect()
}

fn directories(root: &Path) -> Result<Vec<(String, PathBuf)>> {
    let unreadable = |cause: std::io::Error| {
        Error::new(
            ErrorKind::NotFound,
            format!("Cannot list the models in {}; set classifier.models_directory to where they are.", root.display()),
        )
        .because(cause)
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(root).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if let (true, Some(name)) = (path.is_dir(), path.file_name().and_then(|name| name.to_str())) {
            found.push((name.to_owned(), path.clone()));
        }
    }
    Ok(found)
}

fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>> {
    let unreadable = |cause: std::io::Error| Error::internal(format!("Cannot read {}.", path.display())).because(cause);
    let length = fs::metadata(path).map_err(unreadable)?.len();
    if length > bytes_max {
        return Err(Error::validation(format!("{} has {length} bytes; at most {bytes_max} are read.", path.display())));
    }
    fs::read(path).map_err(unreadable)
}

fn verified(path: &Path, sha256: &str, bytes_max: u64) -> Result<Vec<u8>> {
    let bytes = read(path, bytes_max)?;
    let found = hex::encode(Sha256::digest(&bytes));
    if found == sha256 {
        return Ok(bytes);
    }
    Err(Error::validation(format!(
        "{} is damaged: its SHA-256 is {found}, the manifest says {sha256}; reinstall the model.",
        path.display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classifier::manifest::tests::small;

    fn install(root: &Path, name: &str, version: &str) -> PathBuf {
        let directory = root.join(name).join(version);
        fs::create_dir_all(&directory).unwrap();
        let mut manifest = small();
        manifest["name"] = name.into();
        manifest["version"] = version.into();
        manifest["sha256"] = hex::encode(Sha256::digest(b"weights")).into();
        manifest["golden"]["picture"]["sha256"] = hex::encode(Sha256::digest(b"picture")).into();
        fs::write(directory.join("manifest.json"), manifest.to_string()).unwrap();
        fs::write(directory.join("model.tflite"), b"weights").unwrap();
        fs::write(directory.join("golden.jpg"), b"picture").unwrap();
        directory
    }

    #[test]
    fn the_newest_version_is_found_by_number() {
        let root = tempfile::tempdir().unwrap();
        for version in ["1.9.0", "1.10.0", "0.1.0"] {
            install(root.path(), "small", version);
        }
        let models = ModelsDirectory::new(root.path().into());
        assert_eq!(models.find("small").unwrap().version, "1.10.0");
        assert_eq!(models.find("small@0.1.0").unwrap().load().unwrap().title(), "small@0.1.0");
        assert_eq!(models.find("").unwrap().name, "small");
        let missing = models.find("small@2").unwrap_err().to_string();
        assert!(missing.contains("small@1.10.0, small@1.9.0, small@0.1.0"), "{missing}");
    }

    #[test]
    fn the_newest_sound_version_is_loaded_and_the_unusable_ones_are_named() {
        let root = tempfile::tempdir().unwrap();
        for version in ["0.9.0", "1.0.0", "1.1.0", "1.2.0"] {
            install(root.path(), "small", version);
        }
        let models = ModelsDirectory::new(root.path().into());
        assert!(models.load("small").unwrap().unusable.is_empty());
        fs::write(root.path().join("small/1.2.0/manifest.json"), "{").unwrap();
        fs::write(root.path().join("small/1.1.0/model.tflite"), b"weig").unwrap();
        for wanted in ["small", ""] {
            let loaded = models.load(wanted).unwrap();
            let unusable: Vec<_> = loaded.unusable.iter().map(|version| version.title.as_str()).collect();
            assert_eq!((loaded.title().as_str(), &unusable[..]), ("small@1.0.0", &["small@1.2.0", "small@1.1.0"][..]));
            assert!(loaded.unusable[1].why.contains("is damaged"), "{}", loaded.unusable[1].why);
        }
        let named = models.load("small@1.1.0").err().unwrap().to_string();
        assert!(named.contains("is damaged"), "a named version is not exchanged: {named}");
        for version in ["0.9.0", "1.0.0"] {
            fs::remove_file(root.path().join(format!("small/{version}/golden.jpg"))).unwrap();
        }
        let none = models.load("small").err().unwrap().to_string();
        assert!(none.contains("1.2.0"), "without a sound version the newest one's error counts: {none}");
    }

    #[test]
    fn a_damaged_file_and_a_wrong_manifest_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let directory = install(root.path(), "small", "1.0.0");
        let models = ModelsDirectory::new(root.path().into());
        fs::write(directory.join("model.tflite"), b"weightz").unwrap();
        assert!(models.find("small").unwrap().load().err().unwrap().to_string().contains("is damaged"));
        fs::rename(root.path().join("small"), root.path().join("other")).unwrap();
        assert!(models.find("other").unwrap().load().err().unwrap().to_string().contains("must agree"));
    }
}
