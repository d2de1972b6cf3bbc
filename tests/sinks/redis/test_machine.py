"""Redis against its SQLite twin, over random sequences of everything that is asked of them."""

from __future__ import annotations

import tempfile
import uuid
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from deploy.local.addresses import Redis
from schemas.ports import Waiting
from schemas.records import RecordId
from sinks.redis.claims import RedisClaims
from sinks.redis.joins import RedisJoins
from sinks.redis.server import RedisServer
from sinks.redis.settings import RedisSettings
from sinks.sqlite.claims import SqliteClaims
from sinks.sqlite.database import Database
from sinks.sqlite.joins import SqliteJoins
from tests.sinks.state import TTL, claim, response, side

IDS = st.integers(0, 6)
CLAIMS = st.lists(
    st.tuples(IDS, st.integers(0, 9), st.sampled_from([0, 50, 100, 101, 260]), st.integers(0, 1)),
    min_size=1,
    max_size=6,
)


class Twins(RuleBasedStateMachine):
    """``url`` is set by the test that runs the machine."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.database = Database.open(Path(self.folder.name) / "memory.db")
        self.server = RedisServer(RedisSettings(url=self.url, prefix=f"t{uuid.uuid4().hex}"))
        self.unsealed = 0
        self.floor = 0
        self.open()

    def open(self) -> None:
        """As a worker that starts again, with the same name."""
        self.claims: list[Any] = [
            SqliteClaims(self.database, ttl=TTL),
            RedisClaims(self.server, lambda: "set", ttl=TTL),
        ]
        self.joins: list[Any] = [
            SqliteJoins(self.database, remembered=0),
            RedisJoins(self.server, lambda: "set", member="one"),
        ]

    def same(self, action: Any) -> Any:
        first, second = (action(one) for one in self.joins)
        for one in self.joins:
            one.flush()
        assert first == second
        return first

    @rule(batch=CLAIMS)
    def claim(self, batch: list[tuple[int, int, int, int]]) -> None:
        made = [claim(str(i), o, t, bytes([c])) for i, o, t, c in batch]
        first, second = (list(one.claim(made)) for one in self.claims)
        assert first == second

    @rule(batch=CLAIMS)
    def release(self, batch: list[tuple[int, int, int, int]]) -> None:
        held = [(RecordId("prompt", str(i)), claim(str(i), o).origin) for i, o, _, _ in batch]
        for one in self.claims:
            one.release(held)

    @rule(batch=st.lists(st.tuples(IDS, st.booleans()), min_size=1, max_size=4))
    def prompts(self, batch: list[tuple[int, bool]]) -> None:
        sides = [(side(f"p{n}", known=known), 10 * n + 5) for n, known in batch if n >= self.floor]
        self.same(lambda joins: joins.add_prompts(sides))

    @rule(
        batch=st.lists(
            st.tuples(IDS, st.integers(0, 1), st.booleans()),
            min_size=1,
            max_size=4,
            unique_by=lambda item: item[:2],
        )
    )
    def responses(self, batch: list[tuple[int, int, bool]]) -> None:
        made = [
            Waiting(waiting.response, waiting.log_time, orphan)
            for n, k, orphan in batch
            if n >= self.floor
            for waiting in [response(f"p{n}/r{k}", f"p{n}", 10 * n + k)]
        ]
        self.same(lambda joins: joins.add_responses(made))

    @rule(before=st.integers(0, 80), limit=st.integers(1, 5))
    def overdue(self, before: int, limit: int) -> None:
        found = self.same(lambda joins: joins.overdue(before, limit))
        assert all(waiting.orphan for waiting in found)

    @rule()
    def seal(self) -> None:
        self.marks = [one.seal() for one in self.joins]
        self.unsealed += 1

    @precondition(lambda self: self.unsealed)
    @rule()
    def confirm(self) -> None:
        for one, mark in zip(self.joins, self.marks, strict=True):
            one.confirm(mark)
            one.flush()

    @rule(floor=st.integers(0, 6))
    def expire(self, floor: int) -> None:
        """As the stage does: everything due is told and confirmed before anything expires."""
        self.floor = max(self.floor, floor)
        while self.same(lambda joins: joins.overdue(10 * self.floor, 5)):
            pass
        for one in self.joins:
            one.confirm(one.seal())
            one.flush()
            one.expire(10 * self.floor)

    @rule()
    def restart(self) -> None:
        for one in (*self.claims, *self.joins):
            one.flush()
        self.unsealed = 0
        self.open()

    def teardown(self) -> None:
        self.server.close()
        self.database.close()
        self.folder.cleanup()


def test_redis_answers_as_sqlite_does(redis: Redis) -> None:
    Twins.url = redis.url
    run_state_machine_as_test(
        Twins, settings=settings(max_examples=40, stateful_step_count=25, deadline=None)
    )
