use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::queues::{Queues, WaitingFrame, Work};
use super::*;
use crate::clock::{Clock, SystemClock};
use crate::error::ErrorKind;
use crate::frame::{Encoding, Frame};

const DEPTH: usize = 2;
const MEMORY: u64 = 64 << 20;

fn settings(workers: usize, queue_depth_max: usize) -> InferenceSettings {
    InferenceSettings {
        workers,
        threads: 1,
        queue_depth_max,
        picture_pixels_max: 50_000_000,
        decode_bytes_max: MEMORY,
        frame_age_max: Duration::from_secs(60),
    }
}

fn queues() -> (Queues, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new().unwrap());
    (Queues::new(&settings(1, DEPTH), metrics.clone()), metrics)
}

fn upload(name: &str) -> Upload {
    let deadline = Instant::now() + Duration::from_secs(60);
    Upload { bytes: Arc::from(&b"x"[..]), file_name: Some(name.into()), media_type: None, deadline, held: None }
}

fn frame(sequence: u64) -> WaitingFrame {
    let captured = SystemClock::new().now();
    let frame = Frame { sequence, captured, bytes: Arc::from(&b"x"[..]), encoding: Encoding::File, label: "f".into() };
    WaitingFrame { frame, arrived: Instant::now() }
}

fn push(queues: &Queues, name: &str) -> oneshot::Receiver<Result<PictureAnswer>> {
    let (reply, answer) = oneshot::channel();
    queues.push_upload("ann", upload(name), reply).unwrap();
    answer
}

fn taken(queues: &Queues) -> String {
    match queues.next(0).unwrap() {
        Work::Upload(upload, _, _) => upload.file_name.unwrap(),
        Work::Frame(camera) => format!("frame {}", camera.frame.sequence),
    }
}

#[test]
fn a_full_queue_refuses_and_counts() {
    let (queues, metrics) = queues();
    let _answers = [push(&queues, "a"), push(&queues, "b")];
    let (reply, _answer) = oneshot::channel();
    let error = queues.push_upload("ann", upload("c"), reply).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.retry_after_hint().is_some());
    assert_eq!(metrics.limit_hits.with_label_values(&["upload_queue"]).get(), 1);
    assert_eq!(metrics.queue_depth.with_label_values(&["uploads"]).get(), 2);
}

#[test]
fn who_has_left_takes_no_place_from_who_is_here() {
    let (queues, _metrics) = queues();
    let here = push(&queues, "a");
    drop(push(&queues, "gone"));
    let also_here = push(&queues, "b");
    assert_eq!((taken(&queues), taken(&queues)), ("a".into(), "b".into()));
    drop((here, also_here));
}

#[test]
fn the_newest_frame_wins_its_one_place() {
    let (queues, metrics) = queues();
    for sequence in 0..3 {
        queues.put_frame(frame(sequence));
    }
    assert_eq!(taken(&queues), "frame 2");
    assert_eq!(metrics.frames.with_label_values(&["dropped"]).get(), 2);
}

#[test]
fn accounts_take_turns_however_many_uploads_one_has() {
    let metrics = Arc::new(Metrics::new().unwrap());
    let queues = Queues::new(&settings(1, 8), metrics);
    let answers: Vec<_> = [("eve", "e1"), ("eve", "e2"), ("eve", "e3"), ("ann", "a1"), ("bob", "b1"), ("ann", "a2")]
        .map(|(account, name)| {
            let (reply, answer) = oneshot::channel();
            queues.push_upload(account, upload(name), reply).unwrap();
            answer
        })
        .into();
    let order: Vec<_> = answers.iter().map(|_| taken(&queues)).collect();
    assert_eq!(order, ["e1", "a1", "b1", "e2", "a2", "e3"]);
}

