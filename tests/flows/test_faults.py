"""A file that cannot be written: reading stops, nothing is lost, work goes on afterwards."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows import worker
from flows.health import read_health
from flows.settings import Settings
from flows.stopping import EXIT_STOP_DEADLINE
from flows.stores import Stores
from schemas.ports import Unavailable
from tests.flows import tiny
from tests.flows.test_worker import contents, filled, lag, letters, run, until

COUNT = 400


def stop_run() -> None:
    """SIGTERM for the run in this process. Where it has ended by itself, pytest would die of it."""
    if callable(signal.getsignal(signal.SIGTERM)):
        os.kill(os.getpid(), signal.SIGTERM)


def beside(action: Callable[[], None]) -> Callable[[], None]:
    """Runs ``action`` in a thread; the answer waits for it and passes on what it raised, which also
    stops the run."""
    errors: list[BaseException] = []

    def guarded() -> None:
        try:
            action()
        except BaseException as error:
            errors.append(error)
            stop_run()

    thread = threading.Thread(target=guarded)
    thread.start()

    def wait() -> None:
        thread.join()
        if errors:
            raise errors[0]

    return wait


def troubled(data: Path) -> bool:
    health = read_health(data)
    return health is not None and bool(health.troubles)


def undisturbed(tmp_path: Path) -> tuple[Settings, list[dict[str, Any]]]:
    settings, events = filled(tmp_path / "undisturbed", COUNT)
    run(settings)
    return settings, events


def test_a_locked_file_stops_reading_until_it_is_free(tmp_path: Path) -> None:
    expected, events = undisturbed(tmp_path)
    settings, _ = filled(tmp_path / "locked", COUNT)
    section = settings.delivery.model_copy(update={"deadline_seconds": 0.1})
    settings = settings.model_copy(update={"delivery": section})
    built = threading.Event()
    held = threading.Event()

    def hold() -> None:
        assert built.wait(60)
        other = sqlite3.connect(settings.database_path, isolation_level=None, timeout=60)
        other.execute("BEGIN IMMEDIATE")
        held.set()
        until(lambda: troubled(settings.data))
        other.execute("ROLLBACK")
        other.close()

    def build(*parts: Any) -> Any:
        built.set()
        assert held.wait(60)
        return tiny.build(*parts)

    wait = beside(hold)
    summary = run(settings, build=build)
    wait()
    assert summary.lag == lag(settings) == 0
    assert summary.troubles == {}
    with_parked = _reconciled(settings)
    assert contents(with_parked, events) == contents(expected, events)
    assert letters(settings) == []


def test_a_full_file_stops_reading_until_there_is_room(tmp_path: Path) -> None:
    expected, events = undisturbed(tmp_path)
    settings, _ = filled(tmp_path / "full", COUNT)
    kept: list[Stores] = []

    def build(given: Settings, keys: Any, stores: Stores) -> Any:
        _limit_pages(stores, 20)
        kept.append(stores)
        return tiny.build(given, keys, stores)

    def make_room() -> None:
        until(lambda: troubled(settings.data))
        _limit_pages(kept[0], 1 << 30)

    wait = beside(make_room)
    summary = run(settings, build=build)
    wait()
    assert summary.lag == lag(settings) == 0
    assert contents(_reconciled(settings), events) == contents(expected, events)


def test_a_stop_while_the_file_is_full_ends_uncommitted_and_loses_nothing(tmp_path: Path) -> None:
    expected, events = undisturbed(tmp_path)
    settings, _ = filled(tmp_path / "full", COUNT)
    code = _stopped_while_full(settings)
    assert code == EXIT_STOP_DEADLINE
    run(settings)
    assert lag(settings) == 0
    assert contents(_reconciled(settings), events) == contents(expected, events)


def test_a_lost_join_is_read_again(tmp_path: Path) -> None:
    expected, events = undisturbed(tmp_path)
    settings, _ = filled(tmp_path / "lost", COUNT)

    def build(given: Settings, keys: Any, stores: Stores) -> Any:
        flush, faults = stores.joins.flush, [Unavailable("joins", "full")]

        def lossy() -> None:
            flush()
            if faults:
                _forget_joins(stores)
                raise faults.pop()

        stores.joins.flush = lossy  # type: ignore[method-assign]
        return tiny.build(given, keys, stores)

    summary = run(settings, build=build)
    assert summary.lag == 0
    assert summary.events > len(events)
    assert contents(settings, events) == contents(expected, events)


def _limit_pages(stores: Stores, pages: int) -> None:
    def job(connection: sqlite3.Connection) -> None:
        (now,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {max(now, pages) if pages < 99 else pages}")

    stores.folder.database.run("test", job)


def _forget_joins(stores: Stores) -> None:
    def job(connection: sqlite3.Connection) -> None:
        tables = connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'join%'"
        ).fetchall()
        assert tables
        for (name,) in tables:
            connection.execute(f"DELETE FROM {name}")

    stores.folder.database.run("test", job)


def _reconciled(settings: Settings) -> Settings:
    from flows.reconcile import reconcile

    assert all(drained.left == 0 for drained in reconcile(settings).values())
    return settings


def _stopped_while_full(settings: Settings) -> int:
    """The exit code of a child process that is stopped while its file is full."""
    pid = os.fork()
    if pid == 0:
        kept: list[Stores] = []

        def build(given: Settings, keys: Any, stores: Stores) -> Any:
            _limit_pages(stores, 20)
            kept.append(stores)
            return tiny.build(given, keys, stores)

        def stop() -> None:
            until(lambda: troubled(settings.data))
            os.kill(os.getpid(), signal.SIGTERM)

        section = settings.worker.model_copy(update={"stop_seconds": 0.5})
        threading.Thread(target=stop, daemon=True).start()
        try:
            worker.run(settings.model_copy(update={"worker": section}), build=build)
        except Unavailable:
            os._exit(EXIT_STOP_DEADLINE)
        finally:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture(autouse=True)
def _handlers() -> Any:
    """The handlers that a run sets are put back whatever happens."""
    before = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
