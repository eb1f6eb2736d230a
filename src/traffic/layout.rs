//! Counting lines, regions and lanes, and the ground under the camera, in pixels of a picture.

use crate::config;
use crate::frame::Rect;

/// A place in a picture, in pixels.
pub type Point = (f32, f32);

/// How far beyond its ends a line still counts, in widths of the vehicle that crosses.
const LINE_SLACK: f32 = 0.25;

/// How far from its true place a box's lower edge may lie, as a share of the picture's diagonal: 2 pixels of 640 × 480.
const PLACE_ERROR_SHARE: f32 = 0.0025;
/// A speed that such an error changes by more than this share, and by more than [`SPEED_ERROR_KMH`], is not told.
const SPEED_ERROR_SHARE_MAX: f32 = 0.3;
const SPEED_ERROR_KMH: f32 = 15.0;
/// No road vehicle is faster; the four points, or the track, are wrong.
const SPEED_KMH_MAX: f32 = 300.0;

/// The configured geometry, for one picture size.
#[derive(Clone, Debug, Default)]
pub struct RoadLayout {
    pub lines: Vec<CountingLine>,
    include: Vec<Vec<Point>>,
    exclude: Vec<Vec<Point>>,
    lanes: Vec<(String, Vec<Point>)>,
    ground: Option<Ground>,
    /// In pixels.
    place_error: f32,
}

/// A counting line in pixels.
#[derive(Clone, Debug)]
pub struct CountingLine {
    pub name: String,
    from: Point,
    to: Point,
    forward: String,
    backward: String,
}

impl RoadLayout {
    #[must_use]
    pub fn new(traffic: &config::TrafficConfig, (width, height): (f32, f32)) -> Self {
        let scaled = |point: &config::RelativePoint| (point[0] * width, point[1] * height);
        let polygon = |points: &[config::RelativePoint]| points.iter().map(scaled).collect::<Vec<_>>();
        let line = |line: &config::Line| CountingLine {
            name: line.name.clone(),
            from: scaled(&line.from),
            to: scaled(&line.to),
            forward: line.forward.clone(),
            backward: line.backward.clone(),
        };
        let image = polygon(&traffic.homography.image);
        let metres: Vec<Point> = traffic.homography.metres.iter().map(|point| (point[0], point[1])).collect();
        Self {
            lines: traffic.lines.iter().map(line).collect(),
            include: traffic.include.iter().map(|region| polygon(&region.points)).collect(),
            exclude: traffic.exclude.iter().map(|region| polygon(&region.points)).collect(),
            lanes: traffic.lanes.iter().map(|lane| (lane.name.clone(), polygon(&lane.points))).collect(),
            ground: Ground::new(&image, &metres),
            place_error: PLACE_ERROR_SHARE * width.hypot(height),
        }
    }

    /// Whether what happens here counts.
    #[must_use]
    pub fn counts_at(&self, point: Point) -> bool {
        let inside = |polygon: &Vec<Point>| contains(polygon, point);
        (self.include.is_empty() || self.include.iter().any(inside)) && !self.exclude.iter().any(inside)
    }

    /// Cells whose motion is looked at; empty where all are.
    #[must_use]
    pub fn cells(&self, width: usize, height: usize, cell: f32) -> Vec<bool> {
        if self.include.is_empty() && self.exclude.is_empty() {
            return Vec::new();
        }
        let middle = |at: usize| ((at % width) as f32 + 0.5, (at / width) as f32 + 0.5);
        (0..width * height).map(middle).map(|(x, y)| self.counts_at((x * cell, y * cell))).collect()
    }

    /// The lane a point lies in.
    #[must_use]
    pub fn lane(&self, point: Point) -> Option<&str> {
        self.lanes.iter().find(|(_, polygon)| contains(polygon, point)).map(|(name, _)| name.as_str())
    }

    /// Kilometres an hour of a vehicle that stood at `from` and `seconds` later at `to`. None without a ground, and where the
    /// ground lies too far away, or too flat, for the picture to tell: near the horizon a pixel is many metres.
    #[must_use]
    pub fn speed_kmh(&self, from: Point, to: Point, seconds: f32) -> Option<f32> {
        let ground = self.ground.as_ref()?;
        let measured = |from: Point, to: Point| {
            let (a, b) = (ground.of(from)?, ground.of(to)?);
            Some((b.0 - a.0).hypot(b.1 - a.1) / seconds * 3.6)
        };
        let speed = measured(from, to)?;
        let error_max = (SPEED_ERROR_SHARE_MAX * speed).max(SPEED_ERROR_KMH);
        let moved = |point: Point, by: f32| (point.0, point.1 + by);
        for by in [self.place_error, -self.place_error] {
            if (measured(moved(from, by), moved(to, -by))? - speed).abs() > error_max {
                return None;
            }
        }
        (speed <= SPEED_KMH_MAX).then_some(speed)
    }
}

