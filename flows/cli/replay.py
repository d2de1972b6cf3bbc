"""``replay``: read a range of the log in Kafka again."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from flows.cli.options import AsJson, Config, Data, load
from flows.cli.output import console, print_json
from schemas.failures import UserError


def replay(
    start: Annotated[
        str,
        typer.Option(
            "--from", help="A time (2026-01-31T12:00:00Z), or TOPIC:PARTITION=OFFSET,… to begin at."
        ),
    ],
    end: Annotated[
        str | None,
        typer.Option("--to", help="Where to stop, likewise; else where the log ends now."),
    ] = None,
    topics: Annotated[
        list[str] | None, typer.Option("--topic", help="Only this topic; may be given again.")
    ] = None,
    as_json: AsJson = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Read a range of the log again, into the stores of the settings.

    The worker's own offsets stay where they are: the range is read under a group of its own, which
    is deleted afterwards. What the stores hold already does not change. To fill other stores, give
    their settings with --config; where a worker runs in the data folder, give another with --data.
    """
    from flows.kafka.replay import parse_mark, replaying
    from flows.logs import configure
    from flows.views.live import Lines
    from flows.views.summary import summary_json, summary_tables
    from flows.worker import run

    settings = load(config, data)
    if settings.backends.log != "kafka":
        raise UserError('replay is for a log in Kafka: set backends.log = "kafka".')
    first, last = parse_mark(start), None if end is None else parse_mark(end)
    configure(logging.INFO)
    chosen = {"topics": tuple(topics)} if topics else {}
    with replaying(settings.kafka, first, last, **chosen) as (kafka, span):
        changed = settings.model_copy(update={"kafka": kafka})
        summary = run(changed, follow=False, display=Lines(), span=span)
    if as_json:
        print_json(summary_json(summary))
        return
    for shown in summary_tables(summary):
        console().print(shown)
