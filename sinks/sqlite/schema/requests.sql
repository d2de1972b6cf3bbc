-- Events that went on without something that did not answer, until it is filled in. Of an event the
-- request that knows most of its prompt is enough; replacing one gives it a new sequence.
CREATE TABLE IF NOT EXISTS requests (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    knowledge INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    request BLOB NOT NULL,
    UNIQUE (kind, id)
);
