//! `[traffic]`: where vehicles are counted, and how they are found.

use serde::{Deserialize, Serialize};

use super::validation::rate;

/// Fractions of the picture's width and height, from the top left.
pub type RelativePoint = [f32; 2];

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrafficConfig {
    /// `NAME` or `NAME@VERSION` of the model that finds vehicles; `none`: by motion alone.
    pub detector: String,
    /// Counting lines. With any, a passage is a vehicle that crossed one, once; without, one that moved through the picture.
    pub lines: Vec<Line>,
    /// Only what happens in one of these counts; none: everywhere.
    pub include: Vec<Region>,
    /// What happens in one of these does not count, and its motion is not looked at.
    pub exclude: Vec<Region>,
    /// Named regions; a passage tells in which one its vehicle was when it was counted.
    pub lanes: Vec<Lane>,
    /// From being counted to being recorded, at most; until then further pictures of the vehicle are looked at.
    pub passage_delay_ms: u64,
    /// Pictures of one vehicle that the classifier is asked about.
    pub crops_max: usize,
    /// Of which vehicles the best picture is kept, within `store.crop_bytes_max`.
    pub keep_crops: KeepCrops,
    /// A vehicle that is unclassified, or classified with less confidence than this, is doubtful.
    pub doubtful_below: f32,
    /// A clip's own frames a second, when it is replayed as fast as possible (`fps=0`).
    pub clip_fps: f64,
    /// The ground under the camera, for speeds.
    pub homography: Homography,
}

impl Default for TrafficConfig {
    fn default() -> Self {
        Self {
            detector: "nanodet-vehicles".into(),
            lines: Vec::new(),
            include: Vec::new(),
            exclude: Vec::new(),
            lanes: Vec::new(),
            passage_delay_ms: 2_000,
            crops_max: 5,
            keep_crops: KeepCrops::None,
            doubtful_below: 0.6,
            clip_fps: 25.0,
            homography: Homography::default(),
        }
    }
}

/// Pictures of vehicles can show plates and people: none are kept unless somebody asks for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeepCrops {
    #[default]
    None,
    /// Those to learn from: see `doubtful_below`.
    Doubtful,
    All,
}

/// A counting line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    pub name: String,
    pub from: RelativePoint,
    pub to: RelativePoint,
    /// Name of the direction from the left to the right of somebody who walks from `from` to `to`, as seen in the picture.
    #[serde(default = "forward")]
    pub forward: String,
    #[serde(default = "backward")]
    pub backward: String,
}

fn forward() -> String {
    "forward".into()
}

fn backward() -> String {
    "backward".into()
}

/// A polygon.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    pub points: Vec<RelativePoint>,
}

/// A polygon with a name.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lane {
    pub name: String,
    pub points: Vec<RelativePoint>,
}

/// Four points of the road in the picture and on the ground; empty: no speeds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Homography {
    pub image: Vec<RelativePoint>,
    /// The same points in metres, on any axes.
    pub metres: Vec<RelativePoint>,
}

/// Longest name of a line, direction or lane.
const NAME_CHARS_MAX: usize = 64;
/// Shorter lines are a mistake: a twentieth of the picture's width.
const LINE_LENGTH_MIN: f32 = 0.05;
const LINES_MAX: usize = 32;
const POINTS_MAX: usize = 64;

impl TrafficConfig {
    /// The first senseless value as its key and the reason with the remedy.
    pub(super) fn problem(&self) -> Option<(&'static str, String)> {
        self.lines_problem()
            .or_else(|| self.regions_problem())
            .or_else(|| self.homography_problem())
            .or_else(|| {
                (!(100..=60_000).contains(&self.passage_delay_ms))
                    .then(|| ("traffic.passage_delay_ms", "it must be from 100 to 60000".into()))
            })
            .or_else(|| {
                (!(1..=32).contains(&self.crops_max)).then(|| ("traffic.crops_max", "it must be from 1 to 32".into()))
            })
            .or_else(|| {
                (!(0.0..=1.0).contains(&self.doubtful_below))
                    .then(|| ("traffic.doubtful_below", "it is a confidence, from 0 to 1".into()))
            })
            .or_else(|| rate("traffic.clip_fps", self.clip_fps))
            .or_else(|| {
                let sound = self.detector.chars().all(|c| c.is_ascii_alphanumeric() || "-.@".contains(c));
                (self.detector.is_empty() || !sound)
                    .then(|| ("traffic.detector", "name an installed model, or write none".into()))
            })
    }

