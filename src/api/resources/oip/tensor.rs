//! From a request's tensors to pictures, and from predictions to a reply's tensors. Pure.
//!
//! A tensor of pixels is a bitmap without its header. It is given one, so that it takes the same way through the workers as
//! an upload: the same limits, the same resize, the same model, hence the same class.

use std::collections::HashSet;

use serde_json::Value;

use crate::api::resources::oip::wire::{
    InferRequest, InputTensor, OutputTensor, Parameters, TensorMetadata, Values, WantedOutput, byte_of,
};
use crate::error::{Error, Result};
use crate::record::Prediction;

/// The one input.
pub const INPUT: &str = "image";
const CHANNELS: u64 = 3;
/// Sides of a picture; more would not fit a body anyway.
const SIDE_PIXELS_MAX: u64 = 65_535;
/// File and information header (BITMAPFILEHEADER, BITMAPINFOHEADER).
const BITMAP_HEAD_BYTES: usize = 54;

/// A request's parts: what it asks for, and the pictures as bitmaps.
#[derive(Debug)]
pub struct Asked {
    pub request: InferRequest,
    pub bitmaps: Vec<Vec<u8>>,
}

/// Reads a request. `head_bytes`: where the JSON ends and binary data begins, from `Inference-Header-Content-Length`.
///
/// # Errors
/// Validation, saying what does not fit.
pub fn read(body: &[u8], head_bytes: Option<usize>, pictures_max: usize) -> Result<Asked> {
    let split = head_bytes.unwrap_or(body.len());
    let (head, binary) = body
        .split_at_checked(split)
        .ok_or_else(|| Error::validation("Inference-Header-Content-Length is longer than the body."))?;
    let mut request: InferRequest = serde_json::from_slice(head)
        .map_err(|cause| Error::validation(format!("The inference request cannot be used: {cause}.")))?;
    let [input] = request.inputs.as_mut_slice() else {
        return Err(Error::validation(format!("Send exactly one input, {INPUT:?}.")));
    };
    if input.name != INPUT {
        return Err(Error::validation(format!("The model has no such input; it has {INPUT:?}.")));
    }
    once_each(&request.outputs)?;
    let (count, height, width) = sizes(&input.shape, pictures_max)?;
    let pixels = pixels(input, binary, count * height * width * CHANNELS)?;
    let one = pixels.len() / count as usize;
    let bitmaps = pixels.chunks_exact(one).map(|rgb| bitmap(rgb, width as usize, height as usize)).collect();
    Ok(Asked { request, bitmaps })
}

/// Outputs named again and again would make an answer of gigabytes out of a body of megabytes.
fn once_each(outputs: &[WantedOutput]) -> Result<()> {
    let mut names = HashSet::new();
    match outputs.iter().find(|output| !names.insert(output.name.as_str())) {
        None => Ok(()),
        Some(_) => Err(Error::validation("An output is asked for twice.")),
    }
}

fn sizes(shape: &[u64], pictures_max: usize) -> Result<(u64, u64, u64)> {
    match *shape {
        [count, height, width, CHANNELS]
            if (1..=pictures_max as u64).contains(&count)
                && (1..=SIDE_PIXELS_MAX).contains(&height)
                && (1..=SIDE_PIXELS_MAX).contains(&width) =>
        {
            Ok((count, height, width))
        }
        _ => Err(Error::validation(format!(
            "The shape must be [n, height, width, {CHANNELS}] with n from 1 to {pictures_max}."
        ))),
    }
}

/// The input's elements as bytes from 0 to 255.
fn pixels(input: &mut InputTensor, binary: &[u8], expected: u64) -> Result<Vec<u8>> {
    let bytes_each = match input.datatype.as_str() {
        "UINT8" => 1,
        "FP32" => 4,
        _ => return Err(Error::validation("The datatype must be UINT8 or FP32, with values from 0 to 255.")),
    };
    let wrong = |found: usize| {
        Error::validation(format!("The tensor {INPUT:?} has {found} elements; its shape needs {expected}."))
    };
    let Some(said) = input.parameters.binary_data_size else {
        let values = input.data.take().ok_or_else(|| Error::validation("The input has no data."))?.0;
        if values.len() as u64 != expected {
            return Err(wrong(values.len()));
        }
        return Ok(values);
    };
    if input.data.is_some() {
        return Err(Error::validation("An input has either `data` or binary data, not both."));
    }
    if said != binary.len() as u64 {
        return Err(Error::validation(format!(
            "`binary_data_size` does not agree with the {} bytes behind the JSON.",
            binary.len()
        )));
    }
    if binary.len() as u64 != expected.saturating_mul(bytes_each) {
        return Err(wrong(binary.len() / bytes_each as usize));
    }
    if bytes_each == 1 {
        return Ok(binary.to_vec());
    }
    binary.as_chunks::<4>().0.iter().map(|bytes| level(f32::from_le_bytes(*bytes))).collect()
}

