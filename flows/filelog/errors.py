"""What can be wrong with a file log, as errors that name the file, the line and the remedy."""

from __future__ import annotations

from pathlib import Path

from schemas.failures import UserError


class LogError(UserError):
    """A file log cannot be used as it is."""


class NotALog(LogError):
    """A folder or a ``topic.json`` is not what a file log has there."""


class LineDamaged(LogError):
    """A complete line of a segment is not a record. ``line`` counts from 1."""

    def __init__(self, path: Path, line: int, offset: int, what: str) -> None:
        super().__init__(
            f"{path}, line {line} (offset {offset}): {what}. The log is append-only: restore the "
            "segment from a copy, or move the log and the data folder aside and append anew."
        )
        self.path = path
        self.line = line


class LogShrank(LogError):
    """The log ends before, or differs from, what was consumed and committed."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(
            f"{path}: {what}. The stores hold events that this log no longer has. Restore the log "
            "from a copy, or use another data folder with --data to start anew."
        )
        self.path = path


class LogGap(LogError):
    """Segments between the committed offset and the log's start are gone."""

    def __init__(self, folder: Path, committed: int, start: int) -> None:
        super().__init__(
            f"{folder}: offsets {committed} to {start - 1} are gone from the log and were never "
            "consumed. Restore the missing segments from a copy."
        )
        self.folder = folder
