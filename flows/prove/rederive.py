"""Derives events again from the log and compares what comes out with what the stores hold."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from flows.keys import Keys
from flows.pipeline import Pipeline
from flows.prove.judge import POINTS_EXPIRED, Held, Judged, facts_of
from flows.prove.log import LogView
from flows.prove.report import Verdict
from flows.sections import StoresSection
from flows.settings import Settings
from flows.stores import SELECT, Stores
from schemas.chunk import Chunk
from schemas.items import PromptSide
from schemas.log import LogRecord, Origin, Partition
from schemas.ports import Claim, Stored, Waiting
from schemas.ports import Verdict as ClaimVerdict
from schemas.records import STORES, Mutation, RecordId, Store
from sinks.sqlite.database import Database
from sinks.sqlite.graph import GraphSink
from sinks.sqlite.search import SearchSink
from sinks.sqlite.timeseries import TimeseriesSink
from sinks.sqlite.vector import VectorSink

COSINE = 0.9999
"""Vectors of one text made on two machines are at least so close."""
BEFORE_JOIN = ("validate", "dedupe", "text", "pii")

Build = Callable[[Settings, Keys, Stores], Pipeline]
Outcome = Verdict | str
"""Unaccounted, or the code of why an event could not be compared; empty: it is the same."""


class Rederiver:
    """Runs the worker's stages with the same keys and settings, and with doubles for what they
    keep: every claim is new, and a response meets its prompt by way of the log. Vectors that a
    service made are not bought again: they are not compared."""

    def __init__(
        self, settings: Settings, keys: Keys, stores: Stores, log: LogView, build: Build
    ) -> None:
        self._log = log
        self._graph = stores.sinks["graph"]
        self._joins = _LogJoins()
        doubles = {"claims": _AllNew(), "joins": self._joins, "vectors": _NoCache()}
        embed = settings.embed
        self._compared = [s for s in STORES if embed.is_here or s != "vector"]
        if embed.mode != "off":
            mode = "inline" if embed.is_here else "off"
            changed = embed.model_copy(update={"mode": mode})
            settings = settings.model_copy(update={"embed": changed})
        pipeline = build(settings, keys, msgspec.structs.replace(stores, **doubles))
        self.close = pipeline.close
        self._stages = {stage.name: stage for stage in pipeline.stages}
        self._section = settings.stores

    def compare(self, judged: Sequence[Judged], held: Held) -> Mapping[Origin, Outcome]:
        """What becomes of each event when it is derived again."""
        outcomes: dict[Origin, Outcome] = {}
        known = {RecordId(j.decoded.kind, j.decoded.id): j for j in judged if j.decoded is not None}
        self._joins.begin({i.id: f.state for i in known if (f := facts_of(i, held)) is not None
                           and i.kind == "response"})  # fmt: skip
        self._meet_prompts(known, held)
        mutations = self._derive([one.record for one in judged])
        with _scratch(self._section) as expected_of:
            expected = expected_of(mutations)
        derived = {RecordId(m.graph.stamp.kind, m.graph.stamp.id): m for m in mutations}
        for identity, one in known.items():
            if identity.id in self._joins.without:
                outcomes[one.record.origin] = "prompt_unreadable"
                continue
            origin, mutation = one.record.origin, derived.get(identity)
            if mutation is not None and mutation.request is not None:
                outcomes[origin] = "service_unavailable"
                continue
            codes = self._differences(identity, mutation, expected, held)
            if one.verdict.code == POINTS_EXPIRED:
                codes = [code for code in codes if code != "absent_timeseries"]
            outcomes[origin] = Verdict("unaccounted", ",".join(codes)) if codes else ""
        return outcomes

    def _differences(
        self,
        identity: RecordId,
        mutation: Mutation | None,
        expected: Mapping[Store, Mapping[RecordId, Stored]],
        held: Held,
    ) -> list[str]:
        if mutation is None:
            return ["not_derivable"]
        codes = []
        for store in self._compared:
            wanted, there = expected[store].get(identity), held[store].get(identity)
            if wanted is None and there is None:
                continue
            if wanted is None or there is None:
                codes.append(f"{'absent' if there is None else 'unexpected'}_{store}")
            elif there.stamp.version < wanted.stamp.version:
                codes.append(f"stale_{store}")
            elif wanted.stamp.sha256 != there.stamp.sha256 or not _equal(wanted, there):
                codes.append(f"altered_{store}")
        return codes

    def _meet_prompts(self, known: Mapping[RecordId, Judged], held: Held) -> None:
        """Derives the prompt sides that the batch's complete responses need."""
        wanted = {
            RecordId("prompt", facts.prompt)
            for identity in known
            if (facts := facts_of(identity, held)) is not None
            and facts.state == "complete"
            and facts.prompt is not None
        }
        found = self._graph.fetch(sorted(wanted - known.keys()))
        records = []
        for stored in found.values():
            origin = stored.stamp.origin
            record = self._log.at(Partition(origin.topic, origin.partition), origin.offset)
            if record is not None:
                records.append(record)
        self._run(records, (*BEFORE_JOIN, "lookup"))

    def _derive(self, records: Sequence[LogRecord]) -> list[Mutation]:
        return self._run(records, (*BEFORE_JOIN, "embed", "lookup", "extract"))

    def _run(self, records: Sequence[LogRecord], stages: Sequence[str]) -> list[Any]:
        """What comes out; an event that makes a stage raise does not."""
        if not records:
            return []
        try:
            return self._through(records, stages)
        except Exception:
            if len(records) == 1:
                return []
            return [out for record in records for out in self._run([record], stages)]

    def _through(self, records: Sequence[LogRecord], stages: Sequence[str]) -> list[Any]:
        origin = records[0].origin
        chunk: Chunk[Any] = Chunk(Partition(origin.topic, origin.partition), records, 0)
        for name in stages:
            chunk = self._stages[name](chunk).passed
        return list(chunk.items)


