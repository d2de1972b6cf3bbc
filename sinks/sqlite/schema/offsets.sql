-- How far each partition is consumed: everything before `next` is settled. `line` is a keyed hash
-- of the last consumed line, which tells whether the log is still the one that was read.
CREATE TABLE IF NOT EXISTS offsets (
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    next INTEGER NOT NULL,
    segment INTEGER NOT NULL,
    byte INTEGER NOT NULL,
    line BLOB NOT NULL,
    log_time INTEGER NOT NULL,
    PRIMARY KEY (topic, partition)
) WITHOUT ROWID;
