//! Fills a state directory with years of a road, as fast as the disk takes it: the schema is the store's own, the rows are what
//! the store would have written. Indices that can be are built at the end, sorted; the ones of random ids are not.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use jiff::Timestamp;
use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};
use rusqlite::{Connection, Transaction, params};
use uuid::Builder;

use crate::{DAY, START};

/// Rows of reports and vehicles they are of, for every million classifications.
const REPORTS_A_MILLION: u64 = 100_000;
const VEHICLES: u64 = 20_000;
/// What a model tells apart, and how often each passes, of 1,000.
const CLASSES: [(&str, u32); 8] = [
    ("car", 700),
    ("van", 110),
    ("truck", 80),
    ("motorcycle", 40),
    ("bus", 25),
    ("bicycle", 25),
    ("unclassified", 15),
    ("emergency", 5),
];
/// Vehicles of each hour of the day, of 100.
const HOURS: [u32; 24] = [1, 1, 0, 0, 1, 2, 5, 8, 7, 5, 5, 5, 5, 5, 6, 7, 8, 8, 6, 5, 4, 3, 2, 1];
const BOOT: &str = "0f7b2c1e-1111-4222-8333-444455556666";
const VOTES: &str = r#"[{"label":"car","probability":0.8123},{"label":"van","probability":0.1123}]"#;
const PREDICTIONS: &str = r#"[{"attribute":"type","value":"car","confidence":0.8123,"top":[{"label":"car","probability":0.8123},{"label":"van","probability":0.1123},{"label":"truck","probability":0.0412},{"label":"bus","probability":0.0212},{"label":"motorcycle","probability":0.013}],"uncertainty":0.21,"is_confident":true,"level":"HIGH"}]"#;

/// What to make.
pub struct Amount {
    pub passages: u64,
    pub classifications: u64,
    pub days: i64,
}

fn id(random: &mut SmallRng) -> String {
    let mut bytes = [0; 16];
    random.fill_bytes(&mut bytes);
    Builder::from_random_bytes(bytes).into_uuid().to_string()
}

/// Indices that no constraint makes: dropped, and built again when all rows are there.
fn without_indices(connection: &Connection, fill: impl FnOnce() -> rusqlite::Result<()>) -> rusqlite::Result<()> {
    let sql = "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL
        AND tbl_name IN ('passages', 'classifications', 'reports')";
    let mut statement = connection.prepare(sql)?;
    let indices: Vec<(String, String)> =
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
    for (name, _) in &indices {
        connection.execute_batch(&format!("DROP INDEX {name}"))?;
    }
    fill()?;
    indices.iter().try_for_each(|(_, sql)| connection.execute_batch(sql))
}

/// # Errors
/// Whatever SQLite says.
pub fn fill(database: &Path, amount: &Amount) -> rusqlite::Result<()> {
    let started = Instant::now();
    let connection = Connection::open(database)?;
    // Nobody needs half of it after a power cut.
    connection.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -1500000;")?;
    without_indices(&connection, || {
        let transaction = connection.unchecked_transaction()?;
        passages(&transaction, amount)?;
        println!("passages after {:.0?}", started.elapsed());
        classifications(&transaction, amount)?;
        println!("classifications after {:.0?}", started.elapsed());
        transaction.commit()
    })?;
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    println!("filled in {:.0?}", started.elapsed());
    sizes(&connection, amount)
}

/// Moments in the order of time, more of them by day than by night; seconds since 1970.
fn moments(count: u64, days: i64) -> impl Iterator<Item = f64> {
    let daily = count as f64 / days as f64;
    let share: u32 = HOURS.iter().sum();
    let mut owed = 0.0;
    (0..days * 24).flat_map(move |hour| {
        owed += daily * f64::from(HOURS[(hour % 24) as usize]) / f64::from(share);
        let here = owed as u64;
        owed -= here as f64;
        let from = START as f64 + hour as f64 * 3_600.0;
        (0..here).map(move |number| from + number as f64 * 3_600.0 / here as f64)
    })
}

fn class(random: &mut SmallRng) -> &'static str {
    let mut dice = random.random_range(0..CLASSES.iter().map(|(_, share)| share).sum());
    for (class, share) in CLASSES {
        if dice < share {
            return class;
        }
        dice -= share;
    }
    CLASSES[0].0
}

type Slots = BTreeMap<(i64, i64, &'static str, &'static str), i64>;

