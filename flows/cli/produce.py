"""``produce``: put bare events into Kafka."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.log import Clock, inputs, show_refused
from flows.cli.options import AsJson, Config, load
from flows.cli.output import print_json
from schemas.failures import UserError


def produce(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Files of one JSON event a line; none: stdin.")
    ] = None,
    topic: Annotated[
        str | None, typer.Option("--topic", help="Put every line into this topic.")
    ] = None,
    timestamp: Annotated[
        Clock, typer.Option("--timestamp", help="The log timestamp: the event's own, or now.")
    ] = Clock.event,
    source: Annotated[
        str, typer.Option("--source", help="What the header source says.")
    ] = "memory-graph",
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Send events to Kafka, each to the topic its shape names, keyed by its session.

    Ends when every record is acknowledged by all replicas. Exit code 2 when a line was refused or a
    record was not acknowledged.
    """
    from flows.kafka.produce import produce_events

    kafka = load(config, None).kafka
    report = []
    refused = 0
    failed: Counter[str] = Counter()
    for name, lines in inputs(files):
        result = produce_events(kafka, lines, topic=topic, timestamp=timestamp.value, source=source)
        refused += len(result.refused)
        failed.update(result.failed)
        report.append(
            {
                "file": name,
                "produced": result.topics,
                "refused": result.refused,
                "failed": result.failed,
                "expiring": result.expiring,
            }
        )
        if result.expiring:
            typer.echo(
                f"{name}: {result.expiring} events are older than their topic keeps records: Kafka "
                "may remove them before they are read. Give the topics a longer retention.ms.",
                err=True,
            )
        if not as_json:
            show_refused(name, result.refused)
            for found, count in sorted(result.topics.items()):
                typer.echo(f"{count:6,} events from {name} to {found}")
    if as_json:
        print_json(report)
    if failed:
        reasons = ", ".join(f"{code} {count}" for code, count in sorted(failed.items()))
        raise UserError(f"{failed.total()} events were not acknowledged ({reasons}).")
    if refused:
        raise UserError(f"{refused} lines were refused; all others are in Kafka.")
