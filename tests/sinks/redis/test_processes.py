"""Several processes claim the same ids and join the same pairs at the same time."""

from __future__ import annotations

import multiprocessing
import random
import uuid
from collections.abc import Iterator
from typing import Any

from sinks.redis.claims import RedisClaims
from sinks.redis.joins import RedisJoins
from sinks.redis.server import RedisServer
from sinks.redis.settings import RedisSettings
from tests.sinks.state import claim, response, side

PAIRS = 3_000
SPAWN = multiprocessing.get_context("spawn")


def prompts(url: str, prefix: str, seed: int, found: Any, start: Any) -> None:
    """Adds all prompts, a few at a time; tells which pairs it completed."""
    server = RedisServer(RedisSettings(url=url, prefix=prefix))
    joins = RedisJoins(server, lambda: "set", member="prompts")
    numbers = list(range(PAIRS))
    random.Random(seed).shuffle(numbers)
    pairs: list[str] = []
    start.wait()
    while numbers:
        batch, numbers = numbers[:20], numbers[20:]
        for met in joins.add_prompts([(side(f"p{n}"), n) for n in batch]).values():
            pairs += [waiting.response.event.id for waiting in met]
    found.put(pairs)
    server.close()


def responses(url: str, prefix: str, seed: int, found: Any, start: Any) -> None:
    server = RedisServer(RedisSettings(url=url, prefix=prefix))
    joins = RedisJoins(server, lambda: "set", member="responses")
    numbers = list(range(PAIRS))
    random.Random(seed).shuffle(numbers)
    pairs: list[str] = []
    start.wait()
    while numbers:
        batch, numbers = numbers[:20], numbers[20:]
        answers = joins.add_responses([response(f"r{n}", f"p{n}", n) for n in batch])
        pairs += [id_ for id_, (known, _) in answers.items() if known is not None]
    found.put(pairs)
    server.close()


def claimers(url: str, prefix: str, seed: int, found: Any, start: Any) -> None:
    """Claims all ids from coordinates of its own; tells which it got."""
    server = RedisServer(RedisSettings(url=url, prefix=prefix))
    claims = RedisClaims(server, lambda: "set")
    numbers = list(range(PAIRS))
    random.Random(seed).shuffle(numbers)
    mine: list[str] = []
    start.wait()
    while numbers:
        batch, numbers = numbers[:50], numbers[50:]
        verdicts = claims.claim([claim(str(n), n + PAIRS * seed) for n in batch])
        assert set(verdicts) <= {"new", "duplicate"}
        mine += [str(n) for n, verdict in zip(batch, verdicts, strict=True) if verdict == "new"]
    found.put(mine)
    server.close()


def together(url: str, *workers: Any) -> list[list[str]]:
    """What each process tells, all of them started at the same moment."""
    prefix = f"t{uuid.uuid4().hex}"
    found, start = SPAWN.Queue(), SPAWN.Barrier(len(workers))
    processes = [
        SPAWN.Process(target=worker, args=(url, prefix, seed, found, start))
        for seed, worker in enumerate(workers)
    ]
    for process in processes:
        process.start()
    told = [found.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    return told


def until_they_meet(url: str, *workers: Any) -> Iterator[list[list[str]]]:
    """What they tell each time, until none came too late for the others."""
    for _ in range(10):
        told = together(url, *workers)
        yield told
        if all(told):
            return
    raise AssertionError("they never met in time, and nothing was tested")


def test_every_pair_is_completed_by_at_least_one(redis: Any) -> None:
    for told in until_they_meet(redis.url, prompts, responses):
        assert {id_ for pairs in told for id_ in pairs} == {f"r{n}" for n in range(PAIRS)}


def test_every_id_is_claimed_by_exactly_one(redis: Any) -> None:
    for told in until_they_meet(redis.url, claimers, claimers, claimers):
        assert sorted(id_ for mine in told for id_ in mine) == sorted(str(n) for n in range(PAIRS))
