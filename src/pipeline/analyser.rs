//! One camera's frames, one after the other: motion, detector, tracks, classifier, passages. It has no thread and no clock.

use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::classifier::{Classifier, Detector, Manifest, type_probabilities};
use crate::config::{self, KeepCrops};
use crate::error::Result;
use crate::frame::{Frame, Rect};
use crate::imaging::{self, Limits, Picture, Placement, Target, Tensoriser, Thumbnail};
use crate::pipeline::clip::ClipClock;
use crate::pipeline::crops::Crops;
use crate::record::Passage;
use crate::traffic::{
    Cells, Detection, FinishedTrack, Foreground, Moment, Motion, Observation, RoadLayout, Track, Tracker, consensus,
};

/// What an analyser works by.
#[derive(Clone, Debug)]
pub struct AnalyserSettings {
    pub traffic: config::TrafficConfig,
    pub picture_pixels_max: u64,
    /// Frames a second of a recording that is replayed as fast as possible: its frames are that far apart, from when the first
    /// one was read. None: the time of a frame is when it was captured.
    pub clip_fps: Option<f64>,
}

/// The detector with its input's shape.
pub struct FrameDetector<'a> {
    pub detector: &'a mut dyn Detector,
    pub target: Target,
}

/// What tells a vehicle's type.
pub struct CropClassifier<'a> {
    pub classifier: &'a mut dyn Classifier,
    pub manifest: &'a Manifest,
}

/// How long the stages of one frame took; zero for what was not needed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stages {
    pub motion: Duration,
    pub decode: Duration,
    pub detect: Duration,
    pub track: Duration,
    pub classify: Duration,
}

impl Stages {
    /// Names as in the metric label, with their times.
    #[must_use]
    pub fn named(&self) -> [(&'static str, Duration); 5] {
        [
            ("motion", self.motion),
            ("decode", self.decode),
            ("detect", self.detect),
            ("track", self.track),
            ("classify", self.classify),
        ]
    }
}

/// A vehicle as it is followed now, for showing it.
#[derive(Clone, Debug, PartialEq)]
pub struct Followed {
    pub track: u64,
    /// In pixels of the picture.
    pub rect: Rect,
    pub counted: bool,
    /// Seen by the detector at least once, not by motion alone.
    pub detected: bool,
}

/// What became of one frame.
#[derive(Debug)]
pub struct Analysis {
    /// Vehicles that were counted and need not be waited for any longer.
    pub passages: Vec<Passage>,
    pub followed: Vec<Followed>,
    /// Whether the picture was decoded: something moved.
    pub analysed: bool,
    pub stages: Stages,
}

/// The state of one camera.
pub struct Analyser<'a> {
    settings: AnalyserSettings,
    detector: Option<FrameDetector<'a>>,
    classifier: CropClassifier<'a>,
    motion: Motion,
    tracker: Tracker,
    crops: Crops,
    tensoriser: Tensoriser,
    /// Of a recording whose frames' times are not their own.
    clip: Option<ClipClock>,
    last_at: Option<f64>,
}

impl<'a> Analyser<'a> {
    #[must_use]
    pub fn new(
        settings: AnalyserSettings,
        detector: Option<FrameDetector<'a>>,
        classifier: CropClassifier<'a>,
    ) -> Self {
        let tracker = Tracker::new(settings.traffic.clone());
        let crops = Crops::new(settings.traffic.crops_max, classifier.manifest.thresholds.crop_min_px);
        let (motion, tensoriser) = (Motion::default(), Tensoriser::default());
        let clip = settings.clip_fps.map(ClipClock::new);
        Self { settings, detector, classifier, motion, tracker, crops, tensoriser, clip, last_at: None }
    }

    /// Takes in the next frame.
    ///
    /// # Errors
    /// Those of reading a picture, and internal when a model fails; the analyser goes on with the next frame.
    pub fn observe(&mut self, frame: &Frame) -> Result<Analysis> {
        let mut stages = Stages::default();
        let mut watch = Stopwatch(Instant::now());
        let limits = Limits { pixels_max: self.settings.picture_pixels_max };
        let small = imaging::thumbnail(frame, &limits)?;
        let moment = self.moment(frame);
        let elapsed = self.last_at.map_or(0.0, |last| (moment.at - last).max(0.0));
        self.last_at = Some(moment.at);
        let foreground = self.foreground(&small, elapsed as f32);
        stages.motion = watch.lap();
        let mut picture = None;
        let mut detections = None;
        if foreground.moving() || foreground.learning || self.tracker.unsettled() {
            let decoded = imaging::decode_frame(frame, &limits)?;
            stages.decode = watch.lap();
            detections = self.detections(&decoded)?;
            stages.detect = watch.lap();
            picture = Some(decoded);
        }
        let size = (small.picture.0 as f32, small.picture.1 as f32);
        self.tracker.observe(&Observation {
            moment,
            picture: size,
            detections: detections.as_deref(),
            foreground: &foreground,
        });
        stages.track = watch.lap();
        if let Some(picture) = &picture {
            self.take_crops(picture)?;
        }
        let passages = self.passages()?;
        stages.classify = watch.lap();
        let followed = self.tracker.tracks().iter().filter(|track| track.confirmed()).map(followed).collect();
        Ok(Analysis { passages, followed, analysed: picture.is_some(), stages })
    }

