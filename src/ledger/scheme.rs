//! Class schemes: how the model's types become the classes that road authorities count in. The maps are the files in
//! `schemes/`, each with its version and source; what a camera cannot tell is named there instead of being counted as zero.

use std::collections::BTreeSet;
use std::str::FromStr;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::record::UNCLASSIFIED;

const FILES: [&str; 2] = [include_str!("schemes/tls8+1.json"), include_str!("schemes/coba.json")];
const NATIVE: &str = "native";
/// What the model says of crops without a vehicle; no class to count in.
const BACKGROUND: &str = "background";

/// A scheme with the classes it counts in.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scheme {
    pub name: String,
    pub version: String,
    pub title: String,
    pub source: String,
    pub classes: Vec<Class>,
    /// The class of types that no class names.
    pub rest: String,
    /// Types that are no vehicles to this scheme.
    pub left_out: Vec<LeftOut>,
    /// Classes of the scheme that cannot be told from a picture.
    pub cannot_tell: Vec<Untold>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    pub class: String,
    /// The scheme's own number of the class, where it has one.
    pub code: Option<u32>,
    /// Labels of the model.
    pub types: Vec<String>,
    pub note: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    #[serde(rename = "type")]
    pub kind: String,
    pub note: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Untold {
    pub class: String,
    pub code: Option<u32>,
    /// The classes its vehicles are counted in instead.
    pub counted_as: Vec<String>,
    pub note: String,
}

impl Scheme {
    /// The model's own types, each a class.
    #[must_use]
    pub fn native<'a>(labels: impl IntoIterator<Item = &'a str>) -> Self {
        let mut types: BTreeSet<&str> = labels.into_iter().filter(|label| *label != BACKGROUND).collect();
        types.remove(UNCLASSIFIED);
        let class = |label: &str| Class { class: label.into(), code: None, types: vec![label.into()], note: None };
        let classes = types.into_iter().chain([UNCLASSIFIED]).map(class).collect();
        Self {
            name: NATIVE.into(),
            version: "1".into(),
            title: "The model's own types".into(),
            source: "the labels of the active model".into(),
            classes,
            rest: UNCLASSIFIED.into(),
            left_out: Vec::new(),
            cannot_tell: Vec::new(),
        }
    }

    /// The class that a type is counted in; none when the scheme leaves it out. A type that the native scheme does not list
    /// comes from an earlier model and stays what it was.
    #[must_use]
    pub fn class_of<'a>(&'a self, kind: &'a str) -> Option<&'a str> {
        if self.left_out.iter().any(|left| left.kind == kind) {
            return None;
        }
        let named = self.classes.iter().find(|class| class.types.iter().any(|known| known == kind));
        Some(match named {
            Some(class) => &class.class,
            None if self.name == NATIVE => kind,
            None => &self.rest,
        })
    }

    /// Names of the classes, in the scheme's order.
    pub fn class_names(&self) -> impl Iterator<Item = &str> {
        self.classes.iter().map(|class| class.class.as_str())
    }
}

/// What a client may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemeName {
    Native,
    Tls,
    Coba,
}

impl SchemeName {
    /// The scheme; `labels` are the active model's.
    ///
    /// # Errors
    /// Internal when a file of this program is broken, which a test rules out.
    pub fn load<'a>(self, labels: impl IntoIterator<Item = &'a str>) -> Result<Scheme> {
        let file = match self {
            Self::Native => return Ok(Scheme::native(labels)),
            Self::Tls => FILES[0],
            Self::Coba => FILES[1],
        };
        serde_json::from_str(file).map_err(|cause| Error::internal("A class scheme cannot be read.").because(cause))
    }
}

impl FromStr for SchemeName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            NATIVE => Ok(Self::Native),
            // A plus that was not escaped in an address arrives as a space.
            "tls8+1" | "tls8 1" => Ok(Self::Tls),
            "coba" => Ok(Self::Coba),
            other => Err(Error::validation(format!("There is no class scheme {other:?}: use native, tls8+1 or coba."))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABELS: [&str; 10] =
        ["background", "bicycle", "bus", "car", "emergency", "motorcycle", "pickup", "suv", "truck", "van"];

    #[test]
    fn every_type_has_its_place_in_every_scheme() {
        for name in [SchemeName::Native, SchemeName::Tls, SchemeName::Coba] {
            let scheme = name.load(LABELS).unwrap();
            let classes: Vec<_> = scheme.class_names().collect();
            assert!(classes.contains(&scheme.rest.as_str()), "{}", scheme.name);
            for label in LABELS.iter().filter(|label| **label != "background").chain([&UNCLASSIFIED]) {
                let listed = scheme.classes.iter().filter(|class| class.types.iter().any(|kind| kind == label)).count();
                let left_out = scheme.left_out.iter().filter(|left| left.kind == *label).count();
                assert_eq!(listed + left_out, 1, "{label} in {}", scheme.name);
            }
            for untold in &scheme.cannot_tell {
                assert!(!classes.contains(&untold.class.as_str()), "{} would be a false zero", untold.class);
                assert!(untold.counted_as.iter().all(|class| classes.contains(&class.as_str())));
            }
        }
    }

    #[test]
    fn types_are_counted_where_the_authorities_would() {
        let tls = SchemeName::Tls.load(LABELS).unwrap();
        let classes = ["suv", "pickup", "bicycle", "unclassified", "tank"].map(|kind| tls.class_of(kind));
        assert_eq!(classes, [Some("Pkw"), Some("Lfw"), None, Some("nk Kfz"), Some("nk Kfz")]);
        let coba = SchemeName::Coba.load(LABELS).unwrap();
        assert_eq!(["truck", "bicycle"].map(|kind| coba.class_of(kind)), [Some("OGV1"), Some("PCL")]);
        let native = Scheme::native(LABELS);
        assert_eq!(native.class_of("tank"), Some("tank"), "an earlier model's type is not lost");
        assert!(!native.class_names().any(|class| class == "background"));
    }

    #[test]
    fn the_name_may_come_with_its_plus_unescaped() {
        assert_eq!("tls8 1".parse::<SchemeName>().unwrap(), SchemeName::Tls);
        assert!("tls5+1".parse::<SchemeName>().unwrap_err().message().contains("coba"));
    }
}
