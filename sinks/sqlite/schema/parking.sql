-- Records that a store could not take, until it can. Each is a rewrite of the whole record, so the
-- greatest version of an id is enough; replacing one gives it a new sequence.
CREATE TABLE IF NOT EXISTS parking (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    store TEXT NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    version INTEGER NOT NULL,
    code TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    record BLOB NOT NULL,
    UNIQUE (store, kind, id)
);
CREATE INDEX IF NOT EXISTS parking_order ON parking (store, sequence);
