-- One document per event, and an index over its text that keeps no second copy of it.

CREATE TABLE IF NOT EXISTS search_document (
    record INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    version INTEGER NOT NULL,
    time INTEGER NOT NULL,
    topic TEXT NOT NULL,
    "partition" INTEGER NOT NULL,
    "offset" INTEGER NOT NULL,
    log_timestamp INTEGER NOT NULL,
    pipeline TEXT NOT NULL,
    tenant TEXT,
    user TEXT,
    sha256 TEXT NOT NULL,
    session TEXT,
    model TEXT,
    fields TEXT NOT NULL,
    text TEXT NOT NULL,
    UNIQUE (id, kind)
);

CREATE VIRTUAL TABLE IF NOT EXISTS search_index USING fts5 (
    text,
    content = 'search_document',
    content_rowid = 'record',
    tokenize = 'unicode61 remove_diacritics 2'
);

-- Fewer, larger merges of the index: a tenth less work for each document.
INSERT INTO search_index (search_index, rank) VALUES ('automerge', 8);

CREATE TABLE IF NOT EXISTS search_tombstone (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    PRIMARY KEY (id, kind)
) WITHOUT ROWID;
