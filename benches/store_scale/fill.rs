//! Fills a state directory with years of a road, as fast as SQLite goes: the schema is the store's own, the rows are what the
//! store would have written, with random ids. Indices that can be are built at the end, sorted; those of the ids are not.

use std::path::Path;
use std::time::Instant;

use rusqlite::Connection;

use crate::{DAY, START};

/// What to make.
pub struct Amount {
    pub passages: u64,
    pub classifications: u64,
    pub days: i64,
}

const UUID: &str =
    "lower(printf('%s-%s-4%s-8%s-%s', hex(randomblob(4)), hex(randomblob(2)), substr(hex(randomblob(2)), 2),
    substr(hex(randomblob(2)), 2), hex(randomblob(6))))";
const BOOT: &str = "0f7b2c1e-1111-4222-8333-444455556666";
const VOTES: &str = r#"[{"label":"car","probability":0.8123},{"label":"van","probability":0.1123}]"#;
const PREDICTIONS: &str = r#"[{"attribute":"type","value":"car","confidence":0.8123,"top":[{"label":"car","probability":0.8123},{"label":"van","probability":0.1123},{"label":"truck","probability":0.0412},{"label":"bus","probability":0.0212},{"label":"motorcycle","probability":0.013}],"uncertainty":0.21,"is_confident":true,"level":"HIGH"}]"#;

/// `rows` numbers as `n (i)`, each with an even moment `at` of the years and a `dice` of 0…999.
fn numbers(rows: u64, days: i64) -> String {
    let (start, step) = (START * 1_000_000, (days * DAY) as u64 * 1_000_000 / rows.max(1));
    format!(
        "WITH RECURSIVE m (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM m WHERE i < {rows}),
            n (i, at, dice) AS (SELECT i, {start} + (i - 1) * {step}, (i * 2654435761 % 4294967296 >> 12) % 1000 FROM m)"
    )
}

/// # Errors
/// Whatever SQLite says.
pub fn fill(database: &Path, amount: &Amount) -> rusqlite::Result<()> {
    let started = Instant::now();
    let connection = Connection::open(database)?;
    // Nobody needs half of it after a power cut.
    connection.execute_batch(
        "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -1500000; PRAGMA temp_store = MEMORY;",
    )?;
    let sql = "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL
        AND tbl_name IN ('passages', 'classifications', 'reports')";
    let mut statement = connection.prepare(sql)?;
    let indices: Vec<(String, String)> =
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
    drop(statement);
    for (name, _) in &indices {
        connection.execute_batch(&format!("DROP INDEX {name}"))?;
    }
    passages(&connection, amount)?;
    println!("passages, counts and coverage after {:.0?}", started.elapsed());
    classifications(&connection, amount)?;
    println!("classifications and reports after {:.0?}", started.elapsed());
    indices.iter().try_for_each(|(_, sql)| connection.execute_batch(sql))?;
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    println!("filled in {:.0?}", started.elapsed());
    sizes(&connection, amount)
}

fn passages(connection: &Connection, amount: &Amount) -> rusqlite::Result<()> {
    let numbers = numbers(amount.passages, amount.days);
    connection.execute_batch(&format!(
        "INSERT INTO passages (uuid, class, confidence, votes, crops, line, direction, lane, speed_kmh, started_at,
            started_monotonic_us, ended_at, ended_monotonic_us, counted_at, model, model_version, clock_synced, boot_id,
            monotonic_us)
        {numbers} SELECT {UUID},
            CASE WHEN dice < 700 THEN 'car' WHEN dice < 810 THEN 'van' WHEN dice < 890 THEN 'truck'
                WHEN dice < 930 THEN 'motorcycle' WHEN dice < 955 THEN 'bus' WHEN dice < 980 THEN 'bicycle'
                WHEN dice < 995 THEN 'unclassified' ELSE 'emergency' END,
            0.8123, '{VOTES}', 5, 'gate', iif(i % 100 < 52, 'north', 'south'), NULL, 52.5, at - 2000000, at - 2000000,
            at + 1000000, at + 1000000, at, 'vehicle-type', '1.0.0', 1, '{BOOT}', at FROM n;
        INSERT INTO counts (width_s, slot, line, direction, class, vehicles)
            SELECT 300, counted_at / 300000000 * 300000000, line, direction, class, count(*) FROM passages GROUP BY 2, 3, 4, 5;"
    ))?;
    for width in [3_600, DAY] {
        let micros = width * 1_000_000;
        connection.execute_batch(&format!(
            "INSERT INTO counts (width_s, slot, line, direction, class, vehicles)
                SELECT {width}, slot / {micros} * {micros}, line, direction, class, sum(vehicles) FROM counts
                WHERE width_s = 300 GROUP BY 2, 3, 4, 5;"
        ))?;
    }
    let end = START + amount.days * DAY;
    for width in [300, 3_600, DAY] {
        connection.execute_batch(&format!(
            "INSERT INTO coverage (width_s, slot, gap, milliseconds)
                WITH RECURSIVE n (slot) AS (SELECT {START} UNION ALL SELECT slot + {width} FROM n WHERE slot < {end} - {width})
                SELECT {width}, slot * 1000000, '', {width} * 1000 FROM n;"
        ))?;
    }
    connection.execute("UPDATE ledger_head SET watched_until = ?1", [end * 1_000_000])?;
    Ok(())
}

/// One picture in ten comes with a report, on one of 20,000 vehicles.
fn classifications(connection: &Connection, amount: &Amount) -> rusqlite::Result<()> {
    let (pictures, documents) =
        (numbers(amount.classifications, amount.days), numbers(amount.classifications / 10, amount.days));
    connection.execute_batch(&format!(
        "INSERT INTO classifications (uuid, origin, image_path, width, height, format, sha256, predictions, class, confidence,
            processing_time_ms, model, model_version, user_id, created_at, clock_synced, boot_id, monotonic_us)
        {pictures} SELECT {UUID}, 'upload', 'vehicle.jpg', 640, 480, 'jpeg', lower(hex(randomblob(32))), '{PREDICTIONS}', 'car',
            0.8123, 12.5, 'vehicle-type', '1.0.0', 'alice', at, 1, '{BOOT}', at FROM n;
        INSERT INTO reports (id, vehicle_id, data, status, class, confidence, user_id, created_at, clock_synced, boot_id,
            monotonic_us)
        {documents} SELECT {UUID}, 'vehicle-' || (i * 7919 % 20000),
            '{{\"summary\":\"' || hex(zeroblob(200)) || '\",\"predictions\":{PREDICTIONS}}}', 'completed', 'car', 0.8123, 'alice',
            at, 1, '{BOOT}', at FROM n;"
    ))
}

/// Megabytes of each table with its indices, and for a million passages or classifications.
fn sizes(connection: &Connection, amount: &Amount) -> rusqlite::Result<()> {
    let sql = "SELECT s.tbl_name, sum(d.pgsize) FROM dbstat d JOIN sqlite_schema s ON s.name = d.name
        WHERE d.aggregate GROUP BY 1 HAVING sum(d.pgsize) > 1000000 ORDER BY 2 DESC";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (table, bytes): (String, i64) = (row.get(0)?, row.get(1)?);
        let of =
            if matches!(&*table, "classifications" | "reports") { amount.classifications } else { amount.passages };
        let megabytes = bytes as f64 / 1e6;
        println!("{table:20} {megabytes:8.0} MB, {:.0} MB a million", megabytes * 1e6 / of.max(1) as f64);
    }
    Ok(())
}