fn passages(transaction: &Transaction<'_>, amount: &Amount) -> rusqlite::Result<()> {
    let (mut random, mut slots) = (SmallRng::seed_from_u64(1), Slots::new());
    let sql = "INSERT INTO passages (uuid, class, confidence, votes, crops, line, direction, lane, speed_kmh, started_at,
            started_monotonic_us, ended_at, ended_monotonic_us, counted_at, model, model_version, clock_synced, boot_id,
            monotonic_us)
        VALUES (?1, ?2, 0.8123, ?3, 5, 'gate', ?4, NULL, 52.5, ?5 - 2000000, ?6 - 2000000, ?5 + 1000000, ?6 + 1000000, ?5,
            'vehicle-type', '1.0.0', 1, ?7, ?6)";
    let mut insert = transaction.prepare(sql)?;
    for moment in moments(amount.passages, amount.days) {
        let (class, direction) = (class(&mut random), if random.random_bool(0.52) { "north" } else { "south" });
        let counted = (moment * 1e6) as i64;
        insert.execute(params![
            id(&mut random),
            class,
            VOTES,
            direction,
            counted,
            counted - START * 1_000_000,
            BOOT
        ])?;
        for width in [300, 3_600, DAY] {
            let slot = (moment as i64).div_euclid(width) * width;
            *slots.entry((width, slot, direction, class)).or_insert(0) += 1;
        }
    }
    let mut insert = transaction.prepare(
        "INSERT INTO counts (width_s, slot, line, direction, class, vehicles) VALUES (?1, ?2, 'gate', ?3, ?4, ?5)",
    )?;
    for ((width, slot, direction, class), vehicles) in slots {
        insert.execute(params![width, slot * 1_000_000, direction, class, vehicles])?;
    }
    let mut insert =
        transaction.prepare("INSERT INTO coverage (width_s, slot, gap, milliseconds) VALUES (?1, ?2, '', ?3)")?;
    for width in [300, 3_600, DAY] {
        for slot in (START..START + amount.days * DAY).step_by(width as usize) {
            insert.execute(params![width, slot * 1_000_000, width * 1_000])?;
        }
    }
    transaction.execute("UPDATE ledger_head SET watched_until = ?1", [(START + amount.days * DAY) * 1_000_000])?;
    Ok(())
}

fn classifications(transaction: &Transaction<'_>, amount: &Amount) -> rusqlite::Result<()> {
    let mut random = SmallRng::seed_from_u64(2);
    let sql = "INSERT INTO classifications (uuid, origin, image_path, width, height, format, sha256, predictions, class,
            confidence, processing_time_ms, model, model_version, user_id, created_at, clock_synced, boot_id, monotonic_us)
        VALUES (?1, 'upload', 'vehicle.jpg', 640, 480, 'jpeg', ?2, ?3, 'car', 0.8123, 12.5, 'vehicle-type', '1.0.0', 'alice',
            ?4, 1, ?5, ?6)";
    let mut insert = transaction.prepare(sql)?;
    for moment in moments(amount.classifications, amount.days) {
        let (created, hash) = ((moment * 1e6) as i64, format!("{:064x}", random.random::<u128>()));
        insert.execute(params![id(&mut random), hash, PREDICTIONS, created, BOOT, created - START * 1_000_000])?;
    }
    let sql = "INSERT INTO reports (id, vehicle_id, data, status, class, confidence, user_id, created_at, clock_synced, boot_id,
            monotonic_us)
        VALUES (?1, ?2, ?3, 'completed', 'car', 0.8123, 'alice', ?4, 1, ?5, ?6)";
    let mut insert = transaction.prepare(sql)?;
    let body = format!(r#"{{"summary":"{}","predictions":{PREDICTIONS}}}"#, "A car, seen clearly. ".repeat(20));
    for moment in moments(amount.classifications * REPORTS_A_MILLION / 1_000_000, amount.days) {
        let (created, vehicle) = ((moment * 1e6) as i64, format!("vehicle-{}", random.random_range(0..VEHICLES)));
        insert.execute(params![id(&mut random), vehicle, body, created, BOOT, created - START * 1_000_000])?;
    }
    Ok(())
}

/// Bytes of each table with its indices, for every million rows of what was asked for.
fn sizes(connection: &Connection, amount: &Amount) -> rusqlite::Result<()> {
    let sql = "SELECT s.tbl_name, sum(d.pgsize) FROM dbstat d JOIN sqlite_schema s ON s.name = d.name
        GROUP BY 1 HAVING sum(d.pgsize) > 1000000 ORDER BY 2 DESC";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (table, bytes): (String, i64) = (row.get(0)?, row.get(1)?);
        let of =
            if matches!(&*table, "classifications" | "reports") { amount.classifications } else { amount.passages };
        let megabytes = bytes as f64 / 1e6;
        println!("{table:20} {megabytes:8.0} MB, {:.0} MB a million", megabytes * 1e6 / of.max(1) as f64);
    }
    let end = Timestamp::from_second(START + amount.days * DAY).map(|end| end.to_string()).unwrap_or_default();
    println!("{} passages, {} classifications until {end}", amount.passages, amount.classifications);
    Ok(())
}
