//! A road that the tests compose from photographs of vehicles (set-up fetches them), in grey as a camera sees at night: seen
//! from its side, four lanes, two each way, with queues that stop and go, vehicles that hide one another, jumps of the light and a mast that shakes. What passes
//! is known exactly.

use std::io::Cursor;
use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, GrayAlphaImage};

pub const FPS: f64 = 10.0;
const WIDTH: usize = 640;
const HEIGHT: usize = 360;
/// Where vehicles are counted: the line is upright, in the middle.
const LINE_X: f64 = 320.0;
/// The background reaches this far beyond the picture, for the shaking.
const MARGIN: usize = 8;
/// Metres between standing vehicles.
const GAP_METRES: f64 = 1.5;

/// Photographs with their vehicles' lengths in metres; the tall ones last.
const SMALL: [(&str, f64); 4] = [("saloon-car", 4.7), ("small-car", 4.1), ("sports-car", 4.5), ("pickup", 5.4)];
const TALL: [(&str, f64); 3] = [("bus", 9.5), ("garbage-truck", 8.0), ("fire-engine", 8.5)];

struct Lane {
    /// Of the wheels.
    y: usize,
    pixels_a_metre: f64,
    rightwards: bool,
    /// Only these lanes have tall vehicles: beside a nearer one of the same way nothing can be seen.
    tall: bool,
}

/// From the farthest to the nearest.
const LANES: [Lane; 4] = [
    Lane { y: 190, pixels_a_metre: 18.0, rightwards: false, tall: true },
    Lane { y: 225, pixels_a_metre: 21.0, rightwards: false, tall: false },
    Lane { y: 285, pixels_a_metre: 26.0, rightwards: true, tall: true },
    Lane { y: 335, pixels_a_metre: 31.0, rightwards: true, tall: false },
];

/// Numbers that look random and are the same every time (Numerical Recipes' linear congruential generator).
pub struct Chance(pub u64);

impl Chance {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f64 / f64::from(1 << 24)
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    fn below(&mut self, end: usize) -> usize {
        ((self.unit() * end as f64) as usize).min(end - 1)
    }
}

struct Vehicle {
    lane: usize,
    picture: usize,
    metres: f64,
    enters: f64,
    /// Metres a second while nothing is in its way.
    speed: f64,
    /// Where its middle stops (pixels of its way) and for how long.
    stop: Option<(f64, f64)>,
    /// Of its middle, in pixels of its way from where it enters.
    way: f64,
    /// When it was within a fifth of its length of the line.
    at_line: Option<(f64, f64)>,
    /// The largest share of it that could be seen in any frame within its own length of the line.
    seen: f64,
}

impl Vehicle {
    fn pixels(&self) -> f64 {
        self.metres * LANES[self.lane].pixels_a_metre
    }

    fn x(&self) -> f64 {
        if LANES[self.lane].rightwards { self.way } else { WIDTH as f64 - self.way }
    }
}

/// A vehicle that passed: from when to when it was at the line, and whether it went to the right.
#[derive(Clone, Debug)]
pub struct Truth {
    pub from: f64,
    pub until: f64,
    pub direction: &'static str,
    /// What it is, from the farthest lane (0) to the nearest (3).
    pub lane: usize,
    pub kind: &'static str,
    /// The largest share of it (0…1) that nearer ones left to be seen in any frame within its own length of the line.
    pub seen: f64,
}

/// The road, its pictures and what is to come.
pub struct Road {
    sprites: Vec<GrayAlphaImage>,
    background: Vec<u8>,
    vehicles: Vec<Vehicle>,
    chance: Chance,
    now: f64,
}

impl Road {
    /// A road on which that many vehicles will pass.
    pub fn new(vehicles: usize, mut chance: Chance) -> Self {
        let mut free = [1.5_f64; LANES.len()];
        let mut coming = Vec::with_capacity(vehicles);
        for number in 0..vehicles {
            // Every fifth keeps beside the one before, in the other lane of its way.
            let beside = coming.last().filter(|_| number % 5 == 4);
            let beside = beside.map(|last: &Vehicle| (last.lane ^ 1, last.speed, last.enters));
            let lane = beside.map_or_else(|| chance.below(LANES.len()), |(lane, ..)| lane);
            let tall = LANES[lane].tall && chance.unit() < 0.3;
            let (kinds, first) = if tall { (&TALL[..], SMALL.len()) } else { (&SMALL[..], 0) };
            let kind = chance.below(kinds.len());
            let speed = beside.map_or_else(|| chance.between(5.0, 11.0), |(_, speed, _)| speed);
            let stop = (number % 8 == 3).then(|| (chance.between(80.0, 560.0), chance.between(1.0, 5.0)));
            let metres = kinds[kind].1;
            let enters =
                beside.map_or_else(|| free[lane] + chance.between(0.2, 4.0), |(.., enters)| free[lane].max(enters));
            free[lane] = enters + (metres + 4.0) / speed + stop.map_or(0.0, |(_, long)| long);
            let way = -metres * LANES[lane].pixels_a_metre;
            coming.push(Vehicle {
                lane,
                picture: first + kind,
                metres,
                enters,
                speed,
                stop,
                way,
                at_line: None,
                seen: 0.0,
            });
        }
        let sprites = SMALL.iter().chain(&TALL).map(|(name, _)| cut_out(name)).collect();
        Self { sprites, background: background(), vehicles: coming, chance, now: 0.0 }
    }

