-- The newest report of a vehicle is the one that was stored last, whatever the clock said then: by rowid, with which every index
-- entry ends.
CREATE INDEX reports_vehicle_stored ON reports (vehicle_id);

-- The stretch of watching, or of not watching for one reason, that is not over: the central site is told of it when it is. At
-- most one row, and none without a central site.
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