/// The head of an 8-bit PNG with opacity, which takes four bytes a pixel.
fn png(side: u32) -> Upload {
    let size = side.to_be_bytes();
    let bytes = [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", &size[..], &size, &[8, 6, 0, 0, 0]].concat();
    Upload { bytes: bytes.into(), ..upload("large.png") }
}

#[test]
fn decoding_never_takes_more_than_its_memory() {
    let metrics = Arc::new(Metrics::new().unwrap());
    let queues = Queues::new(&settings(2, 8), metrics.clone());
    let push = |upload: Upload| {
        let (reply, answer) = oneshot::channel();
        queues.push_upload("ann", upload, reply).map(|()| answer)
    };
    // 36 MB and one more are too much for 64 MiB.
    let waiting = [push(png(3_000)).unwrap(), push(png(3_000)).unwrap()];
    assert!(matches!(queues.next(0), Some(Work::Upload(..))));
    queues.put_frame(frame(1));
    assert!(matches!(queues.next(1), Some(Work::Frame(_))), "a frame passes an upload that waits for memory");
    queues.done(1);
    std::thread::scope(|scope| {
        let (send, second) = channel();
        let queues = &queues;
        scope.spawn(move || send.send(matches!(queues.next(1), Some(Work::Upload(..)))).unwrap());
        assert!(second.try_recv().is_err(), "both are decoded at the same time");
        queues.done(0);
        assert!(second.recv_timeout(Duration::from_secs(60)).unwrap(), "the second is taken once the first is done");
    });
    let error = push(png(5_000)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::PayloadTooLarge);
    assert!(error.message().contains("97 MiB") && error.message().contains("64 MiB"), "{error}");
    assert_eq!(metrics.limit_hits.with_label_values(&["decode_memory"]).get(), 1);
    drop(waiting);
}

#[test]
fn camera_and_uploads_take_turns() {
    let (queues, _) = queues();
    let _answers = [push(&queues, "a"), push(&queues, "b")];
    let mut order = Vec::new();
    for sequence in 0..4 {
        queues.put_frame(frame(sequence));
        order.push(taken(&queues));
    }
    assert_eq!(order, ["frame 0", "a", "frame 2", "b"]);
}

#[test]
fn closing_finishes_accepted_uploads_and_takes_no_more() {
    let (queues, _) = queues();
    let _answer = push(&queues, "a");
    queues.put_frame(frame(0));
    queues.close();
    assert_eq!(taken(&queues), "a");
    assert!(queues.next(0).is_none());
    let (reply, _answer) = oneshot::channel();
    assert_eq!(queues.push_upload("ann", upload("b"), reply).unwrap_err().kind(), ErrorKind::Unavailable);
}

#[test]
fn a_busy_worker_is_seen_until_it_is_done() {
    let (queues, _) = queues();
    assert!(queues.busiest().is_none());
    queues.put_frame(frame(0));
    taken(&queues);
    assert!(queues.busiest().is_some());
    queues.done(0);
    assert!(queues.busiest().is_none());
}

/// The shipped model with its workers.
fn started(queue_depth_max: usize) -> (Inference, Receiver<Result<PictureAnswer>>, ActiveModel) {
    let models = crate::classifier::ModelsDirectory::new(concat!(env!("CARGO_MANIFEST_DIR"), "/models").into());
    let model = ActiveModel::new(models.find("").unwrap().load().unwrap());
    let settings = settings(1, queue_depth_max);
    let (send, receive) = channel();
    let sink: FrameSink = Box::new(move |_, answer| drop(send.send(answer)));
    let inference = Inference::start(&settings, &model, sink, &Arc::new(Metrics::new().unwrap())).unwrap();
    (inference, receive, model)
}

#[tokio::test]
async fn a_shipped_model_starts_proves_itself_and_answers_both_queues() {
    let (inference, frames, active) = started(4);
    let (queue, model) = (inference.queue(), active.get());
    assert!(inference.golden_result().confidence >= model.manifest.golden.picture.confidence_min);
    let bytes: Arc<[u8]> = model.golden_picture.clone().into();
    let answer = queue.submit("ann", Upload { bytes: bytes.clone(), ..upload("golden.jpg") }).await.unwrap();
    assert_eq!(answer.of_type().unwrap().value, inference.golden_result().value);
    queue.offer(Frame { bytes, ..frame(0).frame });
    assert_eq!(frames.recv().unwrap().unwrap().confidence(), answer.confidence());
    queue.offer(frame(1).frame);
    assert_eq!(frames.recv().unwrap().unwrap_err().kind(), ErrorKind::UnsupportedMediaType);
    let late = Upload { bytes: model.golden_picture.clone().into(), deadline: Instant::now(), ..upload("golden.jpg") };
    assert_eq!(queue.submit("ann", late).await.unwrap_err().kind(), ErrorKind::Unavailable);
    inference.stop();
    assert_eq!(queue.submit("ann", upload("x")).await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[test]
fn a_model_that_fails_its_golden_test_does_not_start() {
    let (inference, _frames, model) = started(4);
    inference.stop();
    let model = model.get();
    let mut manifest = model.manifest.clone();
    manifest.golden.pattern.top[0].logit += manifest.golden.pattern.tolerance + 40;
    let golden_picture = model.golden_picture.clone();
    let wrong =
        ActiveModel::new(LoadedModel { manifest, bytes: model.bytes.clone(), golden_picture, unusable: Vec::new() });
    let settings = settings(2, 1);
    let error =
        Inference::start(&settings, &wrong, Box::new(|_, _| {}), &Arc::new(Metrics::new().unwrap())).err().unwrap();
    assert!(error.to_string().contains("golden test"), "{error}");
}

#[tokio::test]
async fn another_model_answers_from_the_next_picture_on() {
    let (inference, _frames, active) = started(4);
    let (queue, first) = (inference.queue(), active.get());
    let picture = || Upload { bytes: first.golden_picture.clone().into(), ..upload("golden.jpg") };
    assert_eq!(queue.submit("ann", picture()).await.unwrap().model, first.manifest.name);
    let models = crate::classifier::ModelsDirectory::new(concat!(env!("CARGO_MANIFEST_DIR"), "/models").into());
    let found =
        models.list().unwrap().into_iter().find(|found| !found.is_detector() && found.name != first.manifest.name);
    let other = found.unwrap().load().unwrap();
    let name = other.manifest.name.clone();
    active.replace(other);
    let answer = queue.submit("ann", picture()).await.unwrap();
    assert_eq!((&answer.model, active.get().manifest.name == name), (&name, true));
    // One that cannot be built costs nobody an answer: the last good one goes on.
    let present = active.get();
    let golden_picture = present.golden_picture.clone();
    active.replace(LoadedModel {
        manifest: present.manifest.clone(),
        bytes: vec![0; 64],
        golden_picture,
        unusable: Vec::new(),
    });
    assert_eq!(queue.submit("ann", picture()).await.unwrap().model, name);
    active.replace(models.find(&first.title()).unwrap().load().unwrap());
    assert_eq!(queue.submit("ann", picture()).await.unwrap().model, first.manifest.name);
    inference.stop();
}
