-- One vector per prompt or response text. The vector comes last, so that filters need not read it.

CREATE TABLE IF NOT EXISTS vector_record (
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
    model TEXT NOT NULL,
    text_hash TEXT NOT NULL,
    metadata TEXT NOT NULL,
    embedding BLOB NOT NULL,
    UNIQUE (id, kind)
);
CREATE INDEX IF NOT EXISTS vector_record_tenant ON vector_record (tenant, model);

CREATE TABLE IF NOT EXISTS vector_tombstone (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    PRIMARY KEY (id, kind)
) WITHOUT ROWID;
