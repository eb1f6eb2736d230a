//! Manifests of models: written by whoever made the model.

use vehicle_classifierd::classifier::{DetectorManifest, GoldenPattern, Manifest, predictions};

/// Larger tensors than any manifest may ask for.
const ELEMENTS_MAX: usize = 2_048 * 2_048 * 3;

/// What is accepted can be used: tensors of bounded size, and predictions that are numbers.
pub fn manifest(json: &[u8]) {
    if let Ok(manifest) = Manifest::parse(json) {
        let elements = manifest.input.elements();
        assert!((1..=ELEMENTS_MAX).contains(&elements));
        assert_eq!(GoldenPattern::tensor(elements.min(64)).len(), elements.min(64));
        for logit in [0.0, -12.8, 12.7] {
            let mut logits = vec![0.0; manifest.output.classes];
            logits[0] = logit;
            let predictions = predictions(&manifest, &logits);
            assert_eq!(predictions.len(), manifest.attributes.len());
            for prediction in predictions {
                let shares = prediction.top.iter().map(|one| one.probability);
                for share in shares.chain([prediction.confidence, prediction.uncertainty]) {
                    assert!((-0.001..=1.001).contains(&share), "{share} is no share");
                }
            }
        }
    }
    if let Ok(manifest) = DetectorManifest::parse(json) {
        assert!(manifest.boxes.places(&manifest.input) > 0);
    }
}
