#!/usr/bin/env python3
"""A small central site: reads the events of all units from Redis into an SQLite database, each event once and in order.

    python3 consumer.py redis://[user:password@]host[:port] central.db [--once]

Needs nothing but Python 3.9. The position in each unit's stream is written in the same transaction as the events, so that
it may be killed at any moment, and a Redis that was flushed and filled again brings nothing twice. docs/CENTRAL.md says
what the events mean and how to do the same with PostgreSQL.
"""
import argparse
import json
import socket
import sqlite3
import sys
import time
from urllib.parse import unquote, urlsplit

BATCH = 500
WAIT_MS = 5_000
SCHEMA = """
CREATE TABLE IF NOT EXISTS positions (unit TEXT PRIMARY KEY, last_id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS events (
    unit TEXT NOT NULL, id INTEGER NOT NULL, kind TEXT NOT NULL, at TEXT NOT NULL, clock_synced INTEGER NOT NULL,
    data TEXT NOT NULL, PRIMARY KEY (unit, id)
) WITHOUT ROWID;
CREATE VIEW IF NOT EXISTS passages AS SELECT unit, json_extract(data, '$.counted_at') AS counted_at,
    json_extract(data, '$.class') AS class, json_extract(data, '$.direction') AS direction
FROM events WHERE kind = 'passage';
"""


class Redis:
    """As much of the protocol (RESP 2) as this needs."""

    def __init__(self, url):
        place = urlsplit(url)
        self.socket = socket.create_connection((place.hostname, place.port or 6379), timeout=30)
        self.file = self.socket.makefile("rb")
        if place.password:
            user = [unquote(place.username)] if place.username else []
            self.ask("AUTH", *user, unquote(place.password))

    def ask(self, *words):
        parts = [word.encode() if isinstance(word, str) else str(word).encode() for word in words]
        packed = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
        self.socket.sendall(b"*%d\r\n%s" % (len(parts), packed))
        return self.answer()

    def answer(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the connection ended")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise RuntimeError(rest.decode())
        if kind == b"+":
            return rest.decode()
        if kind == b":":
            return int(rest)
        count = int(rest)
        if count < 0:
            return None
        if kind == b"*":
            return [self.answer() for _ in range(count)]
        body = self.file.read(count + 2)
        if len(body) < count + 2:
            raise ConnectionError("the connection ended")
        return body[:-2].decode()


def store(database, unit, entries):
    """Events and position together, or neither."""
    with database:
        for entry_id, fields in entries:
            fields = dict(zip(fields[::2], fields[1::2]))
            event = json.loads(fields["event"])
            if event["v"] != 1:
                raise RuntimeError(f"{unit} {entry_id}: this program does not know version {event['v']} of the schema")
            row = (unit, int(entry_id.split("-")[0]), event["kind"], event["at"], event["clock_synced"])
            database.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", (*row, json.dumps(event["data"])))
        database.execute("INSERT OR REPLACE INTO positions VALUES (?, ?)", (unit, entries[-1][0]))


def round_trip(redis, database, wait_ms):
    """Reads one batch of every unit that has something new; how many events there were."""
    units = sorted(redis.ask("SMEMBERS", "vc:units"))
    if not units:
        return 0
    positions = dict(database.execute("SELECT unit, last_id FROM positions"))
    streams = [f"vc:{{{unit}}}:events" for unit in units]
    block = ["BLOCK", wait_ms] if wait_ms else []
    found = redis.ask(
        "XREAD", "COUNT", BATCH, *block, "STREAMS", *streams, *(positions.get(unit, "0") for unit in units)
    )
    for stream, entries in found or []:
        store(database, units[streams.index(stream)], entries)
    return sum(len(entries) for _, entries in found or [])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("redis", help="redis://[user:password@]host[:port]")
    parser.add_argument("database", help="SQLite file; made when it is missing")
    parser.add_argument("--once", action="store_true", help="stop when there is nothing new")
    arguments = parser.parse_args()
    database = sqlite3.connect(arguments.database)
    database.executescript(SCHEMA)
    while True:
        try:
            redis = Redis(arguments.redis)
            while round_trip(redis, database, 0 if arguments.once else WAIT_MS) or not arguments.once:
                pass
            return
        except OSError as error:
            if arguments.once:
                sys.exit(f"{arguments.redis.rsplit('@')[-1]}: {error}")
            print(f"{error}; trying again", file=sys.stderr)
            time.sleep(5)


if __name__ == "__main__":
    main()
