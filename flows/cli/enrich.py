"""``enrich``: completes the events that went on without something."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from flows.cli.options import AsJson, Config, Data, MetricsPort, existing, load
from flows.cli.output import console, print_json, table


def enrich(
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on until the process is stopped.")
    ] = False,
    forgotten: Annotated[
        bool,
        typer.Option(
            "--forgotten",
            help="First complete the responses whose prompts came when the join store had "
            "forgotten them, from the graph and the log.",
        ),
    ] = False,
    metrics_port: MetricsPort = None,
    as_json: AsJson = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Complete the events that went on without a vector, a tenant or a price.

    For after the embedder, the directory or the registry was down, and for vectors with
    `[embed] mode = "deferred"`. Works beside a running worker.
    """
    from flows.enrich import enrich as run_enrich
    from flows.logs import configure

    settings = load(config, data)
    existing(settings)
    configure(logging.INFO if follow else logging.WARNING)
    result = run_enrich(settings, follow=follow, forgotten=forgotten, port=metrics_port)
    if as_json:
        print_json(result)
        return
    rows = [("completed", result.completed), ("improved", result.improved), ("left", result.left)]
    if forgotten:
        rows += [("met their prompts", result.forgotten), ("not in the log", result.expired)]
    rows += [(f"lacking {what}", count) for what, count in sorted(result.lacks.items())]
    rows += [(name, count) for name, count in sorted(result.usage.items()) if count]
    console().print(table("Enriched", ("", "events"), rows))
