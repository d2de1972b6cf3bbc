"""What the reference needs to know of a worker's configuration."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

from schemas.ports import Registry
from stages.pii.screener import Detector
from stages.pii.settings import PiiSettings


@dataclass(frozen=True)
class User:
    """A membership: from midnight (UTC) of a day on, or since ever."""

    id: str
    tenant: str
    organisation: str | None
    since: date | None


@dataclass(frozen=True)
class Setup:
    """Detectors, keys and answers as the worker has them; limits as its settings say."""

    patterns: Detector
    names: Detector | None
    registry: Registry
    users: tuple[User, ...]
    pseudonym_key: bytes
    image_key: bytes
    pii: PiiSettings = field(default_factory=PiiSettings)
    embeds: bool = True
    orphan_after_ms: int = 24 * 3_600_000
    claim_ttl_ms: int = 3_600_000
    ahead_ms: int = 300_000
    behind_ms: int = 30 * 86_400_000
    max_bytes: int = 8 * 1024 * 1024
    max_depth: int = 64


def read_users(path: Path) -> tuple[User, ...]:
    """The memberships in a directory file."""
    entries = tomllib.loads(path.read_text("utf-8")).get("users", [])
    return tuple(User(e["id"], e["tenant"], e.get("organisation"), e.get("from")) for e in entries)


def micros(stamp: str) -> int:
    """An RFC 3339 date-time as µs since 1970."""
    gap = datetime.fromisoformat(stamp.upper()) - datetime.fromisoformat("1970-01-01T00:00:00Z")
    return (gap.days * 86_400 + gap.seconds) * 1_000_000 + gap.microseconds
