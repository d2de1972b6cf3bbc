"""A member of a supervised group without a log: it says how it is, and ends as it was told to.

``python -m tests.flows.member NUMBER DATA``; what each start does stands in ``<data>/plan-NUMBER``,
a line a start (the last line again and again): ``run``, ``exit CODE``, ``stuck``, ``deaf`` (to
SIGTERM), ``die`` (killed with events 3 to 5 in a stage), ``die FIRST LAST``.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

from flows.control import Control
from flows.health import Health, assess, health_pages, write_health
from flows.httpserver import Pages
from flows.ingest import STAGES
from flows.journal import Journal
from flows.member import member_folder, suspects_file, watch_parent
from flows.metrics import Metrics
from flows.stats import RunStats
from schemas.log import Partition


def main() -> int:
    number, data = int(sys.argv[1]), Path(sys.argv[2])
    folder = member_folder(data, number)
    step, _, rest = next_step(data, folder, number).partition(" ")
    stop = threading.Event()
    if step == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
    watch_parent()
    if step == "exit":
        return int(rest)
    journal = Journal(folder / "inflight", STAGES, suspects_file(data))
    journal.learn({})
    if step == "die":
        first, last = map(int, (rest or "3 5").split())
        journal.enter(3, Partition("llm.prompts.v1", 0), first, last)
        os.kill(os.getpid(), signal.SIGKILL)
    control, metrics = Control(), Metrics(STAGES)
    control.assigned = number
    control.beat()
    metrics.backlog({"graph": 10 * number})
    metrics.unclaimed(number)

    def health() -> Health:
        limit = -1.0 if step == "stuck" else 60.0
        return assess(control, RunStats().summary(), limit=limit, port=server.port)

    server = Pages("127.0.0.1", 0, health_pages(health, metrics.page(health)))
    write_health(folder, health())
    while not stop.wait(0.05):
        control.beat()
        if step == "deaf":
            time.sleep(0.05)
    journal.close()
    return 0


def next_step(data: Path, folder: Path, number: int) -> str:
    """The line of the plan that this start is to do."""
    plan = data / f"plan-{number}"
    lines = plan.read_text().splitlines() if plan.exists() else ["run"]
    done = folder / "starts"
    starts = int(done.read_text()) if done.exists() else 0
    done.write_text(str(starts + 1))
    return lines[min(starts, len(lines) - 1)]


if __name__ == "__main__":
    sys.exit(main())
