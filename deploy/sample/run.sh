#!/usr/bin/env bash
# The newcomer's run: the sample's events into the log (once), the worker over it, and a look at
# what came of it. Needs $BIN (the environment's bin folder) and $DATA (the data folder).
set -euo pipefail
: "${BIN:?}" "${DATA:?}"
here=$(dirname "$0")
graph() { "$BIN/memory-graph" "$@" --data "$DATA" --config "$here/memory-graph.toml"; }
say() { printf '\n%s\n\n' "$1"; }

if [ ! -d "$DATA/log" ]; then
  say "1. The sample's events go into the event log, $DATA/log"
  graph log append "$here/events.jsonl"
  graph log append --topic llm.prompts.v1 "$here/broken.jsonl"
fi
say "2. The worker reads the log into the four stores, $DATA/memory.db"
graph run
say "3. One of the conversations"
graph show session s-024
say "Look further (all of these take --json):"
cat <<END
  $BIN/memory-graph search --data $DATA recipe
  $BIN/memory-graph similar --data $DATA --text 'How do I lose weight?'
  $BIN/memory-graph usage --data $DATA --by tenant
  $BIN/memory-graph status --data $DATA
  $BIN/memory-graph dlq list --data $DATA
  $BIN/memory-graph graph export --data $DATA -o graph.graphml
END
