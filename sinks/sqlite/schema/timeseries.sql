-- One point per event. tags and fields hold the point as it came; the columns after them repeat
-- what rollups read. day is the event's UTC day since 1970.

CREATE TABLE IF NOT EXISTS timeseries_point (
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
    time_ns INTEGER NOT NULL,
    day INTEGER NOT NULL,
    tags TEXT NOT NULL,
    fields TEXT NOT NULL,
    model TEXT,
    provider TEXT,
    purpose TEXT,
    status TEXT,
    prompt_tokens INTEGER,
    completion_tokens INTEGER,
    total_tokens INTEGER,
    cached_tokens INTEGER,
    cache_write_tokens INTEGER,
    reasoning_tokens INTEGER,
    latency_ms INTEGER,
    ttft_ms INTEGER,
    cost_pico_usd INTEGER,
    cost_status TEXT,
    UNIQUE (id, kind)
);
CREATE INDEX IF NOT EXISTS timeseries_point_time ON timeseries_point (time);

CREATE TABLE IF NOT EXISTS timeseries_tombstone (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    PRIMARY KEY (id, kind)
) WITHOUT ROWID;