def _equal(wanted: Stored, there: Stored) -> bool:
    one, other = dict(wanted.content), dict(there.content)
    values, found = one.pop("values", None), other.pop("values", None)
    if one != other:
        return False
    return values is None or _close(values, found)


def _close(one: Any, other: Any) -> bool:
    a, b = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if a.shape != b.shape:
        return False
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    return length > 0 and float(a @ b) / length >= COSINE


@contextmanager
def _scratch(
    section: StoresSection,
) -> Iterator[Callable[[Sequence[Mutation]], dict[Store, Mapping[RecordId, Stored]]]]:
    """Stores in a folder that goes away: what they answer is what every store should."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database.open(Path(folder) / "scratch.db")
        sinks: dict[Store, Any] = {
            "graph": GraphSink(database, section.graph),
            "vector": VectorSink(database, section.vector),
            "timeseries": TimeseriesSink(database, section.timeseries),
            "search": SearchSink(database, section.search),
        }

        def written(mutations: Sequence[Mutation]) -> dict[Store, Mapping[RecordId, Stored]]:
            found = {}
            for store, sink in sinks.items():
                records = [r for m in mutations if (r := SELECT[store](m)) is not None]
                sink.write(records)
                found[store] = sink.fetch([record.stamp.record_id for record in records])
            return found

        try:
            yield written
        finally:
            database.close()


class _AllNew:
    """:class:`schemas.ports.Claims` that nobody holds."""

    def claim(self, claims: Sequence[Claim], /) -> Sequence[ClaimVerdict]:
        return ["new"] * len(claims)

    def release(self, held: Sequence[tuple[RecordId, Origin]], /) -> None:
        """Nothing is held."""

    def flush(self) -> None:
        """Nothing is under way."""


class _NoCache:
    """:class:`schemas.ports.Cache` that misses: a wrong entry would hide itself."""

    def get(self, keys: Sequence[bytes], /) -> Sequence[bytes | None]:
        return [None] * len(keys)

    def put(self, items: Sequence[tuple[bytes, bytes]], /) -> None:
        """Forgotten."""


class _LogJoins:
    """:class:`schemas.ports.Joins` that answers by the state in which a response is stored, from
    the prompt sides that were derived in this batch."""

    def __init__(self) -> None:
        self._states: Mapping[str, str] = {}
        self._sides: dict[str, PromptSide] = {}
        self.without: set[str] = set()

    def begin(self, states: Mapping[str, str]) -> None:
        """A new batch, with the state of each response."""
        self._states = states
        self._sides.clear()
        self.without.clear()

    def add_prompts(
        self, sides: Sequence[tuple[PromptSide, int]], /
    ) -> Mapping[str, Sequence[Waiting]]:
        self._sides.update((side.prompt_id, side) for side, _ in sides)
        return {}

    def add_responses(
        self, waiting: Sequence[Waiting], /
    ) -> Mapping[str, tuple[PromptSide | None, bool]]:
        return {one.response.event.id: self._answer(one) for one in waiting}

    def _answer(self, waiting: Waiting) -> tuple[PromptSide | None, bool]:
        event = waiting.response.event
        state = self._states.get(event.id, "complete")
        if state != "complete":
            return None, state == "orphan"
        side = self._sides.get(getattr(event, "prompt_id", ""))
        if side is None:
            self.without.add(event.id)
        return side, False

    def overdue(self, before: int, limit: int, /) -> Sequence[Waiting]:  # noqa: ARG002
        return ()

    def unheard(self) -> None:
        """Nothing is told."""

    def expire(self, before: int, /) -> None:
        """Nothing is kept."""

    def seal(self) -> int:
        return 0

    def confirm(self, mark: int, /) -> None:
        """Nothing is kept."""

    def flush(self) -> None:
        """Nothing is under way."""
