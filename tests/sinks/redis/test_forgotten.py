"""A server that comes back without its last second, as after a power cut or a failover."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.ports import Unavailable
from sinks.redis.joins import RedisJoins
from sinks.redis.recall import SECONDS, Recall
from sinks.redis.server import RedisServer, Script
from sinks.redis.settings import RedisSettings
from tests.sinks.state import response, side

Open = Callable[[], RedisJoins]


class Forgetful:
    """A server of one's own that goes back to what it had at the last :meth:`keep`."""

    def __init__(self, server: Any) -> None:
        self.server = server
        folder = Path(server.record.folder)
        self._log, self._kept = folder / "appendonlydir", folder / "kept"

    def keep(self) -> None:
        shutil.copytree(self._log, self._kept, dirs_exist_ok=True)

    def restart(self) -> None:
        self.server.kill()
        shutil.rmtree(self._log)
        shutil.copytree(self._kept, self._log)
        self.server.restart()


@pytest.fixture
def forgetful(own_server: Any) -> Forgetful:
    return Forgetful(own_server("redis"))


@pytest.fixture
def open_one(forgetful: Forgetful) -> Iterator[Open]:
    made: list[RedisServer] = []

    def start() -> RedisJoins:
        url = forgetful.server.address.url
        made.append(RedisServer(RedisSettings(url=url, timeout_seconds=5)))
        return RedisJoins(made[-1], lambda: "set", member=str(len(made)))

    yield start
    for each in made:
        each.close()


def test_the_test_forgets(forgetful: Forgetful, open_one: Open) -> None:
    forgetful.keep()
    open_one().add_prompts([(side("p"), 0)])
    forgetful.restart()
    assert open_one().add_responses([response("r", "p")]) == {"r": (None, False)}


def test_a_prompt_that_was_forgotten_is_known_again(forgetful: Forgetful, open_one: Open) -> None:
    joins = open_one()
    joins.add_prompts([(side("early"), 0)])
    forgetful.keep()
    joins.add_prompts([(side("p"), 0)])
    forgetful.restart()
    answer = joins.add_responses([response("r", "p"), response("e", "early")])
    assert answer == {"r": (side("p"), False), "e": (side("early"), False)}
    joins.flush()


def test_a_response_that_was_forgotten_waits_again(forgetful: Forgetful, open_one: Open) -> None:
    joins = open_one()
    joins.add_prompts([(side("other"), 0)])
    forgetful.keep()
    joins.add_responses([response("r", "p")])
    forgetful.restart()
    assert joins.add_prompts([(side("p"), 0)])["p"] == (response("r", "p"),)
    joins.flush()


def test_what_met_nothing_because_of_it_is_told_to_the_barrier(
    forgetful: Forgetful, open_one: Open
) -> None:
    joins, other = open_one(), open_one()
    joins.add_prompts([(side("early"), 0)])
    forgetful.keep()
    joins.add_prompts([(side("p"), 0)])
    forgetful.restart()
    # Another worker is faster than the one that knows.
    assert other.add_responses([response("r", "p")]) == {"r": (None, False)}
    joins.add_prompts([(side("q"), 0)])
    with pytest.raises(Unavailable) as caught:
        joins.flush()
    assert (caught.value.what, caught.value.code) == ("joins", "restarted")
    joins.flush()
    # Reading again finds both.
    assert joins.add_prompts([(side("p"), 0)])["p"] == (response("r", "p"),)


def test_a_restart_that_forgets_nothing_costs_nothing(forgetful: Forgetful, open_one: Open) -> None:
    joins = open_one()
    joins.add_prompts([(side("p"), 0)])
    joins.add_responses([response("s", "q")])
    forgetful.server.kill()
    forgetful.server.restart()
    assert joins.add_responses([response("r", "p")]) == {"r": (side("p"), False)}
    assert joins.add_prompts([(side("q"), 0)])["q"] == (response("s", "q"),)
    joins.flush()


def test_only_the_last_seconds_are_kept_in_mind() -> None:
    now = [0.0]
    recall = Recall(lambda: now[0])
    script = Script("return 0")
    for second in range(10):
        now[0] = float(second)
        recall.note(script, [b"x" * (10 << 20)], frozenset({str(second)}))
    assert [told.at for told in recall.recent()] == [9.0 - SECONDS + n for n in range(4)]
    for number in range(20):
        recall.note(script, [b"x" * (10 << 20)], frozenset({str(number)}))
    assert len(recall.recent()) == 6