    /// What passed, in the order of time.
    pub fn truth(&self) -> Vec<Truth> {
        let mut truth: Vec<_> = self
            .vehicles
            .iter()
            .filter_map(|vehicle| {
                let lane = vehicle.lane;
                let direction = if LANES[lane].rightwards { "right" } else { "left" };
                let kind = SMALL.iter().chain(&TALL).nth(vehicle.picture)?.0;
                let seen = vehicle.seen;
                vehicle.at_line.map(|(from, until)| Truth { from, until, direction, lane, kind, seen })
            })
            .collect();
        truth.sort_by(|a, b| a.from.total_cmp(&b.from));
        truth
    }

    /// Lets a frame's time pass, in small steps.
    fn drive(&mut self) {
        const STEPS: usize = 5;
        let step = 1.0 / FPS / STEPS as f64;
        for _ in 0..STEPS {
            self.now += step;
            // Who drives in front in each lane; vehicles are in the order in which they enter.
            let mut ahead = [f64::INFINITY; LANES.len()];
            for vehicle in &mut self.vehicles {
                let scale = LANES[vehicle.lane].pixels_a_metre;
                let half = vehicle.pixels() / 2.0;
                if vehicle.enters <= self.now {
                    let mut next = vehicle.way + vehicle.speed * scale * step;
                    if let Some((at, left)) = &mut vehicle.stop
                        && next >= *at
                        && *left > 0.0
                    {
                        next = *at;
                        *left -= step;
                    }
                    vehicle.way = next.min(ahead[vehicle.lane] - half).max(vehicle.way);
                    if (vehicle.way - LINE_X).abs() < 0.2 * vehicle.pixels() {
                        vehicle.at_line = Some((vehicle.at_line.map_or(self.now, |(from, _)| from), self.now));
                    }
                }
                ahead[vehicle.lane] = vehicle.way - half - GAP_METRES * scale;
            }
        }
    }

    fn over(&self) -> bool {
        self.vehicles.iter().all(|vehicle| vehicle.way > WIDTH as f64 + vehicle.pixels())
    }

    /// The next frame as JPEG; none when everybody has been gone for a while.
    pub fn frame(&mut self) -> Option<Vec<u8>> {
        if self.over() {
            return None;
        }
        self.drive();
        // Wind: ten seconds in each half minute the mast shakes.
        let windy = self.now % 30.0 > 20.0;
        let mut shake = || if windy { self.chance.between(-2.5, 2.5) } else { 0.0 };
        let (across, down) = ((MARGIN as f64 + shake()) as usize, (MARGIN as f64 + shake()) as usize);
        let mut picture = Vec::with_capacity(WIDTH * HEIGHT);
        for row in self.background.chunks_exact(WIDTH + 2 * MARGIN).skip(down).take(HEIGHT) {
            picture.extend_from_slice(&row[across..across + WIDTH]);
        }
        let offset = (MARGIN as f64 - across as f64, MARGIN as f64 - down as f64);
        self.draw(&mut picture, offset);
        // A cloud, or the exposure: the light jumps every quarter of a minute.
        if self.now % 30.0 > 15.0 {
            picture.iter_mut().for_each(|sample| *sample = (u16::from(*sample) * 3 / 4) as u8);
        }
        let mut jpeg = Cursor::new(Vec::new());
        let size = (WIDTH as u32, HEIGHT as u32);
        JpegEncoder::new_with_quality(&mut jpeg, 85).encode(&picture, size.0, size.1, ExtendedColorType::L8).unwrap();
        Some(jpeg.into_inner())
    }

    /// Draws the vehicles, the nearer ones over the others, and notes how much of each is seen.
    fn draw(&mut self, picture: &mut [u8], offset: (f64, f64)) {
        let mut order: Vec<usize> = (0..self.vehicles.len()).collect();
        order.sort_by_key(|&number| self.vehicles[number].lane);
        // Which vehicle every pixel shows, and how many pixels each would have alone.
        let mut shows = vec![usize::MAX; picture.len()];
        let mut alone = vec![0_usize; order.len()];
        for number in order {
            let vehicle = &self.vehicles[number];
            draw(picture, &self.sprites[vehicle.picture], vehicle, offset, |at| {
                shows[at] = number;
                alone[number] += 1;
            });
        }
        let mut left = vec![0_usize; alone.len()];
        shows.into_iter().filter(|&number| number != usize::MAX).for_each(|number| left[number] += 1);
        for ((vehicle, left), alone) in self.vehicles.iter_mut().zip(left).zip(alone) {
            if (vehicle.way - LINE_X).abs() < vehicle.pixels() {
                vehicle.seen = vehicle.seen.max(left as f64 / alone.max(1) as f64);
            }
        }
    }
}