    fn lines_problem(&self) -> Option<(&'static str, String)> {
        let bad = |why: String| Some(("traffic.lines", why));
        if self.lines.len() > LINES_MAX {
            return bad(format!("there are more than {LINES_MAX} lines"));
        }
        for (number, line) in self.lines.iter().enumerate() {
            let named = if line.name.is_empty() { format!("line {}", number + 1) } else { format!("{:?}", line.name) };
            if !is_name(&line.name) || !is_name(&line.forward) || !is_name(&line.backward) {
                return bad(format!(
                    "{named}: name, forward and backward need 1 to {NAME_CHARS_MAX} printable characters"
                ));
            }
            if line.forward == line.backward {
                return bad(format!(
                    "{named}: forward and backward are both {:?}; directions need two names",
                    line.forward
                ));
            }
            if self.lines[..number].iter().any(|other| other.name == line.name) {
                return bad(format!("two lines are called {named}"));
            }
            if !within(&line.from) || !within(&line.to) {
                return bad(format!("{named}: from and to are fractions of the picture, from 0 to 1"));
            }
            let length = (line.to[0] - line.from[0]).hypot(line.to[1] - line.from[1]);
            if length < LINE_LENGTH_MIN {
                return bad(format!("{named}: it is shorter than {LINE_LENGTH_MIN} of the picture"));
            }
        }
        None
    }

    fn regions_problem(&self) -> Option<(&'static str, String)> {
        let lanes = self.lanes.iter().map(|lane| ("traffic.lanes", &lane.points));
        let regions = self.include.iter().map(|region| ("traffic.include", &region.points));
        let regions = regions.chain(self.exclude.iter().map(|region| ("traffic.exclude", &region.points)));
        for (key, points) in regions.chain(lanes) {
            if points.len() < 3 || points.len() > POINTS_MAX || !points.iter().all(within) {
                return Some((key, format!("a polygon needs 3 to {POINTS_MAX} points, each a fraction from 0 to 1")));
            }
        }
        let unnamed = self.lanes.iter().find(|lane| !is_name(&lane.name))?;
        Some((
            "traffic.lanes",
            format!("{:?} is no name; use 1 to {NAME_CHARS_MAX} printable characters", unnamed.name),
        ))
    }

    fn homography_problem(&self) -> Option<(&'static str, String)> {
        let Homography { image, metres } = &self.homography;
        if image.is_empty() && metres.is_empty() {
            return None;
        }
        let sound = image.len() == 4
            && metres.len() == 4
            && image.iter().all(within)
            && metres.iter().flatten().all(|metre| metre.is_finite() && metre.abs() <= 10_000.0);
        if !sound {
            let reason = "it needs four points in image (fractions) and the same four in metres".to_owned();
            return Some(("traffic.homography", reason));
        }
        plane_problem(image, metres).map(|reason| ("traffic.homography", reason))
    }
}

/// The triples of four points.
const TRIPLES: [[usize; 3]; 4] = [[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]];
/// The pairs of four points, first those that people exchange most easily.
const PAIRS: [(usize, usize); 6] = [(2, 3), (1, 2), (0, 1), (1, 3), (0, 2), (0, 3)];
/// A triangle whose height is less than this share of its longest side is a line: a hand that marks points errs by more.
const TRIANGLE_HEIGHT_MIN: f32 = 0.02;

/// Why four points in the picture and four on the ground cannot be the same four points of a plane before the camera. Such a
/// view keeps the turning sense of every three points, or reverses all of them where the axes are mirrored.
fn plane_problem(image: &[RelativePoint], metres: &[RelativePoint]) -> Option<String> {
    for (key, points) in [("image", image), ("metres", metres)] {
        for triple in TRIPLES {
            if turn(points, triple) == 0 {
                let [a, b, c] = triple.map(|at| at + 1);
                return Some(format!(
                    "points {a}, {b} and {c} of {key} lie on one line; mark the corners of a rectangle on the road"
                ));
            }
        }
    }
    let agree = |metres: &[RelativePoint]| {
        let mut senses = TRIPLES.iter().map(|triple| turn(image, *triple) * turn(metres, *triple));
        let first = senses.next();
        senses.all(|sense| Some(sense) == first)
    };
    if agree(metres) {
        return None;
    }
    let crossed = PAIRS.into_iter().find(|&(first, second)| {
        let mut exchanged = metres.to_vec();
        exchanged.swap(first, second);
        agree(&exchanged)
    });
    Some(crossed.map_or_else(
        || "image and metres do not show the same four points: no camera sees these places so".to_owned(),
        |(first, second)| {
            let (first, second) = (first + 1, second + 1);
            format!(
                "points {first} and {second} are crossed: image and metres must list the same points in the same order"
            )
        },
    ))
}

