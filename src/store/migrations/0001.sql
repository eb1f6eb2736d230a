-- Everywhere: times are microseconds since 1970 UTC; "clock columns" are clock_synced (whether the wall clock was right at
-- that moment), boot_id and monotonic_us (since the start of the process), from which a wrong time can be put right later.
-- user_id columns hold the NAME of an account or service token, not a key: accounts may be deleted, what they did stays.

-- Accounts.
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

-- Long-lived tokens of machines. The token itself is not kept, only its jti (id).
CREATE TABLE service_tokens (
    id         TEXT    PRIMARY KEY,
    name       TEXT    NOT NULL UNIQUE COLLATE NOCASE,
    scopes     TEXT    NOT NULL, -- names, separated by spaces
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;

-- Access tokens that were given back before they expired; a row goes once its token has expired anyway.
CREATE TABLE revoked_tokens (
    jti        TEXT    PRIMARY KEY,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX revoked_tokens_expiry ON revoked_tokens (expires_at);

-- What a model said of a picture. Ids are dense: only the oldest rows are ever deleted.
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

-- Vehicle reports as served.
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

-- Who did what. Rows are only ever added, with ids 1, 2, 3, …; hash covers the row and the hash before it.
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

-- The end of the chain, so that rows missing there are noticed too. One row.
CREATE TABLE audit_head (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    id   INTEGER NOT NULL, -- of the newest row, 0 for none
    hash BLOB    NOT NULL
) STRICT;
INSERT INTO audit_head (one, id, hash) VALUES (1, 0, zeroblob(32));
