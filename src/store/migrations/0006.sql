-- Classifications are listed by time.
CREATE INDEX classifications_created ON classifications (created_at);