/// 1 or -1 for the sense in which three points turn, 0 where they lie on one line.
fn turn(points: &[RelativePoint], [a, b, c]: [usize; 3]) -> i8 {
    let side = |from: usize, to: usize| (points[to][0] - points[from][0], points[to][1] - points[from][1]);
    let (ab, ac, bc) = (side(a, b), side(a, c), side(b, c));
    let longest = [ab, ac, bc].iter().map(|side| side.0.hypot(side.1)).fold(0.0, f32::max);
    let doubled_area = ab.0 * ac.1 - ab.1 * ac.0;
    if doubled_area.abs() <= TRIANGLE_HEIGHT_MIN * longest * longest {
        return 0;
    }
    if doubled_area > 0.0 { 1 } else { -1 }
}

fn is_name(text: &str) -> bool {
    (1..=NAME_CHARS_MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

fn within(point: &RelativePoint) -> bool {
    point.iter().all(|value| (0.0..=1.0).contains(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str) -> Line {
        Line { name: name.into(), from: [0.0, 0.5], to: [1.0, 0.5], forward: forward(), backward: backward() }
    }

    const ROAD: [RelativePoint; 4] = [[0.1, 0.9], [0.9, 0.9], [0.6, 0.4], [0.4, 0.4]];
    const RECTANGLE: [RelativePoint; 4] = [[0.0, 0.0], [8.0, 0.0], [8.0, 20.0], [0.0, 20.0]];

    fn with_ground(image: [RelativePoint; 4], metres: [RelativePoint; 4]) -> TrafficConfig {
        let homography = Homography { image: image.to_vec(), metres: metres.to_vec() };
        TrafficConfig { homography, ..TrafficConfig::default() }
    }

    #[test]
    fn a_road_may_be_measured_on_any_axes() {
        let mirrored = RECTANGLE.map(|[x, y]| [-x, y]);
        let turned = RECTANGLE.map(|[x, y]| [100.0 - y, x + 5.0]);
        for metres in [RECTANGLE, mirrored, turned] {
            assert_eq!(with_ground(ROAD, metres).problem(), None, "{metres:?}");
        }
    }

    #[test]
    fn senseless_values_are_named_with_the_remedy() {
        assert_eq!(TrafficConfig { lines: vec![line("a"), line("b")], ..TrafficConfig::default() }.problem(), None);
        let cases: Vec<(TrafficConfig, &str)> = vec![
            (TrafficConfig { lines: vec![line("")], ..TrafficConfig::default() }, "line 1: name"),
            (TrafficConfig { lines: vec![line("a"), line("a")], ..TrafficConfig::default() }, "two lines are called"),
            (
                TrafficConfig { lines: vec![Line { to: [0.0, 0.5], ..line("a") }], ..TrafficConfig::default() },
                "shorter",
            ),
            (
                TrafficConfig { lines: vec![Line { to: [2.0, 0.5], ..line("a") }], ..TrafficConfig::default() },
                "from 0 to 1",
            ),
            (
                TrafficConfig {
                    lines: vec![Line { forward: "x".into(), backward: "x".into(), ..line("a") }],
                    ..TrafficConfig::default()
                },
                "two names",
            ),
            (
                TrafficConfig { include: vec![Region { points: vec![[0.0, 0.0]] }], ..TrafficConfig::default() },
                "3 to 64",
            ),
            (TrafficConfig { detector: String::new(), ..TrafficConfig::default() }, "write none"),
            (
                TrafficConfig {
                    homography: Homography { image: vec![[0.0, 0.0]], metres: vec![] },
                    ..TrafficConfig::default()
                },
                "four points",
            ),
            (
                with_ground([[0.1, 0.9], [0.5, 0.9], [0.9, 0.9], [0.5, 0.4]], RECTANGLE),
                "points 1, 2 and 3 of image lie on",
            ),
            (
                with_ground(ROAD, [[0.0, 0.0], [4.0, 0.0], [4.0, 9.0], [4.0, 20.0]]),
                "points 2, 3 and 4 of metres lie on",
            ),
            (with_ground(ROAD, [[0.0, 0.0], [0.0, 0.0], [4.0, 9.0], [4.0, 20.0]]), "of metres lie on one line"),
            (with_ground([ROAD[0], ROAD[1], ROAD[3], ROAD[2]], RECTANGLE), "points 3 and 4 are crossed"),
            (with_ground([ROAD[0], ROAD[2], ROAD[1], ROAD[3]], RECTANGLE), "points 2 and 3 are crossed"),
            (with_ground([[0.1, 0.9], [0.9, 0.9], [0.5, 0.1], [0.5, 0.6]], RECTANGLE), "no camera sees"),
            (TrafficConfig { passage_delay_ms: 1, ..TrafficConfig::default() }, "100 to 60000"),
            (TrafficConfig { doubtful_below: 60.0, ..TrafficConfig::default() }, "from 0 to 1"),
        ];
        for (traffic, part) in cases {
            let (_, reason) = traffic.problem().unwrap();
            assert!(reason.contains(part), "{reason}");
        }
    }
}
