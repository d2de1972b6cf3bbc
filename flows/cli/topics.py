"""``topics``: make the topics of an installation, and look at them."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli.options import AsJson, Config, load
from flows.cli.output import console, print_json, table

app = typer.Typer(help="The topics in Kafka.", no_args_is_help=True)


@app.callback()
def _topics() -> None:
    """The topics in Kafka."""


@app.command()
def create(
    replication: Annotated[
        int, typer.Option("--replication", min=1, help="Copies of every partition.")
    ] = 3,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Make the topics that are missing; what exists is compared and left as it is."""
    from sinks.kafka.topics import create_topics

    done = create_topics(load(config, None).kafka, replication)
    if as_json:
        print_json(done)
        return
    for one in done:
        typer.echo(f"{one.status:8} {one.topic}")
        for key, found, wanted in one.differs:
            typer.echo(f"         {key} is {found}, specified is {wanted}")


@app.command("list")
def list_(as_json: AsJson = False, config: Config = None) -> None:
    """Show every partition of the event log: its offsets, and how far the group has read."""
    from flows.kafka import GroupOffsets

    offsets = GroupOffsets(load(config, None).kafka)
    try:
        starts, ends, committed = offsets.starts(), offsets.ends(), offsets.load()
    finally:
        offsets.close()
    rows = []
    for partition, end in ends.items():
        place = committed.get(partition)
        start = starts[partition]
        done = None if place is None else place.offset
        lag = max(0, end - (start if done is None else done))
        rows.append((partition.topic, partition.number, start, end, done, lag))
    columns = ("topic", "partition", "start", "end", "committed", "lag")
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        console().print(table("", columns, rows))


@app.command()
def purge(as_json: AsJson = False, config: Config = None) -> None:
    """Remove from the queues what every group has settled: what it held of erased events, too.

    Nothing that still waits is removed. Dead letters stay.
    """
    from sinks.kafka.purge import purge as run_purge

    done = run_purge(load(config, None).kafka.queues)
    if as_json:
        print_json(done)
        return
    rows = [(t, p.removed, p.left, ", ".join(p.behind) or "–") for t, p in done.items()]
    console().print(table("", ("queue", "removed", "left", "groups that are behind"), rows))
