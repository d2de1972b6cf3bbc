-- The property graph. Integer ids keep the edge indexes small and their inserts sequential; they
-- mean nothing outside this file.

CREATE TABLE IF NOT EXISTS graph_record (
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
    UNIQUE (id, kind)
);

CREATE TABLE IF NOT EXISTS graph_tombstone (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    PRIMARY KEY (id, kind)
) WITHOUT ROWID;

-- owner and properties are those of the record that owns the node. registers is an object of
-- [mode, at, value] by name: at is what decides, for latest the stamp (event time, event id), for min
-- and max the value. A node with neither is a placeholder.
CREATE TABLE IF NOT EXISTS graph_node (
    node INTEGER PRIMARY KEY,
    label TEXT NOT NULL,
    key TEXT NOT NULL,
    owner INTEGER,
    properties TEXT,
    registers TEXT,
    text_hash TEXT,
    created_at,
    user_id TEXT,
    session_id TEXT,
    UNIQUE (label, key)
);
CREATE INDEX IF NOT EXISTS graph_node_owner ON graph_node (owner) WHERE owner IS NOT NULL;
CREATE INDEX IF NOT EXISTS graph_node_text_hash
    ON graph_node (text_hash) WHERE text_hash IS NOT NULL;
CREATE INDEX IF NOT EXISTS graph_node_created_at
    ON graph_node (created_at) WHERE created_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS graph_node_user_id ON graph_node (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS graph_node_session_id
    ON graph_node (session_id) WHERE session_id IS NOT NULL;

-- owner is the record whose rewrite replaces the edge; NULL for shared edges.
CREATE TABLE IF NOT EXISTS graph_edge (
    source INTEGER NOT NULL,
    type TEXT NOT NULL,
    target INTEGER NOT NULL,
    owner INTEGER,
    properties TEXT NOT NULL,
    PRIMARY KEY (source, type, target)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS graph_edge_target ON graph_edge (target, type, source);
