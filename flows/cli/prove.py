"""``prove``: account for every offset of the log, by what the stores and queues hold."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from flows.cli.options import Config, Data, existing, load
from flows.cli.output import console, table
from schemas.events import TOPICS
from schemas.failures import UserError

if TYPE_CHECKING:
    from flows.prove import Report

EXIT_UNACCOUNTED = 6
SHOWN = 50
"""Exceptions that are printed; the JSON report lists all."""


def prove(
    topic: Annotated[
        list[str] | None, typer.Option("--topic", help="Only this topic; may be given again.")
    ] = None,
    first: Annotated[
        int | None,
        typer.Option("--from", min=0, help="First offset, of each partition; else its beginning."),
    ] = None,
    end: Annotated[
        int | None,
        typer.Option("--to", min=0, help="Offset to stop before, of each partition; else its end."),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All topics from their beginnings to their ends.")
    ] = False,
    deep: Annotated[
        bool,
        typer.Option("--deep", help="Derive every event again, and compare what comes out."),
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the whole report to this file.")
    ] = None,
    config: Config = None,
    data: Data = None,
) -> None:
    """Read the log again and show that every offset is accounted for.

    Exits with 6 when one is not: it is in no store that its event calls for, and in no queue.
    """
    from flows.prove import prove as run_prove
    from flows.prove.report import to_json

    if everything and (topic or first is not None or end is not None):
        raise UserError("--all goes without --topic, --from and --to.")
    if not everything and not topic and first is None and end is None:
        raise UserError("What is to be proved? Give --all, or --topic, --from and --to.")
    if first is not None and end is not None and end <= first:
        raise UserError("--to must be more than --from: it is the offset to stop before.")
    settings = existing(load(config, data))
    progress = _tell if sys.stderr.isatty() else None
    report = run_prove(
        settings,
        topics=tuple(topic) if topic else tuple(TOPICS),
        first=first,
        end=end,
        deep=deep,
        progress=progress,
        settle=settings.delivery.deadline_seconds + 1.0,
    )
    if json_file is not None:
        _write(json_file, to_json(report))
    _show(report, json_file)
    if not report.ok:
        raise typer.Exit(EXIT_UNACCOUNTED)


def _show(report: Report, json_file: Path | None) -> None:
    from flows.prove.report import State

    out = console()
    states = [state for state in get_args(State) if report.total(state)]
    rows = [
        (name, *(counts.get(state, 0) for state in states))
        for name, counts in sorted(report.states.items())
    ]
    out.print(table("Offsets by state", ("topic", *states), rows))
    codes = [
        (state, code, count)
        for state, found in sorted(report.codes.items())
        for code, count in sorted(found.items())
    ]
    if codes:
        out.print(table("Why", ("state", "code", "offsets"), codes))
    if report.deep:
        skipped = sum(report.not_compared.values())
        out.print(f"Derived again and equal: {report.compared:,}; not derivable: {skipped:,}.")
    if report.ok and not report.offsets:
        out.print("The log holds no offset of that range: nothing was proved.")
        return
    if report.ok:
        out.print(f"All {report.offsets:,} offsets are accounted for.")
        return
    found = [(f"{x.topic}:{x.partition}", x.offset, x.code) for x in report.exceptions[:SHOWN]]
    out.print(table("Not accounted for", ("partition", "offset", "code"), found))
    if report.unaccounted > len(found):
        where = f"see {json_file}" if json_file else "name a file with --json to list them"
        out.print(f"… and {report.unaccounted - len(found):,} more: {where}.")
    out.print(f"[bold red]{report.unaccounted:,} of {report.offsets:,} are not accounted for.[/]")


def _tell(report: Report) -> None:
    sys.stderr.write(f"\r{report.offsets:,} offsets, {report.unaccounted:,} not accounted for ")
    sys.stderr.flush()


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError:
        raise UserError(f"{path} cannot be written.") from None
