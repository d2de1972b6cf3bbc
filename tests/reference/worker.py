"""The stages one after the other over a set of records, into dictionaries: no flows, no stores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from schemas.chunk import Chunk
from schemas.failures import Rejected
from schemas.log import LogRecord, Partition
from schemas.ports import Directory
from stages.dedupe import Dedupe
from stages.embed.stage import EmbedStage
from stages.extract import ExtractStage
from stages.lookup import LookupSettings, LookupStage
from stages.lookup.directory import TomlDirectory
from stages.pii.stage import PiiStage
from stages.text.stage import TextStage
from stages.validate import Validate
from tests.reference.setup import Setup
from tests.stages.extract.fold import Stores
from tests.stages.memory_joins import MemoryJoins
from tests.stages.twins import MemoryClaims


class NoCache:
    def get(self, keys: Sequence[bytes], /) -> Sequence[bytes | None]:
        return [None] * len(keys)

    def put(self, items: Sequence[tuple[bytes, bytes]], /) -> None: ...


class Constant:
    """An embedder of one direction: structure is what is compared here, not the numbers."""

    model = "constant"
    dimensions = 1

    def embed(self, texts: Sequence[str], /) -> Sequence[bytes]:
        return [b"\0\0\x80\x3f"] * len(texts)


class Worker:
    """``run`` takes records in order of log time, in chunks of one partition."""

    def __init__(self, setup: Setup, directory: Path) -> None:
        self.claims = MemoryClaims(setup.claim_ttl_ms)
        pii = PiiStage(
            setup.patterns,
            setup.names,
            setup.pii,
            pseudonym_key=setup.pseudonym_key,
            image_key=setup.image_key,
        )
        users: Directory = TomlDirectory(directory, pii.screen_identifier)
        lookup = LookupSettings(orphan_after_hours=setup.orphan_after_ms / 3_600_000)
        self._first = (
            Validate(),
            Dedupe(self.claims, b"content key 0123"),
            TextStage(),
            pii,
            EmbedStage(Constant() if setup.embeds else None, NoCache()),
        )
        self._lookup = LookupStage(setup.registry, users, MemoryJoins(), lookup)
        self._extract = ExtractStage("test")
        self.stores = Stores()
        self.rejected: list[Rejected] = []
        self.duplicates = 0

    def run(self, records: Sequence[LogRecord], size: int = 20) -> None:
        records = sorted(records, key=lambda r: (r.origin.timestamp, r.origin))
        for _, group in groupby(enumerate(records), lambda e: (e[0] // size, _part(e[1]))):
            items = [record for _, record in group]
            self._chunk(Chunk(_part(items[0]), items, items[-1].origin.timestamp))
        self._chunk(Chunk(_part(records[-1]), [], records[-1].origin.timestamp))

    def _chunk(self, chunk: Chunk[LogRecord]) -> None:
        current: Chunk[object] = chunk
        for stage in self._first:
            outcome = stage(current)  # type: ignore[arg-type]
            self.rejected += outcome.rejected
            self.duplicates += outcome.duplicates
            current = outcome.passed
        enriched = self._lookup(current)  # type: ignore[arg-type]
        for mutation in self._extract(enriched.passed).passed.items:
            self.stores.add(mutation)

    def codes(self) -> Counter[str]:
        return Counter(rejected.code for rejected in self.rejected)


def _part(record: LogRecord) -> Partition:
    return Partition(record.origin.topic, record.origin.partition)
