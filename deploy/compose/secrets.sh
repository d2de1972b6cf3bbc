#!/usr/bin/env bash
# Makes the secrets of deploy/compose.yaml, once: deploy/.env, which docker compose reads by itself.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -e .env ]; then
  echo "deploy/.env is there; it is left as it is."
  exit 0
fi
umask 077
secret() { head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n'; }
cat >.env <<END
MEMORY_GRAPH_KEY=$(head -c 32 /dev/urandom | base64)
NEO4J_PASSWORD=$(secret)
REDIS_PASSWORD=$(secret)
INFLUXDB_PASSWORD=$(secret)
INFLUXDB_TOKEN=$(secret)
PINECONE_API_KEY=$(secret)
END
echo "deploy/.env has fresh secrets."
