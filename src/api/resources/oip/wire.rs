//! The Open Inference Protocol's messages (version 2, REST), as they go out and come in.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use salvo::oapi::ToSchema;
use serde::de::{DeserializeSeed, Deserializer, Error as DeserializeError, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Parameters of an answer's tensor.
pub type Parameters = BTreeMap<String, Value>;

/// Outputs that a request may name: more than any model here has.
const OUTPUTS_MAX: usize = 64;
/// Dimensions of a shape: more than any tensor here has, so that a wrong shape is answered as one.
const DIMENSIONS_MAX: usize = 16;

/// The parameters that mean something here, of a request, an input or an output. The protocol allows any others; those are read
/// over and take no memory.
#[derive(Debug, Default, Deserialize)]
pub struct KnownParameters {
    pub binary_data: Option<bool>,
    pub binary_data_output: Option<bool>,
    pub binary_data_size: Option<u64>,
    pub classification: Option<u64>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ServerMetadata {
    pub name: &'static str,
    pub version: &'static str,
    pub extensions: Vec<&'static str>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ServerLive {
    pub live: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ServerReady {
    pub ready: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ModelReady {
    pub name: String,
    pub ready: bool,
}

/// What a model takes and gives.
#[derive(Debug, Serialize, ToSchema)]
pub struct OipModel {
    pub name: String,
    pub versions: Vec<String>,
    pub platform: &'static str,
    pub inputs: Vec<TensorMetadata>,
    pub outputs: Vec<TensorMetadata>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct TensorMetadata {
    pub name: String,
    /// `UINT8`, `FP32` or `BYTES`.
    pub datatype: &'static str,
    /// −1: any size.
    pub shape: Vec<i64>,
}

/// A request for inference. One input, `image`: pictures as RGB pixels from 0 to 255, shape `[n, height, width, 3]`; the unit
/// resizes them as it does uploads.
#[derive(Debug, Deserialize, ToSchema)]
#[salvo(schema(example = json!({
    "id": "1",
    "inputs": [{ "name": "image", "datatype": "UINT8", "shape": [1, 1, 2, 3], "data": [255, 0, 0, 0, 0, 255] }]
})))]
pub struct InferRequest {
    /// Comes back with the answer.
    pub id: Option<String>,
    /// `binary_data_output`: every output as binary data.
    #[serde(default)]
    #[salvo(schema(value_type = Object, required = false))]
    pub parameters: KnownParameters,
    #[serde(deserialize_with = "few::<1, _, _>")]
    pub inputs: Vec<InputTensor>,
    /// The outputs wanted; all when empty.
    #[serde(default, deserialize_with = "few::<OUTPUTS_MAX, _, _>")]
    #[salvo(schema(required = false))]
    pub outputs: Vec<WantedOutput>,
}

#[derive(Debug, Deserialize, ToSchema)]
pub struct InputTensor {
    /// `image`.
    pub name: String,
    #[serde(deserialize_with = "few::<DIMENSIONS_MAX, _, _>")]
    pub shape: Vec<u64>,
    /// `UINT8` or `FP32`.
    pub datatype: String,
    /// `binary_data_size`: bytes of this tensor behind the JSON.
    #[serde(default)]
    #[salvo(schema(value_type = Object, required = false))]
    pub parameters: KnownParameters,
    /// The elements in row-major order, nested or flat; absent with binary data.
    #[salvo(schema(value_type = Option<Vec<f64>>))]
    pub data: Option<Elements>,
}

#[derive(Debug, Deserialize, ToSchema)]
pub struct WantedOutput {
    pub name: String,
    /// `binary_data`: this output as binary data.
    #[serde(default)]
    #[salvo(schema(value_type = Object, required = false))]
    pub parameters: KnownParameters,
}

/// An answer to a request for inference.
#[derive(Debug, Serialize, ToSchema)]
pub struct InferResponse {
    pub model_name: String,
    pub model_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    pub outputs: Vec<OutputTensor>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct OutputTensor {
    pub name: String,
    pub shape: Vec<u64>,
    /// `FP32` or `BYTES`.
    pub datatype: &'static str,
    #[serde(skip_serializing_if = "Parameters::is_empty")]
    #[salvo(schema(value_type = Object, required = false))]
    pub parameters: Parameters,
    /// Absent with binary data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Values>,
}

/// The elements of an output.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Values {
    Numbers(Vec<f32>),
    Texts(Vec<String>),
}

/// Reads at most `N` entries of an array: what a client sends never decides how many are kept.
fn few<'de, const N: usize, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_seq(Few::<N, T>(PhantomData))
}

struct Few<const N: usize, T>(PhantomData<T>);

impl<'de, const N: usize, T: Deserialize<'de>> Visitor<'de> for Few<N, T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array of at most {N}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Vec<T>, A::Error> {
        let mut kept = Vec::new();
        while let Some(entry) = entries.next_element()? {
            if kept.len() == N {
                return Err(A::Error::invalid_length(N + 1, &self));
            }
            kept.push(entry);
        }
        Ok(kept)
    }
}

/// Pixel values in nested or flat arrays, brought to bytes as they are read: neither the nesting nor the numbers are kept in
/// memory.
#[derive(Debug, Default, PartialEq)]
pub struct Elements(pub Vec<u8>);

impl<'de> Deserialize<'de> for Elements {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut values = Vec::new();
        Flat(&mut values).deserialize(deserializer)?;
        Ok(Self(values))
    }
}

/// A pixel value as a byte; none when it is not from 0 to 255.
pub fn byte_of(value: f32) -> Option<u8> {
    // In range, so the conversion only rounds.
    (0.0..=255.0).contains(&value).then(|| value.round() as u8)
}

struct Flat<'a>(&'a mut Vec<u8>);

impl Flat<'_> {
    fn push<E: DeserializeError>(self, value: f32) -> Result<(), E> {
        let byte = byte_of(value).ok_or_else(|| E::custom("a pixel value is not from 0 to 255"))?;
        self.0.push(byte);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Flat<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Flat<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("numbers in nested or flat arrays")
    }

    fn visit_u64<E: DeserializeError>(self, number: u64) -> Result<(), E> {
        self.push(number as f32)
    }

    fn visit_i64<E: DeserializeError>(self, number: i64) -> Result<(), E> {
        self.push(number as f32)
    }

    fn visit_f64<E: DeserializeError>(self, number: f64) -> Result<(), E> {
        self.push(number as f32)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while elements.next_element_seed(Flat(self.0))?.is_some() {}
        Ok(())
    }
}
