//! The camera's picture for people: the newest one, and moving ones.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::unfold;
use salvo::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use salvo::prelude::*;
use tokio::sync::watch;

use crate::api::http::access::TICKET;
use crate::api::http::error::Answer;
use crate::api::http::query;
use crate::api::http::stay::Place;
use crate::api::resources::wire::Written;
use crate::api::state::AppState;
use crate::capture::CameraState;
use crate::error::{Error, ErrorKind, Result};
use crate::frame::{Analysed, Encoding, Frame, PictureFormat};
use crate::imaging::{Limits, jpeg_of, sniff};
use crate::metrics::Limit;

/// Between two frames of a stream; each part tells its length, so that it does not matter what a JPEG holds.
const BOUNDARY: &str = "frame-of-the-unit";
const MULTIPART: HeaderValue = HeaderValue::from_static("multipart/x-mixed-replace; boundary=frame-of-the-unit");
const JPEG: HeaderValue = HeaderValue::from_static("image/jpeg");
/// A camera that gives nothing for this long ends the stream: the client sees it at once when it asks again.
const QUIET_MAX: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_secs(2);
/// Slower is a still picture; and what is almost 0 has no pause that a duration could hold.
const FPS_MIN: f64 = 0.1;

/// Newest picture
///
/// JPEG, exactly as the camera gave it where it gives JPEG. `X-Frame-Age-Ms` tells how old it is; one older than
/// `api.snapshot_age_max_ms` is not shown (503).
#[endpoint(
    tags("camera"),
    parameters(
        ("overlay" = Option<bool>, Query, description = "Draw the tracked vehicles in"),
        ("ticket" = Option<String>, Query, description = "Instead of a token: a ticket of `POST /api/events/ticket`")
    ),
    responses(
        (status_code = 200, description = "JPEG", body = String, content_type = "image/jpeg"),
        (status_code = 404, description = "NOT_FOUND: no camera is configured")
    ),
    security(["bearer" = []])
)]
pub async fn snapshot(req: &mut Request, depot: &mut Depot, res: &mut Response) -> Answer<Written> {
    let api = AppState::of(depot)?;
    query::only(req, &["overlay", TICKET])?;
    let overlay = query::flag(req, "overlay")?;
    let frame = newest(&api)?;
    let jpeg = picture(&api, &frame, overlay).await?;
    let headers = res.headers_mut();
    headers.insert(CONTENT_TYPE, JPEG);
    headers.insert(HeaderName::from_static("x-frame-age-ms"), number(age(&api, &frame).as_millis()));
    headers.insert(HeaderName::from_static("x-frame-sequence"), number(frame.sequence.into()));
    if let Ok(at) = HeaderValue::from_str(&frame.captured.at.to_string()) {
        headers.insert(HeaderName::from_static("x-frame-captured-at"), at);
    }
    res.write_body(jpeg).map_err(|cause| Error::internal("The picture cannot be sent.").because(cause))?;
    Ok(Written)
}

/// Moving pictures
///
/// `multipart/x-mixed-replace` of JPEGs (MJPEG), as browsers show it in an `img`. Slow clients get fewer frames, never old
/// ones. The stream ends when the camera gives nothing for ten seconds.
#[endpoint(
    tags("camera"),
    parameters(
        ("overlay" = Option<bool>, Query, description = "Draw the tracked vehicles in (at most `api.overlay_fps_max`)"),
        ("fps" = Option<f64>, Query, description = "Frames a second at most, 0.1 or more; `api.stream_fps_max` when absent", minimum = 0.1),
        ("ticket" = Option<String>, Query, description = "Instead of a token: a ticket of `POST /api/events/ticket`")
    ),
    responses(
        (status_code = 200, description = "Frames until either side ends them", body = String, content_type = "multipart/x-mixed-replace"),
        (status_code = 404, description = "NOT_FOUND: no camera is configured")
    ),
    security(["bearer" = []])
)]
pub async fn stream(req: &mut Request, depot: &mut Depot, res: &mut Response) -> Answer<Written> {
    let api = AppState::of(depot)?;
    query::only(req, &["overlay", "fps", TICKET])?;
    let overlay = query::flag(req, "overlay")?;
    let fps_max = api.config.api.stream_fps_max;
    let fps = query::parsed::<f64>(req, "fps", "a number from 0.1 on")?.unwrap_or(fps_max);
    if fps.is_nan() || fps < FPS_MIN {
        return Err(Error::validation("The query parameter `fps` must be a number from 0.1 on.")
            .detail("parameter", "fps")
            .into());
    }
    let most = if overlay { api.config.api.overlay_fps_max.min(fps_max) } else { fps_max };
    newest(&api)?;
    let place = Place::take(&api, depot, &api.streams.pictures, Limit::StreamClients)?;
    let mut frames = api.camera.view.frames();
    // The newest one is sent at once.
    frames.mark_changed();
    let pause = Duration::from_secs_f64(1.0 / fps.min(most));
    let show = Show { api, place, frames, overlay, pause, sent: None };
    res.headers_mut().insert(CONTENT_TYPE, MULTIPART);
    res.stream(unfold(show, |mut show| async move {
        let part = show.next().await?;
        Some((Ok::<Bytes, Infallible>(part), show))
    }));
    Ok(Written)
}