    /// No more frames come, or none for a while: what was counted is handed over.
    ///
    /// # Errors
    /// Internal when the classifier fails.
    pub fn finish(&mut self) -> Result<Vec<Passage>> {
        self.tracker.finish();
        self.last_at = None;
        self.passages()
    }

    fn moment(&mut self, frame: &Frame) -> Moment {
        let live = || (frame.captured.monotonic.as_secs_f64(), frame.captured.clone());
        let (at, stamp) = self.clip.as_mut().map_or_else(live, |clip| clip.moment(frame));
        Moment { at, stamp }
    }

    fn foreground(&mut self, small: &Thumbnail, elapsed: f32) -> Foreground {
        let cells = Cells { width: small.width, height: small.height, cell: small.cell, values: &small.values };
        let new = self.motion.is_new(&cells);
        let foreground = self.motion.observe(&cells, elapsed);
        if new {
            let layout = RoadLayout::new(&self.settings.traffic, (small.picture.0 as f32, small.picture.1 as f32));
            self.motion.set_region(layout.cells(small.width, small.height, small.cell));
        }
        foreground
    }

    /// What the detector finds; none without one.
    fn detections(&mut self, picture: &Picture) -> Result<Option<Vec<Detection>>> {
        let Some(detector) = &mut self.detector else { return Ok(None) };
        let tensor = self.tensoriser.tensor(picture, &detector.target)?;
        let placement = Placement::of(picture.width(), picture.height(), &detector.target);
        let whole = (picture.width() as f32, picture.height() as f32);
        let found = detector.detector.detect(tensor)?.into_iter();
        let detection = |found: crate::classifier::DetectorBox| Detection {
            rect: placement.in_picture(&found.rect).within(whole),
            score: found.score,
            person: found.person,
        };
        Ok(Some(found.map(detection).filter(|detection| detection.rect.area() >= 1.0).collect()))
    }

    fn take_crops(&mut self, picture: &Picture) -> Result<()> {
        let input = &self.classifier.manifest.input;
        let target = Target { width: input.width, height: input.height, fit: input.fit };
        let keep = self.settings.traffic.keep_crops != KeepCrops::None;
        for track in self.tracker.tracks() {
            let Some(wanted) = self.crops.wanted(track, (picture.width(), picture.height())) else { continue };
            let tensor = self.tensoriser.tensor_of_region(picture, wanted.region, &target)?;
            let jpeg = keep.then_some(|| imaging::jpeg_of_region(picture, wanted.region));
            self.crops.put(track, wanted, (tensor, target.width as usize), jpeg)?;
        }
        Ok(())
    }

    fn passages(&mut self) -> Result<Vec<Passage>> {
        let mut passages = Vec::new();
        for finished in self.tracker.finished() {
            passages.extend(self.passage(finished)?);
        }
        let live: Vec<u64> = self.tracker.tracks().iter().map(|track| track.id).collect();
        self.crops.keep(&live);
        Ok(passages)
    }

    /// The consensus of the vehicle's pictures, as a record.
    fn passage(&mut self, FinishedTrack { track, speed_kmh }: FinishedTrack) -> Result<Option<Passage>> {
        let Some(counted) = track.counted.clone() else { return Ok(None) };
        let manifest = self.classifier.manifest;
        let mut votes = Vec::new();
        for crop in self.crops.of(track.id) {
            let logits = self.classifier.classifier.invoke(&crop.tensor)?;
            let probabilities = type_probabilities(manifest, &logits);
            votes.push(crate::traffic::CropVote { probabilities, weight: crop.weight });
        }
        let said = consensus(&votes, manifest.thresholds.unclassified_below);
        // Unclassified has no confidence.
        let doubtful = said.confidence < self.settings.traffic.doubtful_below;
        let crop = self.crops.take_jpeg(track.id).filter(|_| match self.settings.traffic.keep_crops {
            KeepCrops::None => false,
            KeepCrops::Doubtful => doubtful,
            KeepCrops::All => true,
        });
        Ok(Some(Passage {
            id: Uuid::new_v4().to_string(),
            class: said.class,
            confidence: said.confidence,
            votes: said.votes,
            crops: u32::try_from(votes.len()).unwrap_or(u32::MAX),
            line: counted.line,
            direction: counted.direction,
            lane: counted.lane,
            speed_kmh,
            started: track.started.stamp.clone(),
            ended: track.last.stamp.clone(),
            counted: counted.stamp,
            model: manifest.name.clone(),
            model_version: manifest.version.clone(),
            crop,
        }))
    }
}

fn followed(track: &Track) -> Followed {
    Followed { track: track.id, rect: track.rect(), counted: track.counted.is_some(), detected: !track.blob_only() }
}

/// Times one stage after the other.
struct Stopwatch(Instant);

impl Stopwatch {
    fn lap(&mut self) -> Duration {
        let now = Instant::now();
        let lap = now - self.0;
        self.0 = now;
        lap
    }
}
