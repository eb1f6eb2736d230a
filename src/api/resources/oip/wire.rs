//! The Open Inference Protocol's messages (version 2, REST), as they go out and come in.

use std::collections::BTreeMap;
use std::fmt;

use salvo::oapi::ToSchema;
use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Free parameters of a request, a tensor or an answer.
pub type Parameters = BTreeMap<String, Value>;

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
    pub parameters: Parameters,
    pub inputs: Vec<InputTensor>,
    /// The outputs wanted; all when empty.
    #[serde(default)]
    #[salvo(schema(required = false))]
    pub outputs: Vec<WantedOutput>,
}

#[derive(Debug, Deserialize, ToSchema)]
pub struct InputTensor {
    /// `image`.
    pub name: String,
    pub shape: Vec<u64>,
    /// `UINT8` or `FP32`.
    pub datatype: String,
    /// `binary_data_size`: bytes of this tensor behind the JSON.
    #[serde(default)]
    #[salvo(schema(value_type = Object, required = false))]
    pub parameters: Parameters,
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
    pub parameters: Parameters,
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

/// Numbers in nested or flat arrays, flattened as they are read: nothing of the nesting is kept in memory.
#[derive(Debug, Default, PartialEq)]
pub struct Elements(pub Vec<f32>);

impl<'de> Deserialize<'de> for Elements {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut numbers = Vec::new();
        Flat(&mut numbers).deserialize(deserializer)?;
        Ok(Self(numbers))
    }
}

struct Flat<'a>(&'a mut Vec<f32>);

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

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.0.push(number as f32);
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.0.push(number as f32);
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.0.push(number as f32);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while elements.next_element_seed(Flat(self.0))?.is_some() {}
        Ok(())
    }
}