fn number(value: u128) -> HeaderValue {
    HeaderValue::from(u64::try_from(value).unwrap_or(u64::MAX))
}

fn age(api: &AppState, frame: &Frame) -> Duration {
    api.clock.now().monotonic.saturating_sub(frame.captured.monotonic)
}

/// The newest frame, if it is one to show as such.
fn newest(api: &AppState) -> Result<Arc<Frame>> {
    let camera = api.camera.status.state();
    if camera == CameraState::Off {
        let text = "No camera is configured: set capture.source.";
        return Err(Error::new(ErrorKind::NotFound, text));
    }
    let why = match camera {
        CameraState::Ended => "the replay has ended",
        CameraState::Disconnected(_) => "the camera gives no frames; the log says why",
        _ => "the camera is slow",
    };
    let Some(frame) = api.camera.view.newest() else {
        return Err(Error::unavailable(format!("There is no picture yet: {why}."), RETRY));
    };
    let (age, most) = (age(api, &frame), Duration::from_millis(api.config.api.snapshot_age_max_ms));
    if age > most {
        let text = format!("The newest picture is {} s old: {why}.", age.as_secs());
        let milliseconds = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        return Err(Error::unavailable(text, RETRY).detail("age_ms", milliseconds));
    }
    Ok(frame)
}

/// The frame as JPEG, or the newest one that was looked through with its tracks.
async fn picture(api: &AppState, frame: &Arc<Frame>, overlay: bool) -> Result<Bytes> {
    if !overlay {
        let jpeg = frame.encoding == Encoding::File && sniff(&frame.bytes) == Some(PictureFormat::Jpeg);
        if jpeg {
            return Ok(Bytes::from_owner(frame.bytes.clone()));
        }
        return encoded(api, Arc::new(Analysed { frame: Frame::clone(frame), tracks: Vec::new() })).await;
    }
    let analysed = api.camera.view.newest_analysed();
    let limit = Duration::from_millis(api.config.api.snapshot_age_max_ms);
    let analysed = analysed.filter(|analysed| age(api, &analysed.frame) <= limit);
    let analysed = analysed.unwrap_or_else(|| Arc::new(Analysed { frame: Frame::clone(frame), tracks: Vec::new() }));
    let rest = Duration::from_secs_f64(1.0 / api.config.api.overlay_fps_max);
    let sequence = analysed.frame.sequence;
    api.camera.overlays.newest(sequence, rest, limit, encoded(api, analysed)).await
}

async fn encoded(api: &AppState, analysed: Arc<Analysed>) -> Result<Bytes> {
    let limits = Limits { pixels_max: api.config.classifier.picture_pixels_max };
    let work = tokio::task::spawn_blocking(move || jpeg_of(&analysed.frame, &analysed.tracks, &limits));
    let jpeg = work.await.map_err(|cause| Error::internal("The picture cannot be made.").because(cause))??;
    Ok(jpeg.into())
}

/// One client's stream.
struct Show {
    api: Arc<AppState>,
    place: Place,
    frames: watch::Receiver<Option<Arc<Frame>>>,
    overlay: bool,
    /// Between two frames at least.
    pause: Duration,
    sent: Option<Instant>,
}

impl Show {
    /// The next frame with its head; none at the end.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(rest) = self.sent.and_then(|at| self.pause.checked_sub(at.elapsed())) {
            self.place.pause(rest).await;
        }
        let until = Instant::now() + QUIET_MAX;
        loop {
            if !self.place.goes_on().await || Instant::now() > until {
                return None;
            }
            // Short waits, so that a stopping unit is noticed.
            let changed = tokio::time::timeout(Duration::from_millis(500), self.frames.changed()).await;
            match changed {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_) => continue,
            }
            let frame = self.frames.borrow_and_update().clone();
            let Some(frame) = frame else { continue };
            // A frame that cannot be read is the camera's fault, and the next one's chance.
            let Ok(jpeg) = picture(&self.api, &frame, self.overlay).await else { continue };
            self.sent = Some(Instant::now());
            return Some(part(&jpeg, age(&self.api, &frame)));
        }
    }
}

fn part(jpeg: &[u8], age: Duration) -> Bytes {
    let head = format!(
        "--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\nX-Frame-Age-Ms: {}\r\n\r\n",
        jpeg.len(),
        age.as_millis()
    );
    [head.as_bytes(), jpeg, b"\r\n"].concat().into()
}