/// A vehicle without the road around it, cut to what is seen of it.
fn cut_out(name: &str) -> GrayAlphaImage {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".setup/pictures").join(name).with_extension("png");
    let picture = image::open(&path)
        .unwrap_or_else(|cause| panic!("{}: {cause}; `make setup` fetches the pictures", path.display()))
        .to_luma_alpha8();
    let seen: Vec<_> = picture.enumerate_pixels().filter(|(.., pixel)| pixel[1] > 40).map(|(x, y, _)| (x, y)).collect();
    let ends = |values: Vec<u32>| (*values.iter().min().unwrap(), *values.iter().max().unwrap());
    let (left, right) = ends(seen.iter().map(|place| place.0).collect());
    let (top, bottom) = ends(seen.iter().map(|place| place.1).collect());
    image::imageops::crop_imm(&picture, left, top, right - left + 1, bottom - top + 1).to_image()
}

/// Houses, a meadow and a road with its grain.
fn background() -> Vec<u8> {
    let mut chance = Chance(99);
    let (width, height) = (WIDTH + 2 * MARGIN, HEIGHT + 2 * MARGIN);
    let mut grey = Vec::with_capacity(width * height);
    for y in 0..height {
        for x in 0..width {
            let house = (x / 90 * 7 + 3) % 5;
            let base = match y {
                0..40 => 182,
                40..130 if house < 3 => {
                    let window = x % 30 < 12 && y % 28 < 14;
                    if window { 78 } else { 110 + 25 * i32::try_from(house).unwrap() }
                }
                40..150 => 100,
                // Kerb, road, and what lies between the two ways.
                150..156 => 148,
                244..250 => 188,
                _ => 98,
            };
            grey.push((base + chance.between(-9.0, 9.0) as i32).clamp(0, 255) as u8);
        }
    }
    grey
}

/// Draws a vehicle, scaled to its lane, with the shade under it. Photographs show vehicles that go to the left or the right;
/// a mirrored one is as good.
/// `shown` is told of each pixel that the vehicle itself covers.
fn draw(
    picture: &mut [u8],
    sprite: &GrayAlphaImage,
    vehicle: &Vehicle,
    offset: (f64, f64),
    mut shown: impl FnMut(usize),
) {
    let width = vehicle.pixels();
    let height = width * f64::from(sprite.height()) / f64::from(sprite.width());
    let (left, bottom) = (vehicle.x() - width / 2.0 + offset.0, LANES[vehicle.lane].y as f64 + offset.1);
    let top = bottom - height;
    let columns = (left.max(0.0) as usize)..((left + width).clamp(0.0, WIDTH as f64) as usize);
    for y in (top.max(0.0) as usize)..((bottom + 4.0).min(HEIGHT as f64) as usize) {
        for x in columns.clone() {
            let pixel = &mut picture[y * WIDTH + x];
            let (u, v) = ((x as f64 + 0.5 - left) / width, (y as f64 + 0.5 - top) / height);
            if v > 0.93 {
                *pixel = *pixel / 5 * 3;
            }
            if (0.0..1.0).contains(&u) && (0.0..1.0).contains(&v) {
                let u = if LANES[vehicle.lane].rightwards { u } else { 1.0 - u };
                let [grey, opaque] = mean(sprite, u, v, width, height);
                *pixel = ((f64::from(*pixel) * (255.0 - opaque) + grey * opaque) / 255.0) as u8;
                if opaque > 128.0 {
                    shown(y * WIDTH + x);
                }
            }
        }
    }
}

/// The mean of four samples within the part of the photograph that one pixel shows.
fn mean(sprite: &GrayAlphaImage, u: f64, v: f64, width: f64, height: f64) -> [f64; 2] {
    let mut sums = [0.0; 2];
    for (du, dv) in [(-0.25, -0.25), (0.25, -0.25), (-0.25, 0.25), (0.25, 0.25)] {
        let at = |share: f64, end: u32| ((share * f64::from(end)).max(0.0) as u32).min(end - 1);
        let pixel = sprite.get_pixel(at(u + du / width, sprite.width()), at(v + dv / height, sprite.height()));
        sums.iter_mut().zip(pixel.0).for_each(|(sum, value)| *sum += f64::from(value) / 4.0);
    }
    sums
}
