CREATE TABLE users (
    id                   INTEGER PRIMARY KEY AUTOINCREMENT, -- never used again: tokens name it
    name                 TEXT    NOT NULL UNIQUE COLLATE NOCASE,
    role                 TEXT    NOT NULL CHECK (role IN ('user', 'admin')),
    enabled              INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    must_change_password INTEGER NOT NULL CHECK (must_change_password IN (0, 1)),
    password_hash        TEXT    NOT NULL, -- PHC string
    created_at           INTEGER NOT NULL,
    token_generation     INTEGER NOT NULL, -- goes up when tokens become void; tokens carry the one of their issue
    kept_token           TEXT              -- jti of the one token that outlived the last change
) STRICT;
CREATE TABLE service_tokens (
    id         TEXT    PRIMARY KEY,
    name       TEXT    NOT NULL UNIQUE COLLATE NOCASE,
    scopes     TEXT    NOT NULL, -- names, separated by spaces
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;
CREATE TABLE revoked_tokens (
    jti        TEXT    PRIMARY KEY,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX revoked_tokens_expiry ON revoked_tokens (expires_at);
CREATE TABLE classifications (
    id                 INTEGER PRIMARY KEY,
    uuid               TEXT    NOT NULL UNIQUE, -- the public id
    origin             TEXT    NOT NULL CHECK (origin IN ('upload', 'camera')),
    image_path         TEXT,                    -- the client's file name, for people only; never used as a path
    width              INTEGER NOT NULL,
    height             INTEGER NOT NULL,
    format             TEXT    NOT NULL,
    sha256             TEXT    NOT NULL,        -- hex, of the encoded picture
    predictions        TEXT    NOT NULL,        -- JSON
    class              TEXT,                    -- value of the `type` prediction
    confidence         REAL    NOT NULL,        -- 0…1, of the `type` prediction
    processing_time_ms REAL    NOT NULL,
    model              TEXT    NOT NULL,
    model_version      TEXT    NOT NULL,
    user_id            TEXT,                    -- null for the camera
    created_at         INTEGER NOT NULL,
    clock_synced       INTEGER NOT NULL,
    boot_id            TEXT    NOT NULL,
    monotonic_us       INTEGER NOT NULL
) STRICT;
CREATE TABLE reports (
    id           TEXT    PRIMARY KEY, -- UUID
    vehicle_id   TEXT    NOT NULL,
    data         TEXT    NOT NULL,    -- JSON
    status       TEXT    NOT NULL,    -- 'completed': a report is stored when it is whole
    class        TEXT    NOT NULL,
    confidence   REAL    NOT NULL,
    user_id      TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    clock_synced INTEGER NOT NULL,
    boot_id      TEXT    NOT NULL,
    monotonic_us INTEGER NOT NULL
) STRICT;
CREATE INDEX reports_vehicle ON reports (vehicle_id, created_at);
CREATE INDEX reports_created ON reports (created_at);
CREATE INDEX reports_user ON reports (user_id, created_at);
CREATE TABLE audit_log (
    id           INTEGER PRIMARY KEY,
    user_id      TEXT,
    action       TEXT    NOT NULL,
    resource     TEXT    NOT NULL,
    outcome      TEXT    NOT NULL CHECK (outcome IN ('success', 'denied', 'failure')),
    details      TEXT    NOT NULL, -- JSON
    ip_address   TEXT,
    created_at   INTEGER NOT NULL,
    clock_synced INTEGER NOT NULL,
    boot_id      TEXT    NOT NULL,
    monotonic_us INTEGER NOT NULL,
    hash         BLOB    NOT NULL  -- SHA-256
) STRICT;
CREATE INDEX audit_log_created ON audit_log (created_at);
CREATE INDEX audit_log_user ON audit_log (user_id, created_at);
CREATE INDEX audit_log_action ON audit_log (action, created_at);
CREATE TABLE audit_head (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    id   INTEGER NOT NULL, -- of the newest row, 0 for none
    hash BLOB    NOT NULL
) STRICT;
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
CREATE INDEX passages_unsynced ON passages (boot_id) WHERE clock_synced = 0;
CREATE TABLE passage_crops (
    passage_id INTEGER PRIMARY KEY REFERENCES passages (id) ON DELETE CASCADE,
    bytes      INTEGER NOT NULL, -- of the picture
    jpeg       BLOB    NOT NULL
) STRICT;
CREATE INDEX passage_crops_bytes ON passage_crops (bytes);
CREATE TABLE counts (
    width_s   INTEGER NOT NULL CHECK (width_s IN (300, 3600, 86400)),
    slot      INTEGER NOT NULL, -- when it starts
    line      TEXT    NOT NULL, -- '' without lines
    direction TEXT    NOT NULL, -- '' where unknown
    class     TEXT    NOT NULL,
    vehicles  INTEGER NOT NULL,
    PRIMARY KEY (width_s, slot, line, direction, class)
) STRICT, WITHOUT ROWID;
CREATE TABLE coverage (
    width_s      INTEGER NOT NULL CHECK (width_s IN (300, 3600, 86400)),
    slot         INTEGER NOT NULL,
    gap          TEXT    NOT NULL,
    milliseconds INTEGER NOT NULL,
    PRIMARY KEY (width_s, slot, gap)
) STRICT, WITHOUT ROWID;
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
CREATE TABLE ledger_head (
    one           INTEGER PRIMARY KEY CHECK (one = 1),
    day_zone      TEXT    NOT NULL, -- IANA name: where the days of counts and coverage begin
    watched_until INTEGER NOT NULL  -- end of the newest stretch in coverage
) STRICT;
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
CREATE TABLE outbox (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT, -- dense, and never used again
    kind       TEXT    NOT NULL,
    body       TEXT    NOT NULL,                  -- JSON as it is sent
    created_at INTEGER NOT NULL
) STRICT;
CREATE TABLE outbox_head (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    acked INTEGER NOT NULL -- seq up to which everything is delivered
) STRICT;
CREATE TABLE outbox_epochs (
    first INTEGER PRIMARY KEY,
    epoch INTEGER NOT NULL
) STRICT;
CREATE TABLE store_head (
    one            INTEGER PRIMARY KEY CHECK (one = 1),
    schema_version INTEGER NOT NULL -- as in the file's header, where a flipped bit could change it unnoticed
) STRICT;
CREATE TABLE audit_base (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    id   INTEGER NOT NULL,
    hash BLOB    NOT NULL
) STRICT;
CREATE INDEX classifications_unsynced ON classifications (boot_id) WHERE clock_synced = 0;
CREATE INDEX reports_unsynced ON reports (boot_id) WHERE clock_synced = 0;
CREATE INDEX validations_unsynced ON validations (boot_id) WHERE clock_synced = 0;
CREATE TABLE write_volume (
    day     INTEGER PRIMARY KEY, -- days since 1970 UTC
    bytes   INTEGER NOT NULL,    -- by the whole process, as the kernel counts them
    commits INTEGER NOT NULL
) STRICT;
CREATE INDEX reports_vehicle_stored ON reports (vehicle_id);
CREATE TABLE watch_head (
    one                INTEGER PRIMARY KEY CHECK (one = 1),
    boot_id            TEXT    NOT NULL,
    from_at            INTEGER NOT NULL,
    from_monotonic_us  INTEGER NOT NULL,
    until_at           INTEGER NOT NULL,
    until_monotonic_us INTEGER NOT NULL,
    clock_synced       INTEGER NOT NULL,
    gap                TEXT    NOT NULL -- '' for watching
) STRICT;
CREATE INDEX classifications_created ON classifications (created_at);
INSERT INTO users VALUES (7, 'ann', 'admin', 1, 0, '$argon2id$', 1767225600000000, 3, 'kept');
INSERT INTO service_tokens VALUES ('t1', 'prometheus', 'metrics', 1, 2, NULL);
INSERT INTO revoked_tokens VALUES ('j1', 99);
INSERT INTO classifications VALUES (5, 'c5', 'camera', NULL, 640, 480, 'jpeg', 'aa', '[]', 'bus', 0.5, 1.5, 'm', '1', NULL, 10, 1, 'b', 11);
INSERT INTO reports VALUES ('r1', 'v1', '{"a":1}', 'completed', 'bus', 0.5, 'ann', 12, 0, 'b', 13);
INSERT INTO audit_log VALUES (1, 'alice', 'test', '/somewhere', 'success', '{"why":"test"}', '192.0.2.1', 1767225600000000, 1, 'boot', 7, x'e6c1e5dbdc33d9e4e740fdd0f3402dc8c3b229fcabe481f118a46f6a8e240fbc');
INSERT INTO audit_log VALUES (2, 'alice', 'test', '/somewhere', 'success', '{"why":"test"}', '192.0.2.1', 1767225601000000, 1, 'boot', 7, x'adb1e8f00f0ebbe72dc91bc4377c477dea35070c92637e1e9c0254a2ea9b6e7f');
INSERT INTO audit_log VALUES (3, 'alice', 'test', '/somewhere', 'success', '{"why":"test"}', '192.0.2.1', 1767225602000000, 1, 'boot', 7, x'607cf669a0955eb05e73e05b3e794f361759b52eefef4dec5c5529acf4b7a022');
INSERT INTO audit_head VALUES (1, 3, x'607cf669a0955eb05e73e05b3e794f361759b52eefef4dec5c5529acf4b7a022');
INSERT INTO passages VALUES (3, 'p3', 'car', 0.5, '[]', 2, 'gate', 'north', NULL, 50.5, 1, 1, 2, 2, 3, 'm', '1', 1, 'b', 3);
INSERT INTO counts VALUES (300, 0, 'gate', 'north', 'car', 1);
INSERT INTO coverage VALUES (300, 0, '', 1000);
INSERT INTO ledger_head VALUES (1, 'UTC', 0);
INSERT INTO outbox VALUES (4, 'passage', '{}', 5);
INSERT INTO outbox_head VALUES (1, 0);
INSERT INTO outbox_epochs VALUES (1, 0);
INSERT INTO store_head VALUES (1, 0);
INSERT INTO audit_base VALUES (1, 0, x'0000000000000000000000000000000000000000000000000000000000000000');
INSERT INTO watch_head VALUES (1, 'b', 1, 1, 2, 2, 1, 'frozen');
