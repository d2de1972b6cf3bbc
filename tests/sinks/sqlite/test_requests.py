"""The enrichment queue keeps requests as they were, in order; of an event, who knows most."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from schemas.items import PromptSide, UserFacts
from schemas.ports import Damaged, Unavailable
from schemas.queues import Request
from schemas.records import RecordId
from sinks.sqlite.database import Database
from sinks.sqlite.requests import SqliteRequests
from tests.stages.screened import GPT, embedded, prompt, response, session, session_event, uuid

SIDE = PromptSide(uuid(1), 5, session(), GPT, UserFacts("acme", None, True))


@pytest.fixture
def requests(database: Database) -> SqliteRequests:
    return SqliteRequests(database)


def request(event: Any, **more: Any) -> Request:
    return Request(embedded(event), more.pop("lacks", ("directory",)), **more)


def waiting(requests: SqliteRequests) -> list[str]:
    return [queued.request.item.event.id for queued in requests.take(1_000)]


@pytest.mark.parametrize(
    "asked",
    [
        request(prompt(1), lacks=("embedding", "directory", "registry"), log_time=9),
        request(response(2, 1), side=SIDE, orphan=True),
        request(session_event(3)),
        Request(embedded(prompt(1), vector=False), ("embedding",)),
    ],
)
def test_requests_come_back_as_they_were(requests: SqliteRequests, asked: Request) -> None:
    requests.put([asked])
    (queued,) = requests.take(10)
    assert (queued.request, queued.attempts) == (asked, 0)
    assert requests.backlog() == 1
    requests.failed([queued, queued])
    assert requests.take(10)[0].attempts == 2
    requests.settle([queued])
    assert requests.backlog() == 0
    assert requests.caught_up()


def test_oldest_first_in_pages_and_left_in_the_queue(requests: SqliteRequests) -> None:
    requests.put([request(prompt(n)) for n in range(5)])
    first = requests.take(2)
    rest = requests.take(10, first[-1].sequence)
    assert [q.request.item.event.id for q in [*first, *rest]] == [uuid(n) for n in range(5)]
    requests.settle([*first, rest[1]])
    assert waiting(requests) == [uuid(2), uuid(4)]
    requests.put([])
    assert requests.take(5, 10_000) == []


def test_of_an_event_the_one_that_knows_most_waits_whatever_the_order(
    requests: SqliteRequests,
) -> None:
    event = response(2, 1)
    ways = [request(event), request(event, orphan=True), request(event, side=SIDE),
            request(event, side=SIDE, orphan=True)]  # fmt: skip
    for seed in range(10):
        shuffled = ways * 2
        random.Random(seed).shuffle(shuffled)
        for one in shuffled:
            requests.put([one])
        (queued,) = requests.take(10)
        assert queued.request == ways[-1], seed
        requests.settle([queued])
    # A prompt of the same id is another event.
    requests.put([request(prompt(2)), request(event)])
    assert requests.backlog() == 2


def test_settling_what_was_taken_leaves_what_replaced_it(requests: SqliteRequests) -> None:
    requests.put([request(response(2, 1))])
    taken = requests.take(1)
    requests.put([request(response(2, 1), side=SIDE)])
    requests.failed(taken)
    requests.settle(taken)
    (queued,) = requests.take(1)
    assert (queued.request.side, queued.attempts) == (SIDE, 0)


def test_which_events_wait_is_told_without_taking_them(requests: SqliteRequests) -> None:
    requests.put([request(prompt(1)), request(response(2, 1))])
    expected = [RecordId("prompt", uuid(1)), RecordId("response", uuid(2))]
    assert list(requests.waiting()) == expected
    assert requests.backlog() == 2


def test_a_file_from_before_the_queue_gets_its_table(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    Database.open(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE requests")
        connection.execute("UPDATE meta SET value = 'of an older release' WHERE key = 'schema'")
        connection.commit()
    database = Database.open(path)
    try:
        requests = SqliteRequests(database)
        requests.put([request(prompt(1))])
        assert waiting(requests) == [uuid(1)]
    finally:
        database.close()
    with pytest.raises(Unavailable):
        requests.put([request(prompt(2))])


def test_a_request_of_a_newer_format_is_damage(
    requests: SqliteRequests, database: Database
) -> None:
    requests.put([request(prompt(1))])
    database.run("requests", lambda c: c.execute("UPDATE requests SET request = x'7f'").rowcount)
    with pytest.raises(Damaged):
        requests.take(1)
