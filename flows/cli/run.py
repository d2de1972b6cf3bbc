"""``run``: the worker, with a live display on a terminal and plain lines elsewhere."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.options import AsJson, Config, Data

if TYPE_CHECKING:
    from flows.stats import RunSummary


def run(
    log_dir: Annotated[
        Path | None, typer.Option("--from", help="Folder of the event log; else <data>/log.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Wait for new events until stopped (SIGTERM, Ctrl-C).")
    ] = False,
    metrics_port: Annotated[
        int | None, typer.Option("--metrics-port", help="Serve /metrics on this loopback port.")
    ] = None,
    accept_gap: Annotated[
        bool,
        typer.Option(
            "--accept-gap", help="Go on behind offsets that Kafka no longer has; they are lost."
        ),
    ] = False,
    as_json: AsJson = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Read the event log into the stores: to its end, or on and on with --follow."""
    from flows.cli.output import console, print_json
    from flows.logs import configure
    from flows.settings import load_settings
    from flows.views.live import Lines, Live
    from flows.views.summary import summary_json, summary_tables
    from flows.worker import run as run_worker

    terminal = sys.stderr.isatty() and not as_json
    configure(logging.WARNING if terminal else logging.INFO)
    settings = load_settings(config, data=data, log_dir=log_dir, metrics_port=metrics_port)
    summary: RunSummary
    if terminal:
        with Live() as live:
            summary = run_worker(
                settings, follow=follow, display=live, accept_gap=accept_gap
            )
    else:
        summary = run_worker(
            settings, follow=follow, display=Lines(), accept_gap=accept_gap
        )
    if as_json:
        print_json(summary_json(summary))
        return
    out = console()
    for shown in summary_tables(summary):
        out.print(shown)
        out.print()
