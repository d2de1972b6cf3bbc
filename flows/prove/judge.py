"""Where each offset of a batch is: by what the stores, the queues and the log say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

import msgspec

from flows.prove.log import LogView
from flows.prove.report import Verdict
from flows.prove.waiting import Waiting
from schemas.failures import Rejected
from schemas.items import WITHHELD, Decoded
from schemas.log import LogRecord, Origin, Partition
from schemas.ports import Sink, Stored, Tombstones
from schemas.queues import DeadLetter, DeadLetters
from schemas.records import STORES, RecordId, Store
from stages.dedupe import content_hash
from stages.validate.stage import Validate

KEY = b"compared here, kept nowhere"
"""Keys hashes that live as long as a comparison."""

POINTS_EXPIRED = "points_expired"
COMPLETE_ONLY = ("vector", "timeseries")
"""Stores that get an event when it lacks nothing any more."""

Held = Mapping[Store, Mapping[RecordId, Stored]]
Properties = Mapping[str, Any]
T = TypeVar("T")


@runtime_checkable
class Overwritable(Protocol):
    """A store in which one record's place may be taken by another's."""

    def overwritten(self, ids: Sequence[RecordId], /) -> frozenset[RecordId]: ...


class Rules(msgspec.Struct, frozen=True):
    """``embeds``: texts get vectors; ``retention``: log time (ms) in which a prompt still completes
    its responses; ``points_since``: a series keeps no point of before (µs; None: it keeps all)."""

    embeds: bool
    retention: int
    points_since: int | None = None


class Judged(msgspec.Struct, frozen=True):
    """A verdict; ``own``: the stores hold this very delivery, of the event ``decoded``."""

    record: LogRecord
    verdict: Verdict
    decoded: Decoded | None = None
    own: bool = False


class Facts(msgspec.Struct, frozen=True):
    """What the stores say of an event: its state, its prompt, whether it has a text to embed."""

    state: str
    prompt: str | None
    text: bool


class Judge:
    """Judges batches of one log. Every call raises Unavailable and Damaged."""

    def __init__(
        self,
        sinks: Mapping[Store, Sink[Any]],
        letters: DeadLetters,
        waiting: Waiting,
        log: LogView,
        validate: Validate,
        rules: Rules,
    ) -> None:
        self._sinks = sinks
        self._letters = letters
        self._waiting = waiting
        self._log = log
        self._validate = validate
        self._rules = rules
        self._pool = ThreadPoolExecutor(len(STORES), thread_name_prefix="prove")

    def close(self) -> None:
        """Ends its threads."""
        self._pool.shutdown()

    def batch(self, records: Sequence[LogRecord]) -> tuple[list[Judged], Held]:
        """Each record's verdict, in order, and what the stores hold of their events.

        What does not add up is judged once more with what the queues hold now: beside a running
        worker, records move from queue to store.
        """
        judged, held = self._judge(records)
        doubtful = [one.record for one in judged if one.verdict.state == "unaccounted"]
        if doubtful:
            self._waiting.refresh()
            again, held_now = self._judge(doubtful)
            later = {one.record.origin: one for one in again}
            judged = [later.get(one.record.origin, one) for one in judged]
            held = {store: {**held[store], **held_now[store]} for store in STORES}
        return judged, held

    def _judge(self, records: Sequence[LogRecord]) -> tuple[list[Judged], Held]:
        results = [self._validate.one(record) for record in records]
        decoded = [one for one in results if isinstance(one, Decoded)]
        case = self._case(decoded)
        return [
            Judged(record, self._rejected(record.origin))
            if isinstance(result, Rejected)
            else self._event(record, result, case)
            for record, result in zip(records, results, strict=True)
        ], case.held

    def _case(self, decoded: Sequence[Decoded]) -> Case:
        ids = list(dict.fromkeys(RecordId(one.kind, one.id) for one in decoded))
        held = self._of_each(lambda store: self._sinks[store].fetch(ids))
        found = {i: facts for i in ids if (facts := facts_of(i, held)) is not None}
        points, overwritten = self._sinks["timeseries"], frozenset[RecordId]()
        if isinstance(points, Overwritable):
            overwritten = points.overwritten(list(held["timeseries"]))
        alone = [facts for facts in found.values() if facts.state != "complete"]
        prompts = {RecordId("prompt", facts.prompt) for facts in alone if facts.prompt is not None}
        return Case(
            held=held,
            facts=found,
            prompts=self._sinks["graph"].fetch(sorted(prompts)),
            erased=self._of_each(lambda store: _erased(self._sinks[store], ids)),
            parked=self._waiting.parked(ids),
            requested=self._waiting.requested(ids),
            overwritten=overwritten,
        )

    def _of_each(self, ask: Callable[[Store], T]) -> dict[Store, T]:
        """Asks all stores at once."""
        return dict(zip(STORES, self._pool.map(ask, STORES), strict=True))

    def _rejected(self, origin: Origin) -> Verdict:
        letter = self._letters.find(origin)
        return Verdict("unaccounted", "letter_missing") if letter is None else _dead(letter)

    def _event(self, record: LogRecord, decoded: Decoded, case: Case) -> Judged:
        identity, origin = RecordId(decoded.kind, decoded.id), record.origin
        stamps = [held[identity].stamp for held in case.held.values() if identity in held]
        own = any(_same_place(stamp.origin, origin) for stamp in stamps)
        if stamps and not own:
            first = stamps[0].origin
            verdict = self._delivered_before(decoded, first, case)
        else:
            verdict = self._stored(decoded, origin, case)
        return Judged(record, verdict, decoded, own)

    def _delivered_before(self, decoded: Decoded, first: Origin, case: Case) -> Verdict:
        """The stores hold the event from other coordinates."""
        place = Partition(first.topic, first.partition)
        there = self._log.at(place, first.offset)
        if there is not None:
            other = self._validate.one(there)
            if isinstance(other, Rejected) or content_hash(other, KEY) != content_hash(
                decoded, KEY
            ):
                letter = self._letters.find(decoded.origin)
                return Verdict("unaccounted", "other_content") if letter is None else _dead(letter)
        elif first.offset >= self._log.start(place):
            return Verdict("unaccounted", "first_missing")
        stored = self._stored(decoded, first, case)
        if stored.state == "unaccounted":
            return Verdict("unaccounted", f"first_{stored.code}")
        return Verdict("duplicate", "first_expired" if there is None else "")

    def _stored(self, decoded: Decoded, origin: Origin, case: Case) -> Verdict:
        """The event that was delivered at these coordinates, by what every store says of it."""
        identity = RecordId(decoded.kind, decoded.id)
        facts = case.facts.get(identity)
        letter = None
        if facts is None:
            letter = self._letters.find(origin)
            if letter is not None and letter.resolved in (None, "discarded"):
                return _dead(letter)
        state = "complete" if facts is None else facts.state
        newest = case.newest(identity)
        waits: list[Store] = []
        erased: list[Store] = []
        refused: list[DeadLetter] = []
        wrong: list[str] = []
        expired = False
        stores = self._called_for(facts)
        remains = [
            store for store in STORES if identity in case.erased[store] & case.held[store].keys()
        ]
        if remains:
            return Verdict("unaccounted", ",".join(f"remains_{store}" for store in remains))
        for store in stores:
            problem = case.problem(store, identity, newest)
            if problem is None or (store in COMPLETE_ONLY and identity in case.requested):
                continue
            if case.parked.get((store, identity), -1) >= newest:
                waits.append(store)
            elif identity in case.erased[store]:
                erased.append(store)
            elif refusal := self._refused(origin, store):
                refused.append(refusal)
            elif store == "timeseries" and problem == "absent" and self._points_expired(decoded):
                expired = True
            else:
                wrong.append(f"{problem}_{store}")
        everywhere = facts is not None or all(identity in case.erased[store] for store in STORES)
        if wrong or (erased and (len(erased) < len(stores) - len(waits) or not everywhere)):
            return Verdict("unaccounted", ",".join(wrong) or "partly_erased")
        if erased:
            return Verdict("erased")
        if refused:
            return _dead(refused[0])
        if waits:
            return Verdict("waiting", f"store:{waits[0]}")
        if identity in case.requested:
            return Verdict("waiting", "enrichment")
        verdict = self._joined(state, origin, facts, case)
        gone = expired and verdict.state in ("written", "orphan")
        return Verdict(verdict.state, POINTS_EXPIRED) if gone else verdict

    def _points_expired(self, decoded: Decoded) -> bool:
        since = self._rules.points_since
        return since is not None and decoded.time < since

    def _joined(self, state: str, origin: Origin, facts: Facts | None, case: Case) -> Verdict:
        """A record that is where it should be: with its prompt, or for good reasons without."""
        if state == "complete" or facts is None:
            return Verdict("written")
        prompt = case.prompts.get(RecordId("prompt", facts.prompt or ""))
        if prompt is not None:
            apart = abs(prompt.stamp.origin.timestamp - origin.timestamp)
            if state == "waiting" or apart <= self._rules.retention:
                return Verdict("unaccounted", "completion_missing")
        return Verdict("waiting", "prompt") if state == "waiting" else Verdict("orphan")

    def _called_for(self, facts: Facts | None) -> list[Store]:
        """The stores that an event's kind and content call for. Of what none holds, no more is
        known than that all events go to two."""
        if facts is None or facts.state == "waiting":
            return ["graph", "search"]
        if facts.text and self._rules.embeds:
            return list(STORES)
        return ["graph", "search", "timeseries"]

    def _refused(self, origin: Origin, store: Store) -> DeadLetter | None:
        letter = self._letters.find(origin, store)
        return letter if letter is not None and letter.resolved in (None, "discarded") else None


class Case(msgspec.Struct, frozen=True):
    """What was asked about a batch of events."""

    held: Held
    facts: Mapping[RecordId, Facts]
    prompts: Mapping[RecordId, Stored]
    erased: Mapping[Store, frozenset[RecordId]]
    parked: Mapping[tuple[Store, RecordId], int]
    requested: frozenset[RecordId]
    overwritten: frozenset[RecordId]

    def newest(self, identity: RecordId) -> int:
        """The greatest version that a store holds or owes; 0 where none does."""
        held = (h[identity].stamp.version for h in self.held.values() if identity in h)
        owed = (self.parked.get((store, identity), 0) for store in STORES)
        return max((*held, *owed), default=0)

    def problem(self, store: Store, identity: RecordId, newest: int) -> str | None:
        """Why what a store holds of an event is not what it should be."""
        stored = self.held[store].get(identity)
        if stored is None:
            return "absent"
        if stored.stamp.version < newest:
            return "stale"
        if store == "timeseries" and identity in self.overwritten:
            return "overwritten"
        equals = (h[identity].stamp for h in self.held.values() if identity in h)
        hashes = {stamp.sha256 for stamp in equals if stamp.version == newest}
        return "differs" if len(hashes) > 1 else None


def facts_of(identity: RecordId, held: Held) -> Facts | None:
    """From the search document, or from the graph's node where there is none."""
    document, node = held["search"].get(identity), held["graph"].get(identity)
    if document is not None and (node is None or node.stamp.version <= document.stamp.version):
        fields = cast("Properties", document.content["fields"])
        text = str(document.content["text"] or "")
        has_text = bool(text.strip()) and text != WITHHELD
        return Facts(str(fields.get("state", "complete")), fields.get("prompt"), has_text)
    if node is None:
        others = [s for h in held.values() if (s := h.get(identity)) is not None]
        return Facts("complete", None, identity in held["vector"]) if others else None
    properties = _properties(identity, node)
    has_text = "textHash" in properties
    return Facts(str(properties.get("state", "complete")), properties.get("promptId"), has_text)


def _properties(identity: RecordId, stored: Stored) -> Properties:
    nodes = cast("Iterable[Mapping[str, Any]]", stored.content["nodes"])
    for node in nodes:
        if node["key"] == identity.id and str(node["label"]).lower() == identity.kind:
            return cast("Properties", node["properties"])
    return {}


def _erased(sink: Sink[Any], ids: Sequence[RecordId]) -> frozenset[RecordId]:
    return cast("Tombstones", sink).erased(ids) if ids else frozenset()


def _dead(letter: DeadLetter) -> Verdict:
    return Verdict("dead_letter", letter.code if letter.resolved is None else "resolved")


def _same_place(one: Origin, other: Origin) -> bool:
    return (one.topic, one.partition, one.offset) == (other.topic, other.partition, other.offset)
