"""``status``: where a data folder stands, without touching it."""

from __future__ import annotations

import typer

from flows.cli.options import AsJson, Config, Data, existing, load
from flows.cli.output import console, print_json, table


def status(as_json: AsJson = False, config: Config = None, data: Data = None) -> None:
    """Show offsets and lag of every partition, every branch's backlog, alerts and what is stuck."""
    from flows.views.status import status_of

    settings = load(config, data)
    existing(settings)
    found = status_of(settings)
    if as_json:
        print_json(found)
        return
    out = console()
    out.print(f"Worker: {found.says}")
    for alert in found.alerts:
        out.print(f"[bold red]Alert: {alert}[/]")
    rows = [(p.partition, p.committed, p.end, p.lag, p.waits_for) for p in found.partitions]
    columns = ("partition", "committed", "end", "lag", "waits for")
    out.print(table("Partitions", columns, rows))
    out.print(table("Stores", ("store", "records", "to reconcile"), found.stores))
    letters = [(code, n) for code, n in sorted(found.dead_letters.items())]
    if letters:
        out.print(table("Open dead letters", ("reason", "events"), letters))
    if found.waiting is not None and found.orphans is not None:
        out.print(
            f"Responses waiting for their prompt: {found.waiting:,}; without it: {found.orphans:,}"
        )
    if found.lacking:
        out.print(f"Events to be completed by 'memory-graph enrich': {found.lacking:,}")
    if any(p.lag for p in found.partitions) and not found.worker:
        typer.echo("Events are waiting and no worker runs: start 'memory-graph run'.", err=True)
