//! Clients that mean harm, many at once, while others work: slow senders, idle ones, floods of bad tokens, bad passwords and bad
//! pictures. By default a small siege of some seconds; `SIEGE_SECONDS=60` (or more) is the whole one, by hand and against a release
//! build (`TEST_PROGRAM`), and then the latencies have to hold too.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;

use crate::unit::{Unit, golden};
use crate::waiting::PATIENCE;

const GOOD_CLIENTS: u8 = 20;
/// Above what the unit had before: the memory for uploads, and what 400 connections hold.
const GROWTH_MAX_KB: u64 = 256 << 10;
/// A whole siege is one of so many seconds.
const WHOLE_SECONDS: u64 = 30;

/// What kind of harm, and how many clients do it in a whole siege.
const HARM: [(Harm, usize); 6] = [
    (Harm::SlowHead, 100),
    (Harm::SlowBody, 100),
    (Harm::Idle, 200),
    (Harm::BadTokens, 8),
    (Harm::BadPasswords, 4),
    (Harm::BadPictures, 8),
];

#[derive(Clone, Copy)]
enum Harm {
    SlowHead,
    SlowBody,
    Idle,
    BadTokens,
    BadPasswords,
    BadPictures,
}

/// What both sides need to know.
struct Scene {
    address: SocketAddr,
    over: AtomicBool,
    /// Requests of attackers that were answered.
    answered: AtomicU64,
    /// Of an account that misbehaves.
    token: String,
    pictures: [Vec<u8>; 4],
}

impl Scene {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }
}

fn seconds() -> u64 {
    std::env::var("SIEGE_SECONDS").map_or(2, |seconds| seconds.parse().unwrap())
}

/// A connection from an address of its own: limits count by address.
pub async fn connect(to: SocketAddr, from: [u8; 4]) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((from, 0)))?;
    socket.connect(to).await
}