impl CountingLine {
    /// Distance of a point from the line, positive on the side that `forward` leads to.
    #[must_use]
    pub fn side(&self, point: Point) -> f32 {
        let (x, y) = self.normal();
        (point.0 - self.from.0) * x + (point.1 - self.from.1) * y
    }

    /// Half of a box's extent across the line.
    #[must_use]
    pub fn half_extent(&self, rect: &Rect) -> f32 {
        let (x, y) = self.normal();
        (rect.width() * x.abs() + rect.height() * y.abs()) / 2.0
    }

    /// Whether a box at this point passes between the line's ends.
    #[must_use]
    pub fn spans(&self, rect: &Rect) -> bool {
        let (x, y) = rect.centre();
        let along = (self.to.0 - self.from.0, self.to.1 - self.from.1);
        let length = along.0.hypot(along.1).max(f32::EPSILON);
        let place = ((x - self.from.0) * along.0 + (y - self.from.1) * along.1) / length;
        let slack = LINE_SLACK * rect.width().min(rect.height());
        (-slack..=length + slack).contains(&place)
    }

    /// The direction of a crossing.
    #[must_use]
    pub fn direction(&self, forward: bool) -> &str {
        if forward { &self.forward } else { &self.backward }
    }

    /// To the right of somebody who walks from `from` to `to`; y grows downwards.
    fn normal(&self) -> Point {
        let along = (self.to.0 - self.from.0, self.to.1 - self.from.1);
        let length = along.0.hypot(along.1).max(f32::EPSILON);
        (-along.1 / length, along.0 / length)
    }
}

/// Whether a polygon contains a point (even-odd rule).
fn contains(polygon: &[Point], (x, y): Point) -> bool {
    let ends = polygon.iter().zip(polygon.iter().cycle().skip(1));
    ends.filter(|(a, b)| (a.1 > y) != (b.1 > y) && x < (b.0 - a.0) * (y - a.1) / (b.1 - a.1) + a.0).count() % 2 == 1
}

/// The plane of the road: picture to metres.
#[derive(Clone, Debug)]
struct Ground {
    /// Where the picture's coordinates begin: a point of the road, which lies below the horizon.
    origin: Point,
    /// The homography's first eight entries, row by row; the ninth is 1.
    entries: [f64; 8],
}

impl Ground {
    /// From four points in the picture and on the ground (Hartley and Zisserman 2004, 4.1).
    fn new(image: &[Point], metres: &[Point]) -> Option<Self> {
        if image.len() != 4 || metres.len() != 4 {
            return None;
        }
        let origin = *image.first()?;
        let mut rows = Vec::with_capacity(8);
        for (&(x, y), &(to_x, to_y)) in image.iter().zip(metres) {
            let (x, y) = (f64::from(x - origin.0), f64::from(y - origin.1));
            let (to_x, to_y) = (f64::from(to_x), f64::from(to_y));
            rows.push([x, y, 1.0, 0.0, 0.0, 0.0, -x * to_x, -y * to_x, to_x]);
            rows.push([0.0, 0.0, 0.0, x, y, 1.0, -x * to_y, -y * to_y, to_y]);
        }
        Some(Self { origin, entries: solved(rows)? })
    }

    fn of(&self, (x, y): Point) -> Option<Point> {
        let (x, y, h) = (f64::from(x - self.origin.0), f64::from(y - self.origin.1), &self.entries);
        let depth = h[6] * x + h[7] * y + 1.0;
        let place = |a: f64, b: f64, c: f64| ((a * x + b * y + c) / depth) as f32;
        // Beyond the horizon there is no ground.
        (depth > 1e-9).then(|| (place(h[0], h[1], h[2]), place(h[3], h[4], h[5])))
    }
}

