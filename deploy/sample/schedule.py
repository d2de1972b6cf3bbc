"""When things happen in the sample: arrivals of a production trace, spread over three mornings."""

from __future__ import annotations

import csv
import heapq
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

from deploy.sample.talks import CAST, Talk

_EVERY = 190


def read_arrivals(data: Path) -> list[timedelta]:
    """Every 190th arrival of ``traces/azure_llm_conv_2023.csv``, from the first one on."""
    with (data / "traces" / "azure_llm_conv_2023.csv").open(encoding="utf-8") as file:
        stamps = [row["TIMESTAMP"][:26] for row in csv.DictReader(file)][::_EVERY]
    times = [datetime.fromisoformat(stamp) for stamp in stamps]
    return [time - times[0] for time in times]


def schedule(data: Path, talks: list[Talk], dice: random.Random) -> list[list[datetime]]:
    """For each session the times of its prompts.

    Each arrival of the trace is the next turn of the session that has waited longest, or else the
    start of a session; a person reads and types for some time before each turn.
    """
    arrivals = read_arrivals(data)
    times: list[list[datetime]] = [[] for _ in talks]
    days = [datetime.fromisoformat(f"{day}T09:00:00").replace(tzinfo=UTC) for day in CAST["days"]]
    share = -(-len(talks) // len(days))
    for number, day in enumerate(days):
        waiting = list(range(number * share, min(len(talks), (number + 1) * share)))[::-1]
        ready: list[tuple[datetime, int]] = []
        rounds = 0
        while waiting or ready:
            for arrival in arrivals:
                now = day + rounds * timedelta(hours=1) + arrival
                if ready and ready[0][0] <= now:
                    _, talk = heapq.heappop(ready)
                elif waiting:
                    talk = waiting.pop()
                else:
                    continue
                times[talk].append(now)
                if len(times[talk]) < len(talks[talk].turns):
                    pause = timedelta(seconds=dice.uniform(25, 120))
                    heapq.heappush(ready, (now + pause, talk))
            rounds += 1
    return times