/// Sends a request and gives the status of its answer, which is read to its end.
pub async fn exchange(stream: &mut TcpStream, request: &[u8]) -> std::io::Result<u16> {
    stream.write_all(request).await?;
    let mut answer = Vec::new();
    let mut piece = [0; 4_096];
    loop {
        let count = stream.read(&mut piece).await?;
        answer.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&answer);
        let length = text.split_once("\r\n\r\n").map(|(head, body)| {
            let length =
                head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            (length.unwrap_or(0_usize), body.len())
        });
        if length.is_some_and(|(said, come)| come >= said) || count == 0 {
            let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
            return status.ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn upload(token: &str, kind: &str, picture: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /api/vehicle/classify HTTP/1.1\r\nHost: unit\r\nAuthorization: Bearer {token}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        picture.len()
    );
    [head.as_bytes(), picture].concat()
}

/// Uploads one picture after the other for a while; how long each took, and how many were not taken.
async fn work(scene: Arc<Scene>, client: u8, token: String, time: Duration) -> (Vec<Duration>, usize) {
    let request = upload(&token, "image/jpeg", &golden());
    let (mut took, mut refused) = (Vec::new(), 0);
    let until = Instant::now() + time;
    let mut stream = connect(scene.address, [127, 0, 0, 10 + client]).await.unwrap();
    // At least one, however slow the machine.
    while took.is_empty() || Instant::now() < until {
        let begun = Instant::now();
        match exchange(&mut stream, &request).await {
            Ok(201) => took.push(begun.elapsed()),
            other => {
                eprintln!("client {client}: {other:?}");
                refused += 1;
                stream = connect(scene.address, [127, 0, 0, 10 + client]).await.unwrap();
            }
        }
    }
    (took, refused)
}

async fn all_work(scene: &Arc<Scene>, token: &str, time: Duration) -> (Vec<Duration>, usize) {
    let clients: Vec<_> =
        (0..GOOD_CLIENTS).map(|client| tokio::spawn(work(scene.clone(), client, token.to_owned(), time))).collect();
    let (mut took, mut refused) = (Vec::new(), 0);
    for client in clients {
        let (of_one, refused_one) = client.await.unwrap();
        took.extend(of_one);
        refused += refused_one;
    }
    took.sort();
    (took, refused)
}

/// The same, and again until attackers were answered: on a busy machine the others may be through before.
async fn all_work_besieged(scene: &Arc<Scene>, token: &str, time: Duration) -> (Vec<Duration>, usize) {
    let (mut took, mut refused) = (Vec::new(), 0);
    let deadline = Instant::now() + PATIENCE;
    while took.is_empty() || scene.answered.load(Ordering::Relaxed) == 0 && Instant::now() < deadline {
        let (more, more_refused) = all_work(scene, token, time).await;
        took.extend(more);
        refused += more_refused;
    }
    took.sort();
    (took, refused)
}

/// Does harm until the scene is over; a connection that the unit closes is made anew.
async fn harm(scene: Arc<Scene>, kind: Harm, number: usize) {
    let from = [127, 0, 1, 1 + (number % 4) as u8];
    while scene.goes_on() {
        let Ok(stream) = connect(scene.address, from).await else {
            tokio::task::yield_now().await;
            continue;
        };
        // Whatever ends it: the next one follows.
        let _ = attack(&scene, kind, number, stream).await;
    }
}

async fn attack(scene: &Scene, kind: Harm, number: usize, mut stream: TcpStream) -> std::io::Result<()> {
    let slow = match kind {
        Harm::SlowHead => format!("GET /health HTTP/1.1\r\nHost: unit\r\nX-Slow: {}", "a".repeat(1_000)),
        Harm::SlowBody => {
            let begun = upload(&scene.token, "image/jpeg", &vec![0xFF; 1 << 20]);
            String::from_utf8_lossy(&begun[..400]).into_owned()
        }
        _ => String::new(),
    };
    match kind {
        Harm::Idle => drop(stream.read(&mut [0]).await?),
        Harm::SlowHead | Harm::SlowBody => {
            let mut beat = tokio::time::interval(Duration::from_millis(500));
            let (begun, rest) = slow.as_bytes().split_at(slow.len() / 2);
            stream.write_all(begun).await?;
            for byte in rest.chunks(1) {
                beat.tick().await;
                if !scene.goes_on() {
                    break;
                }
                stream.write_all(byte).await?;
            }
        }
        Harm::BadTokens | Harm::BadPasswords | Harm::BadPictures => {
            for turn in number.. {
                if !scene.goes_on() {
                    break;
                }
                exchange(&mut stream, &bad(scene, kind, turn)).await?;
                scene.answered.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    Ok(())
}

fn bad(scene: &Scene, kind: Harm, turn: usize) -> Vec<u8> {
    match kind {
        Harm::BadTokens => {
            let forged = format!("{}{turn}", &scene.token[..scene.token.len() - 8]);
            upload(&forged, "image/jpeg", b"\xFF\xD8\xFF")
        }
        Harm::BadPasswords => {
            let body = format!("{{\"username\":\"user{}\",\"password\":\"guess {turn}\"}}", turn % 50);
            let length = body.len();
            format!("POST /auth/token HTTP/1.1\r\nHost: unit\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
        }
        _ => upload(&scene.token, "image/*", &scene.pictures[turn % scene.pictures.len()]),
    }
}

fn share(took: &[Duration], part: f64) -> f64 {
    let at = ((took.len() as f64 * part) as usize).min(took.len() - 1);
    took[at].as_secs_f64() * 1e3
}

fn shown(name: &str, took: &[Duration], time: Duration) {
    let rate = took.len() as f64 / time.as_secs_f64();
    println!(
        "{name}: {} uploads, {rate:.0}/s, p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms, longest {:.1} ms",
        took.len(),
        share(took, 0.5),
        share(took, 0.95),
        share(took, 0.99),
        share(took, 1.0)
    );
}

/// The most resident memory seen until the scene is over.
async fn most_memory(scene: Arc<Scene>, pid: u32) -> u64 {
    let mut beat = tokio::time::interval(Duration::from_millis(100));
    let mut most = 0;
    while scene.goes_on() {
        beat.tick().await;
        most = most.max(crate::unit::resident_kilobytes(pid));
    }
    most
}

#[test]
fn a_siege_costs_those_who_work_no_answer() {
    let unit = Unit::start();
    let whole = seconds() >= WHOLE_SECONDS;
    let (time, parts) = (Duration::from_secs(seconds()), if whole { 1 } else { 10 });
    let (good, bad) = (unit.account("ann", "user"), unit.account("eve", "user"));
    let admin = unit.account("alma", "admin");
    let picture = golden();
    let scene = Arc::new(Scene {
        address: unit.address.parse().unwrap(),
        over: AtomicBool::new(false),
        answered: AtomicU64::new(0),
        token: bad,
        pictures: [
            picture[..picture.len() / 2].to_vec(),
            crate::pictures::png_header(40_000, 40_000),
            b"GIF89a<script>alert(1)</script>".to_vec(),
            picture.iter().enumerate().map(|(n, byte)| if n > 700 { byte ^ (n as u8 & 0x55) } else { *byte }).collect(),
        ],
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (quiet, under, refused, before, most) = runtime.block_on(async {
        // Caches fill first.
        all_work(&scene, &good, time.min(Duration::from_secs(2))).await;
        let (quiet, refused) = all_work(&scene, &good, time).await;
        assert_eq!(refused, 0, "refused although nothing is wrong");
        let before = unit.resident_kilobytes();
        let attackers: Vec<JoinHandle<()>> = HARM
            .iter()
            .flat_map(|&(kind, count)| (0..count.div_ceil(parts)).map(move |number| (kind, number)))
            .map(|(kind, number)| tokio::spawn(harm(scene.clone(), kind, number)))
            .collect();
        let memory = tokio::spawn(most_memory(scene.clone(), unit.pid()));
        let (under, refused) = all_work_besieged(&scene, &good, time).await;
        scene.over.store(true, Ordering::Relaxed);
        let most = memory.await.unwrap();
        attackers.iter().for_each(JoinHandle::abort);
        (quiet, under, refused, before, most)
    });
    shown("quiet", &quiet, time);
    shown("under siege", &under, time);
    println!(
        "attackers: {} requests answered; memory: {before} kB before, at most {most} kB; p99 {:.2} times the quiet one",
        scene.answered.load(Ordering::Relaxed),
        share(&under, 0.99) / share(&quiet, 0.99)
    );
    assert_eq!(refused, 0, "those who work were refused");
    assert!(most < before + GROWTH_MAX_KB, "{before} kB before, {most} kB under siege");
    assert!(scene.answered.load(Ordering::Relaxed) > 0, "nobody attacked");
    assert!(!whole || share(&under, 0.99) <= 3.0 * share(&quiet, 0.99), "too slow for those who work");
    assert_eq!(unit.get("/api/users/me", &admin).status, 200, "the unit serves on");
}
