-- What goes to the central site, in the order in which it was recorded. Rows are written in the transaction of the record they
-- tell of, and kept for a while after the central site has them, in case it loses them.
CREATE TABLE outbox (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT, -- dense, and never used again
    kind       TEXT    NOT NULL,
    body       TEXT    NOT NULL,                  -- JSON as it is sent
    created_at INTEGER NOT NULL
) STRICT;

-- How far the central site has them. One row.
CREATE TABLE outbox_head (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    acked INTEGER NOT NULL -- seq up to which everything is delivered
) STRICT;
INSERT INTO outbox_head (one, acked) VALUES (1, 0);

-- Rows from `first` on carry this epoch in their id outside. A new one begins when the stream outside has gone on without this
-- database: after a backup was restored.
CREATE TABLE outbox_epochs (
    first INTEGER PRIMARY KEY,
    epoch INTEGER NOT NULL
) STRICT;
INSERT INTO outbox_epochs (first, epoch) VALUES (1, 0);
