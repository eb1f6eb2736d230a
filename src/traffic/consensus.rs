//! One class for a vehicle from what a classifier said of several pictures of it.

use crate::record::{LabelProbability, UNCLASSIFIED};

/// Pictures that carry no more weight than their number: a probability below this is taken as this.
const PROBABILITY_FLOOR: f32 = 1e-3;
/// The label of a picture that shows no vehicle; a track is one, so its share goes to the others.
const BACKGROUND: &str = "background";

/// What the classifier said of one picture.
#[derive(Clone, Debug)]
pub struct CropVote {
    /// Of every label of the attribute `type`.
    pub probabilities: Vec<LabelProbability>,
    /// How much the picture counts: the larger, the more.
    pub weight: f32,
}

/// The class of a vehicle, or [`UNCLASSIFIED`].
#[derive(Clone, Debug, PartialEq)]
pub struct Consensus {
    pub class: String,
    /// 0 when unclassified.
    pub confidence: f32,
    /// Most probable first; empty without votes.
    pub votes: Vec<LabelProbability>,
}

/// The weighted mean of the probabilities' logarithms, as a product of experts that are not independent: agreement of all
/// counts more than one sure voice, and no number of pictures makes a doubtful one sure.
///
/// `least`: below this confidence the vehicle is unclassified.
#[must_use]
pub fn consensus(votes: &[CropVote], least: f32) -> Consensus {
    let total: f32 = votes.iter().map(|vote| vote.weight).sum();
    let unclassified = |votes| Consensus { class: UNCLASSIFIED.to_owned(), confidence: 0.0, votes };
    let Some(first) = votes.first().filter(|_| total > 0.0) else { return unclassified(Vec::new()) };
    let mut sums: Vec<LabelProbability> = Vec::new();
    for LabelProbability { label, .. } in first.probabilities.iter().filter(|entry| entry.label != BACKGROUND) {
        let of = |vote: &CropVote| {
            vote.probabilities.iter().find(|entry| &entry.label == label).map_or(0.0, |entry| entry.probability)
        };
        let mean: f32 = votes.iter().map(|vote| vote.weight / total * of(vote).max(PROBABILITY_FLOOR).ln()).sum();
        sums.push(LabelProbability { label: label.clone(), probability: mean.exp() });
    }
    let whole: f32 = sums.iter().map(|entry| entry.probability).sum();
    sums.iter_mut().for_each(|entry| entry.probability /= whole.max(f32::MIN_POSITIVE));
    sums.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    match sums.first() {
        Some(best) if best.probability >= least => {
            Consensus { class: best.label.clone(), confidence: best.probability, votes: sums }
        }
        _ => unclassified(sums),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vote(weight: f32, shares: &[(&str, f32)]) -> CropVote {
        let probabilities = shares
            .iter()
            .map(|(label, probability)| LabelProbability { label: (*label).into(), probability: *probability });
        CropVote { probabilities: probabilities.collect(), weight }
    }

    #[test]
    fn agreement_beats_one_sure_voice() {
        let votes = [
            vote(1.0, &[("car", 0.3), ("van", 0.7)]),
            vote(1.0, &[("car", 0.35), ("van", 0.65)]),
            vote(1.0, &[("car", 0.75), ("van", 0.25)]),
        ];
        let consensus = consensus(&votes, 0.5);
        assert_eq!(consensus.class, "van");
        assert!((0.5..0.7).contains(&consensus.confidence), "{consensus:?}");
    }

    #[test]
    fn large_pictures_count_more() {
        let votes = [vote(4.0, &[("car", 0.8), ("bus", 0.2)]), vote(1.0, &[("car", 0.1), ("bus", 0.9)])];
        assert_eq!(consensus(&votes, 0.5).class, "car");
    }

    #[test]
    fn too_little_evidence_is_unclassified() {
        assert_eq!(consensus(&[], 0.5).class, UNCLASSIFIED);
        let torn = consensus(&[vote(1.0, &[("car", 0.4), ("van", 0.35), ("bus", 0.25)])], 0.5);
        assert_eq!((torn.class.as_str(), torn.confidence, torn.votes.len()), (UNCLASSIFIED, 0.0, 3));
        // A picture that mostly shows road says little, and that little is shared out.
        let road = consensus(&[vote(1.0, &[("background", 0.8), ("car", 0.15), ("van", 0.05)])], 0.5);
        assert_eq!(road.class, "car");
    }
}
