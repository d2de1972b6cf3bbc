"""A server is killed under writers: what it acknowledged is there afterwards, and stays erased."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from schemas.ports import WRITTEN
from schemas.records import Record
from tests.conformance.records import content, record

WRITERS = 3
BATCH = 50


def kill_under_writers(server: Any, sink: Any, recovered: Callable[[], None]) -> None:
    """``recovered`` waits until the server, started again, can be asked."""
    confirmed: list[Record] = []
    enough = threading.Event()
    down = threading.Event()

    def work(writer: int) -> None:
        number = 10_000 * writer
        while not down.is_set():
            batch = [record(sink.store, number + n, 1 + n % 2) for n in range(BATCH)]
            results = sink.write(batch)
            confirmed.extend(
                r for r, result in zip(batch, results, strict=True) if result == WRITTEN
            )
            if len(confirmed) > 10 * BATCH:
                enough.set()
            number += BATCH
            if {result.status for result in results} == {"unavailable"}:
                return

    with ThreadPoolExecutor(WRITERS) as pool:
        writers = [pool.submit(work, writer) for writer in range(WRITERS)]
        assert enough.wait(60)
        erased = [r.stamp.record_id for r in confirmed[:20]]
        assert {result.status for result in sink.delete(erased)} == {"erased"}
        server.kill()
        down.set()
        for writer in writers:
            writer.result()
    server.restart()
    recovered()
    found = sink.fetch([r.stamp.record_id for r in confirmed])
    wanted = {r.stamp.record_id: content(r) for r in confirmed if r.stamp.record_id not in erased}
    lost = wanted.keys() - found.keys()
    assert not lost, f"{len(lost)} of {len(wanted)}: {sorted(lost)[:5]}"
    assert {identity: held.content for identity, held in found.items()} == wanted
    assert sink.erased(erased) == frozenset(erased)
