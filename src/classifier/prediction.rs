//! From logits to predictions: temperature, softmax, sums over groups, ranks and uncertainty.

use crate::classifier::manifest::{Attribute, Manifest};
use crate::record::{ConfidenceLevel, LabelProbability, Prediction};

/// Candidates shown of one attribute.
const TOP: usize = 5;
/// Level HIGH from here (contract).
const HIGH: f32 = 0.8;
/// Level MEDIUM from here (contract).
const MEDIUM: f32 = 0.6;

/// One prediction an attribute of the manifest. `logits`: one an output class, dequantised.
#[must_use]
pub fn predictions(manifest: &Manifest, logits: &[f32]) -> Vec<Prediction> {
    let probabilities = softmax(logits, manifest.temperature);
    manifest.attributes.iter().map(|attribute| prediction(attribute, &probabilities)).collect()
}

/// The probability of every label of the attribute `type`, in the manifest's order.
#[must_use]
pub fn type_probabilities(manifest: &Manifest, logits: &[f32]) -> Vec<LabelProbability> {
    let probabilities = softmax(logits, manifest.temperature);
    let of_type = manifest.attributes.iter().find(|attribute| attribute.name == Manifest::TYPE);
    of_type.map_or_else(Vec::new, |attribute| {
        let labels = attribute.labels.iter().cloned();
        labels
            .zip(sums(attribute, &probabilities))
            .map(|(label, probability)| LabelProbability { label, probability })
            .collect()
    })
}

/// exp(x/T) / Σ exp(x/T), with the maximum subtracted first so that nothing overflows.
fn softmax(logits: &[f32], temperature: f32) -> Vec<f32> {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = logits.iter().map(|logit| ((logit - highest) / temperature).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

/// The probability of each label.
fn sums(attribute: &Attribute, probabilities: &[f32]) -> Vec<f32> {
    let mut sums: Vec<f32> =
        attribute.groups.iter().map(|group| group.iter().map(|&index| probabilities[index]).sum()).collect();
    if let Some(rest) = attribute.rest.as_ref().and_then(|rest| attribute.labels.iter().position(|label| label == rest))
    {
        let named: f32 = sums.iter().sum();
        sums[rest] += (1.0 - named).max(0.0);
    }
    sums
}

fn prediction(attribute: &Attribute, probabilities: &[f32]) -> Prediction {
    let sums = sums(attribute, probabilities);
    let mut top: Vec<LabelProbability> = attribute
        .labels
        .iter()
        .zip(&sums)
        .map(|(label, &probability)| LabelProbability { label: label.clone(), probability })
        .collect();
    top.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    top.truncate(TOP);
    let confidence = top[0].probability;
    let level = level(confidence);
    Prediction {
        attribute: attribute.name.clone(),
        value: top[0].label.clone(),
        confidence,
        top,
        uncertainty: uncertainty(&sums),
        is_confident: level != ConfidenceLevel::Low,
        level,
    }
}

fn level(confidence: f32) -> ConfidenceLevel {
    if confidence >= HIGH {
        ConfidenceLevel::High
    } else if confidence >= MEDIUM {
        ConfidenceLevel::Medium
    } else {
        ConfidenceLevel::Low
    }
}

/// Shannon entropy −Σ p ln p over ln n, 0 (certain) … 1 (all labels alike).
fn uncertainty(probabilities: &[f32]) -> f32 {
    if probabilities.len() < 2 {
        return 0.0;
    }
    let entropy: f32 = probabilities.iter().filter(|&&p| p > 0.0).map(|p| -p * p.ln()).sum();
    (entropy / (probabilities.len() as f32).ln()).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classifier::manifest::tests::small;

    fn of(logits: &[f32]) -> Prediction {
        let manifest = Manifest::parse(small().to_string().as_bytes()).unwrap();
        predictions(&manifest, logits).remove(0)
    }

    #[test]
    fn groups_are_summed_and_the_rest_goes_to_its_label() {
        // Probabilities 0.1, 0.2, 0.3, 0.4 of which car owns the last two.
        let logits = [0.1_f32.ln(), 0.2_f32.ln(), 0.3_f32.ln(), 0.4_f32.ln()];
        let prediction = of(&logits);
        assert_eq!(prediction.value, "car");
        assert!((prediction.confidence - 0.7).abs() < 1e-5);
        let shown: Vec<_> = prediction.top.iter().map(|entry| entry.label.as_str()).collect();
        assert_eq!(shown, ["car", "bus", "background"]);
        assert!((prediction.top[2].probability - 0.1).abs() < 1e-5);
        assert_eq!(prediction.level, ConfidenceLevel::Medium);
    }

    #[test]
    fn certainty_has_no_uncertainty_and_large_logits_do_not_overflow() {
        let sure = of(&[0.0, 5_000.0, 0.0, 0.0]);
        assert_eq!((sure.value.as_str(), sure.confidence, sure.uncertainty), ("bus", 1.0, 0.0));
        let torn = of(&[1.0_f32.ln(), 1.0_f32.ln(), 0.5_f32.ln(), 0.5_f32.ln()]);
        assert!((torn.uncertainty - 1.0).abs() < 1e-4 && !torn.is_confident);
    }
}
