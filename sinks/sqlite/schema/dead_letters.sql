-- One row per coordinates (and store, for a record that a store refused); its state is the latest.
-- `sealed` is AES-256-GCM with the coordinates as associated data: no payload lies here in clear.
CREATE TABLE IF NOT EXISTS dead_letters (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    position INTEGER NOT NULL,
    store TEXT NOT NULL DEFAULT '',
    log_time INTEGER NOT NULL,
    kind TEXT NOT NULL,
    stage TEXT NOT NULL,
    code TEXT NOT NULL,
    path TEXT NOT NULL,
    expected TEXT NOT NULL,
    event_id TEXT,
    event_kind TEXT,
    version INTEGER NOT NULL DEFAULT 0,
    sealed BLOB,
    retries INTEGER NOT NULL DEFAULT 0,
    resolved TEXT,
    UNIQUE (topic, partition, position, store)
);
CREATE INDEX IF NOT EXISTS dead_letters_open ON dead_letters (code, sequence)
    WHERE resolved IS NULL;

-- What became of a letter, append-only: each retry's code, or its resolution.
CREATE TABLE IF NOT EXISTS dead_letter_outcomes (
    seq INTEGER PRIMARY KEY,
    letter INTEGER NOT NULL,
    resolution INTEGER NOT NULL,
    outcome TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS dead_letter_outcomes_letter ON dead_letter_outcomes (letter, seq);
