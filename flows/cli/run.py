"""``run``: the worker, with a live display on a terminal and plain lines elsewhere."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.options import AsJson, Config, Data

if TYPE_CHECKING:
    from flows.settings import Settings
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
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, max=64, help="Run so many workers and keep them running."),
    ] = None,
    member: Annotated[int | None, typer.Option("--member", hidden=True)] = None,
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

    terminal = sys.stderr.isatty() and not as_json and workers is None and member is None
    configure(logging.WARNING if terminal else logging.INFO, worker=member)
    settings = load_settings(config, data=data, log_dir=log_dir, metrics_port=metrics_port)
    if workers is not None:
        raise typer.Exit(_supervise(settings, workers, follow, accept_gap, config, data))
    if member is not None:
        from flows.member import member_settings, watch_parent

        watch_parent()
        run_worker(
            member_settings(settings, member), follow=follow, accept_gap=accept_gap, member=member
        )
        return
    summary: RunSummary
    if terminal:
        with Live() as live:
            summary = run_worker(settings, follow=follow, display=live, accept_gap=accept_gap)
    else:
        summary = run_worker(settings, follow=follow, display=Lines(), accept_gap=accept_gap)
    if as_json:
        print_json(summary_json(summary))
        return
    out = console()
    for shown in summary_tables(summary):
        out.print(shown)
        out.print()


def _supervise(
    settings: Settings,
    workers: int,
    follow: bool,
    accept_gap: bool,
    config: Path | None,
    data: Path | None,
) -> int:
    from flows.member import member_command
    from flows.supervisor import check_settings, supervise

    check_settings(settings)
    options = {"--follow": follow, "--accept-gap": accept_gap}
    arguments = [name for name, chosen in options.items() if chosen]
    for name, path in (("--config", config), ("--data", data)):
        if path is not None:
            arguments += [name, str(path)]
    return supervise(settings, workers, member_command(arguments))
