-- Caches, each bounded by bytes; the oldest go first. Keys made of raw text are keyed hashes.
CREATE TABLE IF NOT EXISTS cache (
    seq INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    key BLOB NOT NULL,
    size INTEGER NOT NULL,
    value BLOB NOT NULL,
    UNIQUE (namespace, key)
);
CREATE INDEX IF NOT EXISTS cache_age ON cache (namespace, seq, size);
