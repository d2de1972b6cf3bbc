"""A seeded log of any size, with everything that a real one does to a worker.

Conversations over many partitions, responses before and long after their prompts, orphans,
duplicates near and far, personal data, reused texts and templates, and broken events. Each id has
one content. Orphans end long before the log does (``ORPHAN_AFTER_MS``), and the last minutes leave
a few responses waiting: which state a response has does not hang on when a worker stops.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

from flows.filelog import PARTITIONS, LogWriter, NewRecord, PartitionReader, partitions_of
from schemas.log import LogRecord
from tests.generate.arrivals import START_MS, Arrivals
from tests.generate.events import HOUR, NAMES

__all__ = [
    "ORPHAN_AFTER_MS",
    "START_MS",
    "directory_toml",
    "generate",
    "read_log",
    "write_log",
]
ORPHAN_AFTER_MS = HOUR
"""What ``[lookup] orphan_after_hours`` has to be for this log: 1."""
TENANTS = ("acme", "globex", "initech", "umbrella", "a/b c_%")


def generate(count: int = 20_000, seed: int = 0) -> Iterator[NewRecord]:
    """``count`` records, in the order in which they are appended."""
    return Arrivals(count, random.Random(seed), _users(seed)).records()


def write_log(folder: Path, count: int = 20_000, seed: int = 0) -> list[LogRecord]:
    """Appends a generated log to an empty folder and reads it back."""
    LogWriter(folder).append(list(generate(count, seed)))
    return read_log(folder)


def read_log(folder: Path) -> list[LogRecord]:
    """All records of a file log, partition after partition."""
    found: list[LogRecord] = []
    for partition in partitions_of(folder, tuple(PARTITIONS)):
        reader = PartitionReader(folder, partition)
        while batch := reader.take(5_000, lambda _: True):
            found += batch
        reader.close()
    return found


def directory_toml(seed: int = 0) -> str:
    """The users of the generated log, as a directory file: some move, one in ten is unknown."""
    dice = random.Random(f"{seed} directory")
    entries = []
    for user in _users(seed):
        if dice.random() < 0.1:
            continue
        days = ("2026-01-01", "2026-09-22") if dice.random() < 0.2 else ("2026-01-01",)
        for day in days:
            tenant = dice.choice(TENANTS)
            entries.append(
                f"[[users]]\nid = {json.dumps(user)}\ntenant = {json.dumps(tenant)}\n"
                f"organisation = {json.dumps(tenant.title())}\nfrom = {day}\n"
            )
    return "\n".join(entries)


def _users(seed: int) -> list[str]:
    dice = random.Random(f"{seed} users")
    plain = [f"u-{n}" for n in range(120)]
    return plain + [f"{dice.choice(NAMES)}.{n}@example.com" for n in range(30)]
