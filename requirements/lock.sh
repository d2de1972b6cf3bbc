#!/usr/bin/env bash
# Pins every dependency with hashes and without any address. uv.lock names hosts, so it stays untracked.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=(uv); command -v uv >/dev/null || uv=(.venv/bin/uv)
"${uv[@]}" lock --upgrade
export_to() { "${uv[@]}" export -q --frozen --no-emit-project --no-header --no-annotate "${@:2}" -o "$1"; }
export_to requirements/runtime.txt --no-dev
export_to requirements/dev.txt --extra production --group dev
export_to requirements/production.txt --no-dev --extra production
