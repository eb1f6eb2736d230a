-- Vehicles that passed, a row each. A row, its counts and whatever goes out because of it are written in one transaction.
CREATE TABLE passages (
    id                   INTEGER PRIMARY KEY AUTOINCREMENT, -- in the order of recording, never used again: streams resume behind it
    uuid                 TEXT    NOT NULL UNIQUE, -- the public id: recorded twice is recorded once
    class                TEXT    NOT NULL,        -- a label of the model, or 'unclassified'
    confidence           REAL    NOT NULL,        -- 0…1, of the class; 0 when unclassified
    votes                TEXT    NOT NULL,        -- JSON: labels with their probabilities, most probable first
    crops                INTEGER NOT NULL,        -- pictures that voted
    line                 TEXT,                    -- name of the counting line; null without lines
    direction            TEXT,                    -- null where unknown
    lane                 TEXT,                    -- null without lanes
    speed_kmh            REAL,                    -- null without a homography
    started_at           INTEGER NOT NULL,        -- first frame of the track
    started_monotonic_us INTEGER NOT NULL,
    ended_at             INTEGER NOT NULL,        -- last frame of the track
    ended_monotonic_us   INTEGER NOT NULL,
    counted_at           INTEGER NOT NULL,        -- decides the interval: the crossing of the line, or the track's middle
    model                TEXT    NOT NULL,
    model_version        TEXT    NOT NULL,
    clock_synced         INTEGER NOT NULL,        -- at all three moments
    boot_id              TEXT    NOT NULL,
    monotonic_us         INTEGER NOT NULL         -- of counted_at
) STRICT;
CREATE INDEX passages_counted ON passages (counted_at);
CREATE INDEX passages_class ON passages (class, counted_at);
CREATE INDEX passages_unsynced ON passages (boot_id) WHERE clock_synced = 0; -- what is to be re-stamped

-- Best crops, where the configuration keeps them; apart, so that reading passages does not wade through pictures.
CREATE TABLE passage_crops (
    passage_id INTEGER PRIMARY KEY REFERENCES passages (id) ON DELETE CASCADE,
    bytes      INTEGER NOT NULL, -- of the picture
    jpeg       BLOB    NOT NULL
) STRICT;
CREATE INDEX passage_crops_bytes ON passage_crops (bytes); -- the sum is read from here, not from the pictures

-- How many passed: every passage counts in the slot of each width that its counted_at falls into, so that a year by days costs
-- what a day by minutes costs. Slots of 300 and 3600 seconds start at multiples of their width since 1970; those of 86400 are
-- days in the zone of ledger_head and may have 23 or 25 hours. Retention must cut all widths at the same moment, or none.
CREATE TABLE counts (
    width_s   INTEGER NOT NULL CHECK (width_s IN (300, 3600, 86400)),
    slot      INTEGER NOT NULL, -- when it starts
    line      TEXT    NOT NULL, -- '' without lines
    direction TEXT    NOT NULL, -- '' where unknown
    class     TEXT    NOT NULL,
    vehicles  INTEGER NOT NULL,
    PRIMARY KEY (width_s, slot, line, direction, class)
) STRICT, WITHOUT ROWID;

-- How much of each slot the unit was watching (gap ''), or was not and why. What is not here at all was 'restart'.
CREATE TABLE coverage (
    width_s      INTEGER NOT NULL CHECK (width_s IN (300, 3600, 86400)),
    slot         INTEGER NOT NULL,
    gap          TEXT    NOT NULL,
    milliseconds INTEGER NOT NULL,
    PRIMARY KEY (width_s, slot, gap)
) STRICT, WITHOUT ROWID;

-- Stretches in coverage whose wall clock was not synchronised, with what it takes to move them once it is.
CREATE TABLE watch_unsynced (
    id                 INTEGER PRIMARY KEY,
    boot_id            TEXT    NOT NULL,
    from_at            INTEGER NOT NULL,
    until_at           INTEGER NOT NULL,
    from_monotonic_us  INTEGER NOT NULL,
    until_monotonic_us INTEGER NOT NULL,
    gap                TEXT    NOT NULL
) STRICT;
CREATE INDEX watch_unsynced_boot ON watch_unsynced (boot_id, until_monotonic_us);

-- One row.
CREATE TABLE ledger_head (
    one           INTEGER PRIMARY KEY CHECK (one = 1),
    day_zone      TEXT    NOT NULL, -- IANA name: where the days of counts and coverage begin
    watched_until INTEGER NOT NULL  -- end of the newest stretch in coverage
) STRICT;
INSERT INTO ledger_head (one, day_zone, watched_until) VALUES (1, 'UTC', 0);

-- Manual counts of technicians, with what the unit had counted then.
CREATE TABLE validations (
    id           INTEGER PRIMARY KEY,
    uuid         TEXT    NOT NULL UNIQUE,
    from_at      INTEGER NOT NULL,
    until_at     INTEGER NOT NULL,
    data         TEXT    NOT NULL, -- JSON
    user_id      TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    clock_synced INTEGER NOT NULL,
    boot_id      TEXT    NOT NULL,
    monotonic_us INTEGER NOT NULL
) STRICT;
CREATE INDEX validations_from ON validations (from_at);
