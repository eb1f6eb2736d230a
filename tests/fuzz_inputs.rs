//! The fuzz targets' checks over their seeds and over inputs that once failed, each also altered a little, by chance that is the
//! same every time: what fuzzing found stays mended (`fuzz/run` is the long way). `FUZZ_ROUNDS` alters each seed so many times.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;

#[path = "../fuzz/checks/mod.rs"]
mod checks;

const ROUNDS_DEFAULT: u64 = 20;

/// A multiplier and step of Knuth's MMIX generator.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit.max(1)
    }

    /// Some bytes changed, taken out, said twice or taken from another seed.
    fn altered(&mut self, seed: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len() + 1).min(bytes.len());
            let end = (at + self.below(12)).min(bytes.len());
            match self.below(5) {
                0 => bytes[at..end].iter_mut().for_each(|byte| *byte ^= 1 << (at % 8)),
                1 => drop(bytes.drain(at..end)),
                2 => bytes.extend_from_within(at..end),
                3 => bytes.truncate(at),
                _ => {
                    let from = self.below(other.len());
                    bytes.splice(at..end, other[from..].iter().copied().take(24));
                }
            }
        }
        bytes
    }
}

fn hold(target: &str, directories: &[&str], check: fn(&[u8])) {
    let rounds = std::env::var("FUZZ_ROUNDS").map_or(ROUNDS_DEFAULT, |rounds| rounds.parse().unwrap());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<_> = directories
        .iter()
        .flat_map(|directory| fs::read_dir(root.join(directory)).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let seeds: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    assert!(seeds.len() > 2, "{target} has no seeds");
    let mut chance = Chance(seeds.len() as u64);
    for (file, seed) in files.iter().zip(&seeds) {
        // What fails is shown as it is: it can go into a file.
        let hold_one = |input: &[u8]| {
            let held = std::panic::catch_unwind(|| check(input)).is_ok();
            assert!(held, "{target}: {} altered to {}", file.display(), input.escape_ascii());
        };
        hold_one(seed);
        for _ in 0..rounds {
            let other = chance.below(seeds.len());
            hold_one(&chance.altered(seed, &seeds[other]));
        }
    }
}

#[test]
fn pictures() {
    hold("picture", &["fuzz/seeds/picture", "tests/pictures"], checks::picture);
}

#[test]
fn multipart_bodies() {
    hold("multipart", &["fuzz/seeds/multipart"], checks::multipart);
}

#[test]
fn tokens() {
    hold("token", &["fuzz/seeds/token"], checks::token);
}

#[test]
fn queries_and_cursors() {
    hold("query", &["fuzz/seeds/query"], checks::query);
}

#[test]
fn requests() {
    hold("request", &["fuzz/seeds/request"], checks::request);
}

#[test]
fn manifests() {
    hold("manifest", &["fuzz/seeds/manifest"], checks::manifest);
}

#[test]
fn configurations() {
    hold("config", &["fuzz/seeds/config"], checks::config);
}
