"""``log append``: put bare events into the event log."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.options import AsJson, Config, Data, load
from flows.cli.output import print_json
from schemas.failures import UserError

if TYPE_CHECKING:
    from flows.filelog.routing import RefusedLine

app = typer.Typer(help="The event log in files.", no_args_is_help=True)

_SHOWN = 20


class Clock(StrEnum):
    """Where the log timestamp comes from."""

    event = "event"
    now = "now"


@app.callback()
def _log() -> None:
    """The event log in files."""


@app.command()
def append(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Files of one JSON event a line; none: stdin.")
    ] = None,
    topic: Annotated[
        str | None, typer.Option("--topic", help="Put every line into this topic.")
    ] = None,
    timestamp: Annotated[
        Clock, typer.Option("--timestamp", help="The log timestamp: the event's own, or now.")
    ] = Clock.event,
    as_json: AsJson = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Append events to the log, each to the topic its shape names.

    A line that fits no topic is refused with its number, unless --topic says where it goes. Exit
    code 2 when any line was refused.
    """
    from flows.filelog import append_events

    log_dir = load(config, data).log_dir
    refused = 0
    report = []
    for name, lines in inputs(files):
        result = append_events(lines, log_dir, topic=topic, timestamp=timestamp.value)
        refused += len(result.refused)
        report.append({"file": name, "appended": result.topics, "refused": result.refused})
        if not as_json:
            show_refused(name, result.refused)
            for found, count in sorted(result.topics.items()):
                typer.echo(f"{count:6,} events from {name} to {found}")
    if as_json:
        print_json(report)
    if refused:
        raise UserError(
            f"{refused} lines were refused; all others are in the log. "
            "With --topic they go there as they are, and the worker makes dead letters of them."
        )


def show_refused(name: str, refused: Sequence[RefusedLine]) -> None:
    """The first of the lines that were refused, on standard error."""
    for line in refused[:_SHOWN]:
        typer.echo(f"{name}, line {line.number}: refused, {line.reason}", err=True)
    if len(refused) > _SHOWN:
        typer.echo(f"{name}: and {len(refused) - _SHOWN} more", err=True)


def inputs(files: list[Path] | None) -> Iterable[tuple[str, Iterable[bytes]]]:
    """The files by name, or standard input; each is open while its turn lasts."""
    if not files:
        yield "standard input", sys.stdin.buffer
        return
    for file in files:
        try:
            opened = file.open("rb")
        except OSError as error:
            raise UserError(f"{file} cannot be read ({error.strerror}).") from None
        with opened:
            yield str(file), opened
