"""From a set of log records to what every store must hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from schemas.graphhash import graph_hash
from schemas.log import LogRecord, Origin
from tests.reference.cost import cost_of
from tests.reference.facts import Facts, facts_of
from tests.reference.graph import Edge, Graph, Node
from tests.reference.screening import Oracle
from tests.reference.setup import Setup, micros
from tests.reference.stores import document_of, point_of, vector_of
from tests.reference.verdict import KINDS, Event, read

Id = tuple[str, str]
"""Kind and event id."""
Place = tuple[str, int, int]
"""Topic, partition, offset."""


@dataclass
class Expected:
    """The content of the stores, without origins, versions, run times and the vectors' numbers.

    ``dead`` gives for each refused record the codes that fit; ``copies`` the places of every
    delivery of an event that passed (a stored origin is one of them); ``states`` of responses.
    """

    nodes: dict[Node, dict[str, Any]] = field(default_factory=dict)
    edges: dict[Edge, dict[str, Any]] = field(default_factory=dict)
    vectors: dict[Id, dict[str, Any]] = field(default_factory=dict)
    points: dict[Id, dict[str, Any]] = field(default_factory=dict)
    documents: dict[Id, dict[str, Any]] = field(default_factory=dict)
    dead: dict[Place, frozenset[str]] = field(default_factory=dict)
    copies: dict[Id, set[Place]] = field(default_factory=dict)
    states: dict[Id, str] = field(default_factory=dict)
    duplicates: int = 0

    def graph_hash(self) -> str:
        """As ``memory-graph graph hash`` shows it."""
        return graph_hash(
            ((*node, values) for node, values in self.nodes.items()),
            ((*edge, values) for edge, values in self.edges.items()),
        )


def derive(records: Iterable[LogRecord], setup: Setup, log_time: int | None = None) -> Expected:
    """What a worker has stored when it has read ``records``, in whatever order and runs.

    ``log_time`` (ms) is how far the log has come: the latest of the records when absent. Raises
    ValueError when two records of one event id stand further apart than a claim holds and differ.
    """
    records = sorted(records, key=lambda r: (r.origin.timestamp, _place(r.origin)))
    expected = Expected()
    oracle = Oracle(setup)
    events = _deliveries(records, setup, expected)
    facts = {me: facts_of(record, event, oracle, setup) for me, (record, event) in events.items()}
    if log_time is None:
        log_time = max((r.origin.timestamp for r in records), default=0)
    known = _Known(facts, oracle, setup, log_time)
    graph = Graph()
    for me, fact in facts.items():
        joined = known.join(fact)
        expected.states[me] = joined["state"]
        graph.add(fact, joined)
        expected.documents[me] = document_of(fact, joined)
        if joined["state"] != "waiting":
            expected.points[me] = point_of(fact, joined)
            if setup.embeds and fact["text"] is not None and fact["text"].says:
                expected.vectors[me] = vector_of(fact, joined)
    expected.nodes, expected.edges = graph.nodes(), graph.edges()
    return expected


def _place(origin: Origin) -> Place:
    return origin.topic, origin.partition, origin.offset


def _deliveries(
    records: list[LogRecord], setup: Setup, expected: Expected
) -> dict[Id, tuple[LogRecord, Event]]:
    """The first delivery of every event; duplicates and refusals go to ``expected``."""
    first: dict[Id, tuple[LogRecord, Event]] = {}
    claimed: dict[Id, int] = {}
    for record in records:
        event, codes = read(record, setup)
        place = _place(record.origin)
        if event is None:
            expected.dead[place] = codes
            continue
        me = (KINDS[record.origin.topic], event["eventId"].lower())
        if me not in first:
            first[me] = (record, event)
        same = _content(event) == _content(first[me][1])
        again = record.origin.timestamp - claimed.get(me, -(10**18)) <= setup.claim_ttl_ms
        if not same and not again:
            raise ValueError("an id has two contents further apart than a claim holds")
        if not same:
            expected.dead[place] = frozenset({"conflicting_duplicate"})
        else:
            expected.copies.setdefault(me, set()).add(place)
            if again:
                expected.duplicates += 1
            else:
                claimed[me] = record.origin.timestamp
    return first


def _content(event: Event) -> Event:
    """The event without what is absent, with its ids in lower case."""
    lowered = {n: event[n].lower() for n in ("eventId", "promptEventId") if n in event}
    return {name: value for name, value in (event | lowered).items() if value is not None}


class _Known:
    """What the other events, the directory and the registry say of one."""

    def __init__(self, facts: dict[Id, Facts], oracle: Oracle, setup: Setup, log_time: int) -> None:
        self._prompts = {me[1]: fact for me, fact in facts.items() if me[0] == "prompt"}
        self._setup = setup
        self._log_time = log_time
        self._users: dict[str, list[tuple[int, str, str | None]]] = {}
        for user in setup.users:
            since = -(10**30) if user.since is None else micros(f"{user.since}T00:00:00Z")
            entries = self._users.setdefault(oracle.identifier(user.id), [])
            entries.append((since, user.tenant, user.organisation))

    def join(self, fact: Facts) -> Facts:
        """Session, model, user and so on of the record as it is stored in the end."""
        prompt, state = None, "complete"
        if fact["kind"] == "response":
            prompt = self._prompts.get(fact["prompt"])
            if prompt is None:
                overdue = self._log_time - self._setup.orphan_after_ms > fact["log_time"]
                state = "orphan" if overdue else "waiting"
        side = prompt or fact
        model = side.get("model")
        entry = self._entry(model, fact["time"])
        joined = {
            "state": state,
            "session": side["session"],
            "model": model,
            "user": self._user(side["session"], side["time"]),
            "registry": None if entry is None else entry.facts,
            "own_user": self._user(fact["session"], fact["time"]),
            "own_registry": getattr(self._entry(fact["model"], fact["time"]), "facts", None),
            "settled": state != "waiting",
        }
        joined["cost"] = cost_of(fact, joined, None if entry is None else entry.price)
        return joined

    def _user(self, session: Facts | None, time: int) -> tuple[str | None, str | None]:
        """Tenant and organisation then."""
        entries = self._users.get(session["user"], []) if session else []
        held = [entry for entry in entries if entry[0] <= time]
        return max(held)[1:] if held else (None, None)

    def _entry(self, model: Facts | None, time: int) -> Any:
        if model is None:
            return None
        return self._setup.registry.lookup([(model["id"], model["provider"], time)])[0]
