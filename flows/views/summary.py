"""What a run did, as tables for people and as one object for machines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table

from flows.cli.output import table, usd
from flows.stats import RunSummary
from schemas.records import STORES

STORE_NAMES = {
    "graph": "graph",
    "vector": "vectors",
    "timeseries": "time series",
    "search": "search",
}


def summary_tables(summary: RunSummary) -> Iterator[Table]:
    """The closing tables; those that would be empty are left out."""
    yield table("This run", ("", ""), list(_facts(summary)))
    written = [
        (STORE_NAMES[store], *(summary.written.get(store, {}).get(s, 0) for s in _STATES))
        for store in STORES
    ]
    yield table("Records confirmed by store", ("store", *_STATES), written)
    if summary.rejected:
        rows = [(*key, count) for key, count in sorted(summary.rejected.items())]
        yield table("Rejected, now dead letters", ("stage", "reason", "events"), rows)
    if summary.findings:
        rows = [(*key, count) for key, count in sorted(summary.findings.items())]
        yield table("Personal data found", ("entity", "action", "found"), rows)
    if summary.usage:
        usage = [
            (u.tenant, u.model, u.responses, u.prompt_tokens, u.completion_tokens,
             usd(u.pico_usd) if u.unpriced < u.responses else "unpriced", u.unpriced)
            for u in summary.usage
        ]  # fmt: skip
        columns = ("tenant", "model", "responses", "tokens in", "tokens out", "cost", "unpriced")
        yield table("Tokens and cost", columns, usage)


_STATES = ("written", "parked", "rejected", "erased")


def _facts(summary: RunSummary) -> Iterator[tuple[str, object]]:
    yield "events in", f"{summary.events:,}"
    for topic, count in sorted(summary.topics.items()):
        yield f"  {topic}", f"{count:,}"
    yield "duplicates dropped", f"{summary.duplicates:,}"
    rejected = sum(summary.rejected.values())
    yield (
        "rejected",
        f"{rejected:,}" + (f"  (alert: {alert_text(summary)})" if summary.alert else ""),
    )
    if summary.orphans:
        yield "responses without their prompt", f"{summary.orphans:,}"
    if summary.lag is not None:
        yield "lag (records not yet committed)", f"{summary.lag:,}"
    yield "time", f"{summary.seconds:.1f} s"
    yield "rate", f"{summary.rate:,.0f} events/s"
    for what, code in sorted(summary.troubles.items()):
        yield f"not working: {what}", code
    if summary.stopped:
        yield "stopped", "on request; what was read is committed"


def alert_text(summary: RunSummary) -> str:
    """Why the alert stands."""
    return f"{summary.rejected_share:.1%} of the last events were rejected"


def summary_json(summary: RunSummary) -> dict[str, Any]:
    """The summary with keys that JSON has: pairs become lists of objects."""
    return {
        "events": summary.events,
        "topics": summary.topics,
        "duplicates": summary.duplicates,
        "rejected": [
            {"stage": stage, "code": code, "events": n}
            for (stage, code), n in sorted(summary.rejected.items())
        ],
        "personal_data": [
            {"entity": entity, "action": action, "found": n}
            for (entity, action), n in sorted(summary.findings.items())
        ],
        "written": summary.written,
        "usage": summary.usage,
        "orphans": summary.orphans,
        "lag": summary.lag,
        "alert": summary.alert,
        "rejected_share": summary.rejected_share,
        "troubles": summary.troubles,
        "stopped": summary.stopped,
        "seconds": round(summary.seconds, 3),
        "events_per_second": round(summary.rate, 1),
    }