fn level(value: f32) -> Result<u8> {
    byte_of(value).ok_or_else(|| Error::validation("A pixel value is not from 0 to 255."))
}

/// A 24-bit Windows bitmap: rows from the bottom up, blue first, each row filled up to four bytes.
fn bitmap(rgb: &[u8], width: usize, height: usize) -> Vec<u8> {
    let row_bytes = (width * 3).next_multiple_of(4);
    let size = BITMAP_HEAD_BYTES + row_bytes * height;
    let mut bytes = Vec::with_capacity(size);
    let word = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
    bytes.extend_from_slice(b"BM");
    for field in [size, 0, BITMAP_HEAD_BYTES, 40, width, height] {
        bytes.extend_from_slice(&word(field));
    }
    bytes.extend_from_slice(&[1, 0, 24, 0]);
    for field in [0, row_bytes * height, 0, 0, 0, 0] {
        bytes.extend_from_slice(&word(field));
    }
    for row in rgb.chunks_exact(width * 3).rev() {
        for [red, green, blue] in row.as_chunks::<3>().0 {
            bytes.extend_from_slice(&[*blue, *green, *red]);
        }
        bytes.extend(std::iter::repeat_n(0, row_bytes - width * 3));
    }
    bytes
}

/// The outputs of an attribute with its label count: the class, its confidence, and the most probable labels with their
/// probabilities.
#[must_use]
pub fn outputs_of(attribute: &str, labels: i64) -> [TensorMetadata; 4] {
    let tensor = |ending: &str, datatype, shape: &[i64]| TensorMetadata {
        name: format!("{attribute}{ending}"),
        datatype,
        shape: shape.to_vec(),
    };
    [
        tensor("", "BYTES", &[-1]),
        tensor("_confidence", "FP32", &[-1]),
        tensor("_labels", "BYTES", &[-1, labels]),
        tensor("_probabilities", "FP32", &[-1, labels]),
    ]
}

/// The outputs that were asked for and, behind one another, the binary ones' bytes.
///
/// # Errors
/// Validation for an output that there is not.
pub fn answers(request: &InferRequest, answers: &[Vec<Prediction>]) -> Result<(Vec<OutputTensor>, Vec<u8>)> {
    let all = all_outputs(answers);
    let everything_binary = request.parameters.binary_data_output == Some(true);
    let mut binary = Vec::new();
    let mut outputs = Vec::new();
    if request.outputs.is_empty() {
        outputs.extend(all.into_iter().map(|output| finished(output, everything_binary, &mut binary)));
        return Ok((outputs, binary));
    }
    for wanted in &request.outputs {
        if wanted.parameters.classification.is_some_and(|count| count != 0) {
            return Err(Error::validation("The classification extension is not offered; ask for the labels."));
        }
        let found = all.iter().find(|output| output.0 == wanted.name);
        let output = found.cloned().ok_or_else(|| {
            let names: Vec<_> = all.iter().map(|output| output.0.as_str()).collect();
            Error::validation(format!("There is no such output; there are: {}.", names.join(", ")))
        })?;
        let as_binary = wanted.parameters.binary_data.unwrap_or(everything_binary);
        outputs.push(finished(output, as_binary, &mut binary));
    }
    Ok((outputs, binary))
}

type Output = (String, Vec<u64>, Values);

