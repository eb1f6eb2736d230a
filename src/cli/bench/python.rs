//! The same model in Python's `ai-edge-litert`, measured in turn with this runtime, so that a machine whose speed drifts
//! slows both alike.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::classifier::LoadedModel;
use crate::classifier::PictureClassifier;
use crate::classifier::with_classifier;
use crate::cli::bench::figures::Figures;
use crate::cli::bench::{ROUNDS_MIN, invoke_batch, milliseconds};
use crate::error::{Error, Result};
use crate::imaging::Limits;

const SCRIPT: &str = include_str!("litert.py");
/// Invocations of one runtime before it is the other's turn.
const BATCH: usize = 20;

/// Medians of both runtimes, one thread each.
pub struct Comparison {
    ours: Duration,
    theirs: Duration,
    rounds: usize,
}

impl Comparison {
    fn ratio(&self) -> f64 {
        self.ours.as_secs_f64() / self.theirs.as_secs_f64()
    }

    pub fn json(&self) -> Value {
        json!({
            "stage": "invoke against ai-edge-litert",
            "p50_ms": milliseconds(self.ours),
            "litert_p50_ms": milliseconds(self.theirs),
            "ratio": self.ratio(),
            "rounds": self.rounds,
        })
    }

    pub fn text(&self) -> String {
        format!(
            "invoke, one thread, in turn with ai-edge-litert: {:.2} ms here, {:.2} ms there, ratio {:.3} (medians of {} rounds)",
            milliseconds(self.ours),
            milliseconds(self.theirs),
            self.ratio(),
            self.rounds
        )
    }
}

/// Measures for `share` of time.
///
/// # Errors
/// When Python or its package is missing, with what it said.
pub fn compare(python: &Path, model: &LoadedModel, share: Duration) -> Result<Comparison> {
    let broken = |cause: std::io::Error| {
        Error::validation(format!("{} cannot run the comparison; does it have ai-edge-litert?", python.display()))
            .because(cause)
    };
    let mut file = tempfile::NamedTempFile::new().map_err(broken)?;
    file.write_all(&model.bytes).map_err(broken)?;
    let mut child = Command::new(python)
        .args(["-c", SCRIPT])
        .arg(file.path())
        .arg(BATCH.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(broken)?;
    let (Some(mut ask), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(Error::internal("Python has no standard input or output."));
    };
    let mut answers = BufReader::new(answers);
    let mut theirs = |times: &mut Vec<Duration>| -> std::io::Result<()> {
        ask.write_all(b"go\n")?;
        let mut line = String::new();
        answers.read_line(&mut line)?;
        for nanoseconds in line.split_whitespace() {
            times.push(Duration::from_nanos(nanoseconds.parse().map_err(std::io::Error::other)?));
        }
        if line.is_empty() { Err(std::io::Error::other("it ended early")) } else { Ok(()) }
    };
    let (mut here, mut there) = (Vec::new(), Vec::new());
    let measured = with_classifier(model, 1, |classifier| {
        let mut classifier = PictureClassifier::new(classifier, &model.manifest, Limits { pixels_max: 0 });
        // The first batch of each warms up.
        invoke_batch(&mut classifier, model, BATCH)?;
        theirs(&mut Vec::new()).map_err(broken)?;
        let end = Instant::now() + share;
        while here.len() < ROUNDS_MIN * BATCH || Instant::now() < end {
            here.extend(invoke_batch(&mut classifier, model, BATCH)?);
            theirs(&mut there).map_err(broken)?;
        }
        Ok::<(), Error>(())
    });
    drop(ask);
    // Its standard input is closed by now, so it ends.
    let _ = child.wait();
    measured??;
    let rounds = here.len();
    Ok(Comparison {
        ours: Figures::new("", None, here).percentile(50),
        theirs: Figures::new("", None, there).percentile(50),
        rounds,
    })
}
