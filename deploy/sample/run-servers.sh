#!/usr/bin/env bash
# The sample through real servers: topics and stores are made, the events are produced (once), the
# worker reads Kafka to its end, and we look at what came of it. Needs $BIN (the environment's bin
# folder) and $SERVERS (the folder of `python -m deploy.local start`).
set -euo pipefail
: "${BIN:?}" "${SERVERS:?}"
here=$(dirname "$0")
set -a
# shellcheck disable=SC1091
. "$SERVERS/servers.env"
set +a
graph() { "$BIN/memory-graph" "$@" --config "$SERVERS/servers.toml"; }
say() { printf '\n%s\n\n' "$1"; }

say "1. Topics in Kafka; constraints, indexes, buckets and templates in the stores"
graph topics create --replication 1
graph stores init
if [ ! -e "$SERVERS/produced" ]; then
  say "2. The sample's events go to Kafka"
  graph produce "$here/events.jsonl"
  graph produce --topic llm.prompts.v1 "$here/broken.jsonl"
  touch "$SERVERS/produced"
fi
say "3. The worker reads Kafka into Neo4j, Pinecone (a fake), InfluxDB and Elasticsearch"
graph run
say "4. One of the conversations, from Neo4j"
graph show session s-024
say "Look further, with the settings $SERVERS/servers.toml and the secrets in $SERVERS/servers.env:"
cat <<END
  set -a; . $SERVERS/servers.env; set +a
  $BIN/memory-graph search --config $SERVERS/servers.toml recipe
  $BIN/memory-graph usage --config $SERVERS/servers.toml --by tenant
  $BIN/memory-graph status --config $SERVERS/servers.toml
  make servers-stop
END
