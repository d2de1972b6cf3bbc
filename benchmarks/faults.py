"""The long runs of ``make server-faults`` as a table; they are tests, and nothing is measured here.

``tests/faults/results.py`` writes what became of each scenario to ``results/faults.json``.
"""

from __future__ import annotations

import re
from typing import Any

PAIR = re.compile(r"\[(\w+)-(\w+)\]$")
KNOWN = ("scenario", "seed", "events", "seconds", "outcome", "date", "commit", "changed_files")


def table(result: dict[str, Any]) -> str:
    """Seconds that each server's faults took from the first event to the proof, in Markdown; then
    the scenarios without a server of their own."""
    pairs: dict[str, dict[str, str]] = {}
    others = ["| scenario | events | | outcome |", "|---|---|---|---|"]
    for row in result["scenarios"]:
        found = PAIR.search(row["scenario"])
        outcome = f"{row['seconds']:.0f} s" if row["outcome"] == "passed" else row["outcome"]
        if found:
            pairs.setdefault(found[1], {})[found[2]] = outcome
            continue
        name = row["scenario"].removeprefix("test_").replace("_", " ")
        told = ", ".join(f"{key}: {value}" for key, value in row.items() if key not in KNOWN)
        others.append(f"| {name} | {row['events']:,} | {told} | {outcome} |")
    faults = list(dict.fromkeys(fault for row in pairs.values() for fault in row))
    lines = [f"| | {' | '.join(faults)} |", f"|---|{'---|' * len(faults)}"]
    for kind, row in pairs.items():
        lines.append(f"| {kind} | {' | '.join(row.get(fault, '') for fault in faults)} |")
    return "\n".join([*(lines if pairs else ()), *([""] if pairs else ()), *others])
