-- Where responses and prompts meet. Rows stay until they expire, also when they have met: after a
-- crash the side that came second comes again and must find the first.
CREATE TABLE IF NOT EXISTS join_prompts (
    seq INTEGER PRIMARY KEY,
    prompt_id TEXT NOT NULL UNIQUE,
    log_time INTEGER NOT NULL,
    known INTEGER NOT NULL,
    side BLOB NOT NULL
);

-- `met`: the prompt has come. `orphan`: 0 no, 1 answered as overdue (in the batch `announced` of
-- this run; 0: of an earlier run), 2 and what followed from it is written.
CREATE TABLE IF NOT EXISTS join_responses (
    seq INTEGER PRIMARY KEY,
    response_id TEXT NOT NULL UNIQUE,
    prompt_id TEXT NOT NULL,
    log_time INTEGER NOT NULL,
    met INTEGER NOT NULL DEFAULT 0,
    orphan INTEGER NOT NULL DEFAULT 0,
    announced INTEGER NOT NULL DEFAULT 0,
    response BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS join_responses_prompt ON join_responses (prompt_id);
CREATE INDEX IF NOT EXISTS join_responses_due ON join_responses (log_time, response_id)
    WHERE met = 0 AND orphan = 0;
CREATE INDEX IF NOT EXISTS join_responses_announced ON join_responses (announced)
    WHERE orphan = 1;