fn all_outputs(answers: &[Vec<Prediction>]) -> Vec<Output> {
    let count = answers.len() as u64;
    let Some(first) = answers.first() else { return Vec::new() };
    let mut outputs = Vec::new();
    for (place, prediction) in first.iter().enumerate() {
        let of: Vec<&Prediction> = answers.iter().filter_map(|answer| answer.get(place)).collect();
        let name = |ending: &str| format!("{}{ending}", prediction.attribute);
        let ranked = [count, prediction.top.len() as u64];
        let top = || of.iter().flat_map(|one| &one.top);
        outputs.push((name(""), vec![count], Values::Texts(of.iter().map(|one| one.value.clone()).collect())));
        let confidences = of.iter().map(|one| one.confidence).collect();
        outputs.push((name("_confidence"), vec![count], Values::Numbers(confidences)));
        outputs.push((name("_labels"), ranked.to_vec(), Values::Texts(top().map(|one| one.label.clone()).collect())));
        let probabilities = top().map(|one| one.probability).collect();
        outputs.push((name("_probabilities"), ranked.to_vec(), Values::Numbers(probabilities)));
    }
    outputs
}

fn finished((name, shape, values): Output, as_binary: bool, binary: &mut Vec<u8>) -> OutputTensor {
    let datatype = match &values {
        Values::Numbers(_) => "FP32",
        Values::Texts(_) => "BYTES",
    };
    if !as_binary {
        return OutputTensor { name, shape, datatype, parameters: Parameters::new(), data: Some(values) };
    }
    let begun = binary.len();
    match values {
        Values::Numbers(numbers) => numbers.iter().for_each(|number| binary.extend(number.to_le_bytes())),
        // Each element: its length in four bytes, little endian, then its bytes.
        Values::Texts(texts) => {
            for text in texts {
                binary.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
                binary.extend(text.as_bytes());
            }
        }
    }
    let size = Value::from(binary.len() - begun);
    OutputTensor { name, shape, datatype, parameters: [("binary_data_size".to_owned(), size)].into(), data: None }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::error::ErrorKind;
    use crate::record::{ConfidenceLevel, LabelProbability};

    fn request(datatype: &str, shape: &[u64], data: Value) -> Vec<u8> {
        let input = json!({ "name": "image", "datatype": datatype, "shape": shape, "data": data });
        json!({ "inputs": [input] }).to_string().into_bytes()
    }

    fn decoded(bitmap: &[u8]) -> Vec<u8> {
        let limits = crate::imaging::Limits { pixels_max: 1_000 };
        crate::imaging::decode(bitmap, "bitmap", &limits).unwrap().to_rgb()
    }

    #[test]
    fn pixels_come_out_of_the_bitmap_as_they_went_in() {
        let rgb: Vec<u8> = (0..2 * 3 * 5 * 3).map(|n| (n * 7 % 256) as u8).collect();
        let nested: Vec<_> = rgb.chunks(15).map(|row| row.chunks(3).collect::<Vec<_>>()).collect();
        for (datatype, data) in [("UINT8", json!(rgb)), ("FP32", json!(rgb)), ("UINT8", json!(nested))] {
            let asked = read(&request(datatype, &[2, 3, 5, 3], data), None, 4).unwrap();
            let pictures: Vec<u8> = asked.bitmaps.iter().flat_map(|bitmap| decoded(bitmap)).collect();
            assert_eq!(pictures, rgb);
        }
        let floats: Vec<u8> = rgb.iter().flat_map(|&level| f32::from(level).to_le_bytes()).collect();
        for (datatype, bytes) in [("UINT8", rgb.clone()), ("FP32", floats)] {
            let parameters = json!({ "binary_data_size": bytes.len() });
            let input =
                json!({ "name": "image", "datatype": datatype, "shape": [2, 3, 5, 3], "parameters": parameters });
            let mut body = json!({ "inputs": [input] }).to_string().into_bytes();
            let head = body.len();
            body.extend(bytes);
            let asked = read(&body, Some(head), 4).unwrap();
            assert_eq!(asked.bitmaps.iter().flat_map(|bitmap| decoded(bitmap)).collect::<Vec<_>>(), rgb);
        }
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let black = |count: usize| json!(vec![0; count]);
        for (body, head, reason) in [
            (b"{}".to_vec(), None, "inputs"),
            (b"{}".to_vec(), Some(9), "longer than the body"),
            (json!({ "inputs": [] }).to_string().into_bytes(), None, "exactly one"),
            (request("INT8", &[1, 1, 1, 3], black(3)), None, "datatype"),
            (request("UINT8", &[1, 1, 3], black(3)), None, "shape"),
            (request("UINT8", &[9, 1, 1, 3], black(27)), None, "from 1 to 4"),
            (request("UINT8", &[1, 0, 1, 3], black(0)), None, "shape"),
            (request("UINT8", &[1, u64::MAX, u64::MAX, 3], black(3)), None, "shape"),
            (request("UINT8", &[4, 65_535, 65_535, 3], black(3)), None, "needs 51538034700"),
            (request("UINT8", &[1, 1, 1, 3], black(4)), None, "4 elements"),
            (request("UINT8", &[1, 1, 1, 3], json!([0, 0, 256])), None, "from 0 to 255"),
            (request("FP32", &[1, 1, 1, 3], json!([0, 0, -0.1])), None, "from 0 to 255"),
            (request("UINT8", &[1, 1, 1, 3], json!(["a"])), None, "numbers"),
        ] {
            let error = read(&body, head, 4).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Validation);
            assert!(error.message().contains(reason), "{error}");
        }
    }

    #[test]
    fn an_answer_does_not_grow_with_the_outputs_named() {
        let input = json!({ "name": "image", "datatype": "UINT8", "shape": [1, 1, 1, 3], "data": [0, 0, 0] });
        let asked =
            |outputs: Value| read(json!({ "inputs": [input], "outputs": outputs }).to_string().as_bytes(), None, 4);
        assert!(asked(json!([{ "name": "type" }, { "name": "type_labels" }])).is_ok());
        let again = vec![json!({ "name": "type_labels" }); 100_000];
        assert!(asked(again[..2].into()).unwrap_err().message().contains("twice"));
        assert!(asked(again.into()).unwrap_err().message().contains("at most 64"));
    }

    #[test]
    fn parameters_without_meaning_are_read_over() {
        let many: serde_json::Map<String, Value> =
            (0..1_000).map(|n| (format!("p{n}"), json!([[n], { "a": n }]))).collect();
        let input = json!({ "name": "image", "datatype": "UINT8", "shape": [1, 1, 1, 3], "data": [0, 0, 0], "parameters": many });
        let asked = |body: Value| read(body.to_string().as_bytes(), None, 4);
        assert!(asked(json!({ "inputs": [input], "parameters": many, "more": many })).is_ok());
        let misused = json!({ "inputs": [input], "parameters": { "binary_data_output": "yes" } });
        assert!(asked(misused).unwrap_err().message().contains("boolean"));
        assert!(asked(json!({ "inputs": [input, input] })).unwrap_err().message().contains("at most 1"));
    }

    #[test]
    fn outputs_are_given_as_asked_for() {
        let prediction = |value: &str, confidence| Prediction {
            attribute: "type".into(),
            value: value.into(),
            confidence,
            top: vec![
                LabelProbability { label: value.into(), probability: confidence },
                LabelProbability { label: "van".into(), probability: 0.1 },
            ],
            uncertainty: 0.0,
            is_confident: true,
            level: ConfidenceLevel::High,
        };
        let predicted = [vec![prediction("bus", 0.9)], vec![prediction("car", 0.5)]];
        let ask = |outputs: Value, parameters: Value| {
            serde_json::from_value(json!({ "inputs": [], "outputs": outputs, "parameters": parameters })).unwrap()
        };
        let (all, binary) = answers(&ask(json!([]), json!({})), &predicted).unwrap();
        assert!(binary.is_empty());
        let names: Vec<_> = all.iter().map(|output| (output.name.as_str(), output.shape.clone())).collect();
        let shapes = [vec![2], vec![2], vec![2, 2], vec![2, 2]];
        let listed = outputs_of("type", 2).map(|tensor| tensor.name);
        assert_eq!(names, listed.iter().map(String::as_str).zip(shapes).collect::<Vec<_>>());
        assert_eq!(all[0].data, Some(Values::Texts(vec!["bus".into(), "car".into()])));

        let wanted = json!([{ "name": "type", "parameters": { "binary_data": true } }, { "name": "type_confidence" }]);
        let (some, binary) = answers(&ask(wanted, json!({})), &predicted).unwrap();
        assert_eq!(binary, b"\x03\0\0\0bus\x03\0\0\0car");
        assert_eq!((&some[0].data, &some[0].parameters["binary_data_size"]), (&None, &json!(14)));
        assert_eq!(some[1].data, Some(Values::Numbers(vec![0.9, 0.5])));
        let (_, binary) = answers(&ask(json!([]), json!({ "binary_data_output": true })), &predicted).unwrap();
        assert_eq!(binary.len(), 14 + 8 + 4 * 7 + 4 * 4);
        assert!(answers(&ask(json!([{ "name": "colour" }]), json!({})), &predicted).is_err());
    }
}
