#!/usr/bin/env bash
# Installs exactly the pinned packages of the given files into $VENV, and this project in place.
# uv does it in seconds; where it cannot reach a registry that pip is set up for, pip does the same.
# With COMPILE=1 their bytecode is made at once, as pip does: for who starts many processes.
set -euo pipefail
: "${PYTHON:?}" "${VENV:?}"
if ! "$PYTHON" -c 'import sys; sys.exit(not ((3, 11) <= sys.version_info < (3, 13)))' 2>/dev/null; then
  echo "llm-memory-graph needs Python 3.11 or 3.12; '${PYTHON}' is not one. Set PYTHON=/path/to/python3.11." >&2
  exit 1
fi
[ -x "$VENV/bin/python" ] || "$PYTHON" -m venv "$VENV"
files=()
for f in "$@"; do files+=(-r "$f"); done
echo "Installing the pinned packages into $VENV …"
pip=("$VENV/bin/python" -m pip --disable-pip-version-check -q)
"${pip[@]}" install --no-deps --require-hashes --only-binary :all: -r requirements/uv.txt
if ! "$VENV/bin/uv" pip install -q --python "$VENV/bin/python" --no-deps --require-hashes ${COMPILE:+--compile-bytecode} "${files[@]}" 2>"$VENV/uv.log"; then
  echo "uv could not install them (see $VENV/uv.log); pip does, which takes about a minute …"
  "${pip[@]}" install --no-deps --require-hashes "${files[@]}"
fi
"${pip[@]}" install --no-deps --no-build-isolation --no-index -e .
