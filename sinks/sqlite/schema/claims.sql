-- Who delivered an event id first. `key` is a hash of topic, kind and id; rows are in the order of
-- claiming, which is nearly the order of log time, so that the oldest are found at the head.
CREATE TABLE IF NOT EXISTS claims (
    seq INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE,
    partition INTEGER NOT NULL,
    position INTEGER NOT NULL,
    log_time INTEGER NOT NULL,
    content BLOB NOT NULL
);
