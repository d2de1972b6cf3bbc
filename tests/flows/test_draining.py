"""What ``enrich --follow`` and ``reconcile --follow`` tell probes and scrapers."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import flows.draining
from flows.control import Control
from flows.draining import Drainage, Watched, told
from flows.enrich import enrich
from flows.httpserver import Pages
from flows.keys import load_keys
from flows.reconcile import FOLLOW, Lanes, watched_of
from flows.settings import Settings, load_settings
from flows.stores import open_stores
from schemas.failures import UserError
from schemas.items import Embedded, Request
from schemas.ports import Unavailable
from schemas.queues import Requests
from tests.awaiting import until
from tests.conformance.records import record
from tests.faults.services import World
from tests.stages.screened import prompt


def get(port: int, path: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


class Queue:
    """What a drain would be asked."""

    def __init__(self) -> None:
        self.control = Control(quiet=True)
        self.control.beat()
        self.left: int | None = 7
        self.done: dict[str, int] = {"written": 0}
        self.codes: dict[str, str] = {}

    def backlog(self) -> Mapping[str, int]:
        if self.left is None:
            raise Unavailable("kafka", "unreachable")
        return {"graph": self.left}

    def watched(self) -> Watched:
        return Watched(
            lambda: [self.control],
            lambda: {"graph": self.done},
            lambda: self.codes,
            self.backlog,
        )


@pytest.fixture
def queue() -> Queue:
    return Queue()


@pytest.fixture
def drainage(queue: Queue) -> Iterator[Drainage]:
    made = Drainage(queue.watched(), every=0.01)
    until(lambda: made.health().backlog)
    yield made
    made.close()


def test_a_store_that_takes_nothing_is_a_trouble_and_no_reason_for_a_restart(
    queue: Queue, drainage: Drainage
) -> None:
    queue.codes = {"graph": "unreachable"}
    health = drainage.health()
    assert (health.status, health.alive, health.ready) == ("ok", True, True)
    assert health.troubles == {"graph": "unreachable"}
    assert health.backlog == {"graph": 7}


def test_a_queue_that_cannot_be_read_makes_it_unready_but_alive(
    queue: Queue, drainage: Drainage
) -> None:
    queue.left = None
    queue.control.trouble("kafka", "unreachable")
    health = drainage.health()
    assert (health.status, health.alive, health.ready) == ("ok", True, False)
    assert health.blocking == health.troubles == {"kafka": "unreachable"}
    assert health.backlog == {"graph": 7}


def test_a_failure_and_a_loop_that_stands_still_want_a_restart(queue: Queue) -> None:
    stuck = Drainage(queue.watched(), every=60, limit=0.0)
    assert (stuck.health().status, stuck.health().alive) == ("stuck", False)
    queue.control.fail(UserError("bad key"))
    health = stuck.health()
    assert (health.status, health.code, health.alive, health.ready) == (
        "failed", "user_error", False, False,
    )  # fmt: skip
    stuck.close()


def test_before_the_first_turn_it_starts_and_at_the_end_it_stops(queue: Queue) -> None:
    queue.control = Control(quiet=True)
    drainage = Drainage(queue.watched(), every=60)
    assert (drainage.health().status, drainage.health().ready) == ("starting", False)
    queue.control.beat()
    assert drainage.health().ready
    queue.control.stop()
    assert (drainage.health().status, drainage.health().ready) == ("stopping", False)
    drainage.close()


def test_progress_is_since_something_left_the_queue(queue: Queue, drainage: Drainage) -> None:
    until(lambda: drainage.health().progress["graph"] > 0.05)
    queue.done = {"written": 5}
    before = time.monotonic()
    health = drainage.health()
    assert health.progress["graph"] <= time.monotonic() - before
    assert health.done == {"graph": {"written": 5}}


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The ports that pages are served on."""
    ports: list[int] = []

    class Recorded(Pages):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            ports.append(self.port)

    monkeypatch.setattr(flows.draining, "Pages", Recorded)
    return ports


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    config = tmp_path / "settings.toml"
    config.write_text(
        '[embed]\nmode = "deferred"\n[pii.detect]\nnames = false\n'
        "[metrics]\nsample_seconds = 0.05\n",
        "utf-8",
    )
    settings = load_settings(config, data=tmp_path / "data")
    load_keys(settings.data, create=True)
    return settings


def filled(settings: Settings) -> None:
    with open_stores(settings, load_keys(settings.data, create=True)) as stores:
        queue: Requests = stores.requests
        queue.put([Request(Embedded(prompt(n)), ("embedding",)) for n in range(3)])
        stores.parking.park("graph", [(record("graph", n), "down") for n in range(4)])


def test_enrich_tells_what_waits_and_what_it_waits_for(
    settings: Settings, served: list[int]
) -> None:
    filled(settings)
    world, stop = World(), threading.Event()
    world.share = 1.0
    thread = threading.Thread(
        target=lambda: enrich(settings, follow=True, stop=stop, services=world, port=0)
    )
    thread.start()
    try:
        until(lambda: served)

        def health() -> Any:
            return json.loads(get(served[0], "health")[1])

        until(lambda: health()["troubles"] and health()["backlog"])
        assert health()["backlog"] == {"enrichment": 3}
        assert "lacking" in health()["troubles"].values()
        assert get(served[0], "ready")[0] == 200
        world.share = 0.0
        until(lambda: health()["backlog"] == {"enrichment": 0})
        assert health()["done"]["enrichment"]["completed"] == 3
        text = get(served[0], "metrics")[1].decode()
        assert "llm_memory_graph_enrichment_backlog 0.0" in text
        done = 'llm_memory_graph_drained_total{queue="enrichment",status="completed"} 3.0'
        assert done in text
    finally:
        stop.set()
        thread.join()


def test_reconcile_tells_of_every_store(settings: Settings, served: list[int]) -> None:
    filled(settings)
    with open_stores(settings, load_keys(settings.data, create=False)) as stores:
        lanes = Lanes(stores, ("graph", "search"), FOLLOW)
        with told(settings, watched_of(lanes, stores), 0):
            lanes.start()

            def health() -> Any:
                return json.loads(get(served[0], "health")[1])

            until(lambda: health()["done"]["graph"]["written"] == 4)
            until(lambda: health()["backlog"] == {"graph": 0, "search": 0})
            until(lambda: health()["status"] == "ok")
            assert get(served[0], "ready")[0] == 200
            text = get(served[0], "metrics")[1].decode()
            assert 'llm_memory_graph_reconciliation_backlog{store="graph"} 0.0' in text
            assert "llm_memory_graph_alive 1.0" in text
            lanes.stop()
            lanes.join()


def test_a_port_that_is_taken_is_an_error_of_use(settings: Settings) -> None:
    taken = Pages("127.0.0.1", 0, {})
    try:
        with pytest.raises(UserError, match="in use"):
            enrich(settings, services=World(), port=taken.port)
    finally:
        taken.close()
