"""The embedded default: every store and queue in one SQLite file."""
