"""Small workers on one Redis: whoever crashes or vanishes, every pair and orphan is written."""

from __future__ import annotations

import uuid
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sinks.redis.joins import RedisJoins
from sinks.redis.server import RedisServer
from sinks.redis.settings import RedisSettings
from tests.sinks.state import response, side

PROMPTS = ["p0", "p1", "p2"]
ANSWERS = [f"p{n}/r{k}" for n in range(5) for k in range(2)]
EVENTS = [("prompt", p) for p in PROMPTS] + [("response", r) for r in ANSWERS]
Log = list[tuple[str, str]]


class Member:
    """Reads a log of its own; commits offset, writes and confirmations together. ``lease`` 0: what
    it answered and has not confirmed is open to all others at once."""

    def __init__(self, server: RedisServer, name: str, log: Log, lease: float) -> None:
        self.server, self.name, self.log, self.lease = server, name, log, lease
        self.offset = self.committed = 0
        self.written: set[tuple[str, str]] = set()
        self.open()

    def open(self) -> None:
        self.pending: set[tuple[str, str]] = set()
        self.offset = self.committed
        self.joins = RedisJoins(
            self.server, lambda: "set", member=self.name, lease_seconds=self.lease
        )

    def step(self, count: int) -> None:
        batch = self.log[self.offset : self.offset + count]
        prompts = [(side(key), at) for at, (kind, key) in enumerate(batch) if kind == "prompt"]
        for prompt_id, waiting in self.joins.add_prompts(prompts).items():
            self.pending |= {(w.response.event.id, prompt_id) for w in waiting}
        answers = self.joins.add_responses(
            [response(key, key.split("/")[0]) for kind, key in batch if kind == "response"]
        )
        for id_, (known, orphan) in answers.items():
            if known:
                self.pending.add((id_, known.prompt_id))
            elif orphan:
                self.pending.add((id_, "orphan"))
        self.offset += len(batch)

    def overdue(self) -> int:
        late = self.joins.overdue(1, 2)
        self.pending |= {(w.response.event.id, "orphan") for w in late}
        return len(late)

    def commit(self) -> None:
        mark = self.joins.seal()
        self.joins.flush()
        self.written |= self.pending
        self.pending = set()
        self.joins.confirm(mark)
        self.joins.flush()
        self.committed = self.offset

    def end(self) -> None:
        """Reads to the end, as a worker that stays."""
        self.step(len(self.log))
        self.overdue()
        self.commit()


@settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_every_pair_and_orphan_is_written_whoever_goes(data: st.DataObject, redis: Any) -> None:
    server = RedisServer(RedisSettings(url=redis.url, prefix=f"t{uuid.uuid4().hex}"))
    repeated = data.draw(st.lists(st.sampled_from(EVENTS), max_size=6))
    log = data.draw(st.permutations(EVENTS + repeated))
    cut = data.draw(st.integers(0, len(log)))
    members = [Member(server, "one", log[:cut], 0.0), Member(server, "two", log[cut:], 0.0)]
    written: set[tuple[str, str]] = set()
    actions = st.sampled_from(["step", "step", "overdue", "commit", "late", "crash", "vanish"])
    ending = data.draw(st.sampled_from([[], ["late", "vanish"], ["overdue", "vanish"]]))
    for action in data.draw(st.lists(actions, max_size=20)) + ending:
        member = members[0] if action in ending else data.draw(st.sampled_from(members))
        if action == "step":
            member.step(data.draw(st.integers(1, 5)))
        elif action == "crash":
            member.open()
        elif action == "vanish" and len(members) > 1:
            # The others read its partition on from where it has committed.
            members.remove(member)
            written |= member.written
            (heir,) = members
            heir.commit()
            heir.log = (
                heir.log[: heir.offset] + member.log[member.committed :] + heir.log[heir.offset :]
            )
        elif action == "late":
            # The orphan fact is all that is not committed: nothing is read again for it.
            member.commit()
            member.overdue()
        elif action in ("overdue", "commit"):
            getattr(member, action)()
    for member in members:
        member.end()
    # Prompts of the last member may have come after the first one's responses fell due.
    while any(member.overdue() for member in members):
        for member in members:
            member.commit()
    for member in members:
        member.commit()
        written |= member.written
    server.close()
    pairs = {(r, r.split("/")[0]) for r in ANSWERS if r.split("/")[0] in PROMPTS}
    orphans = {(r, "orphan") for r in ANSWERS if r.split("/")[0] not in PROMPTS}
    assert written >= pairs | orphans
    assert all(where == "orphan" or (r, where) in pairs for r, where in written)