/// Eight equations in eight unknowns, by Gauss and Jordan with pivots; none where they contradict one another.
fn solved(mut rows: Vec<[f64; 9]>) -> Option<[f64; 8]> {
    for column in 0..8 {
        let pivot = (column..8).max_by(|&a, &b| rows[a][column].abs().total_cmp(&rows[b][column].abs()))?;
        rows.swap(column, pivot);
        let pivot = rows[column];
        if pivot[column].abs() < 1e-9 {
            return None;
        }
        for (number, row) in rows.iter_mut().enumerate() {
            let share = row[column] / pivot[column];
            if number != column {
                row.iter_mut().zip(&pivot).for_each(|(value, pivot)| *value -= share * pivot);
            }
        }
    }
    Some(std::array::from_fn(|at| rows[at][8] / rows[at][at]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic(toml: serde_json::Value) -> config::TrafficConfig {
        serde_json::from_value(toml).unwrap()
    }

    #[test]
    fn forward_is_downwards_for_a_line_from_left_to_right() {
        let lines = serde_json::json!({"lines": [{"name": "a", "from": [0, 0.5], "to": [1, 0.5], "forward": "down", "backward": "up"}]});
        let layout = RoadLayout::new(&traffic(lines), (200.0, 100.0));
        let line = &layout.lines[0];
        assert!((line.side((20.0, 80.0)) - 30.0).abs() < 1e-4 && line.side((20.0, 10.0)) < 0.0);
        assert_eq!((line.direction(true), line.direction(false)), ("down", "up"));
        assert!(line.spans(&Rect::around((100.0, 50.0), 20.0, 10.0)));
        assert!(!line.spans(&Rect::around((220.0, 50.0), 20.0, 10.0)));
        assert!((line.half_extent(&Rect::around((0.0, 0.0), 20.0, 10.0)) - 5.0).abs() < 1e-4);
    }

    #[test]
    fn regions_take_in_and_leave_out() {
        let regions = serde_json::json!({
            "include": [{"points": [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]}], "exclude": [{"points": [[0, 0], [0.2, 0], [0, 0.2]]}],
            "lanes": [{"name": "left", "points": [[0, 0], [0.25, 0], [0.25, 1], [0, 1]]}]
        });
        let layout = RoadLayout::new(&traffic(regions), (100.0, 100.0));
        assert!(layout.counts_at((40.0, 40.0)) && !layout.counts_at((60.0, 40.0)) && !layout.counts_at((5.0, 5.0)));
        assert_eq!((layout.lane((10.0, 50.0)), layout.lane((40.0, 50.0))), (Some("left"), None));
        assert_eq!(layout.cells(2, 1, 50.0), [true, false]);
    }

    #[test]
    fn the_ground_is_measured_in_metres() {
        // A road of 8 metres that narrows to half its width in the picture over 20 metres.
        let homography = serde_json::json!({"homography": {
            "image": [[0.0, 1.0], [1.0, 1.0], [0.75, 0.5], [0.25, 0.5]], "metres": [[0, 0], [8, 0], [8, 20], [0, 20]]}});
        let layout = RoadLayout::new(&traffic(homography), (400.0, 200.0));
        // 20 metres in a second.
        let speed = layout.speed_kmh((200.0, 200.0), (200.0, 100.0), 1.0).unwrap();
        assert!((speed - 72.0).abs() < 0.1, "{speed}");
        // The middle of the trapezium lies nearer to the camera than half of the way.
        assert!(layout.speed_kmh((200.0, 200.0), (200.0, 150.0), 1.0).unwrap() < 32.4);
        let no_ground = RoadLayout::new(&config::TrafficConfig::default(), (1.0, 1.0));
        assert!(no_ground.speed_kmh((0.0, 0.0), (1.0, 1.0), 1.0).is_none());
    }

    #[test]
    fn a_speed_that_the_picture_cannot_tell_is_none() {
        // The road's edges meet at the height 0: the horizon.
        let homography = serde_json::json!({"homography": {
            "image": [[0.0, 1.0], [1.0, 1.0], [0.75, 0.5], [0.25, 0.5]], "metres": [[0, 0], [8, 0], [8, 20], [0, 20]]}});
        let layout = RoadLayout::new(&traffic(homography), (400.0, 200.0));
        assert!(layout.speed_kmh((200.0, 200.0), (200.0, 150.0), 1.0).is_some());
        assert_eq!(layout.speed_kmh((200.0, 6.0), (200.0, 3.0), 1.0), None, "a pixel here is some hundred metres");
        assert_eq!(layout.speed_kmh((200.0, 100.0), (200.0, -20.0), 1.0), None, "above the horizon there is no road");
        assert_eq!(layout.speed_kmh((200.0, 200.0), (200.0, 100.0), 0.1), None, "720 km/h");
    }
}
