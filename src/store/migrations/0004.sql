-- What the store knows of itself. One row.
CREATE TABLE store_head (
    one            INTEGER PRIMARY KEY CHECK (one = 1),
    schema_version INTEGER NOT NULL -- as in the file's header, where a flipped bit could change it unnoticed
) STRICT;
INSERT INTO store_head (one, schema_version) VALUES (1, 0);

-- Where the audit chain begins: id and hash of the newest row that retention dropped, 0 and zeroes for none. The row of the
-- action 'audit.retention' that was written with it vouches for it. One row.
CREATE TABLE audit_base (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    id   INTEGER NOT NULL,
    hash BLOB    NOT NULL
) STRICT;
INSERT INTO audit_base (one, id, hash) VALUES (1, 0, zeroblob(32));

-- What is to be re-stamped once the clock is right.
CREATE INDEX classifications_unsynced ON classifications (boot_id) WHERE clock_synced = 0;
CREATE INDEX reports_unsynced ON reports (boot_id) WHERE clock_synced = 0;
CREATE INDEX validations_unsynced ON validations (boot_id) WHERE clock_synced = 0;

-- What the unit wrote to the disk on each day: flash wears out.
CREATE TABLE write_volume (
    day     INTEGER PRIMARY KEY, -- days since 1970 UTC
    bytes   INTEGER NOT NULL,    -- by the whole process, as the kernel counts them
    commits INTEGER NOT NULL
) STRICT;
