"""``dlq``: what could not pass. ``reconcile``: what a store could not take."""

from __future__ import annotations

import base64
import logging
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.options import AsJson, Config, Data, Limit, MetricsPort, existing, load
from flows.cli.output import console, escape, print_json, table
from schemas.failures import UserError

if TYPE_CHECKING:
    from flows.settings import Settings
    from schemas.log import Original

app = typer.Typer(help="Dead letters: events that could not pass.", no_args_is_help=True)


@app.command("list")
def list_letters(
    code: Annotated[str | None, typer.Option("--code", help="Only this reason.")] = None,
    stage: Annotated[str | None, typer.Option("--stage", help="Only from this stage.")] = None,
    topic: Annotated[str | None, typer.Option("--topic", help="Only of this topic.")] = None,
    resolved: Annotated[
        bool, typer.Option("--resolved", help="The resolved ones instead of the open ones.")
    ] = False,
    after: Annotated[int, typer.Option("--after", help="Continue behind this number.")] = 0,
    limit: Limit = 50,
    as_json: AsJson = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """List dead letters: reason, place and origin, never the payload."""
    from flows.stores import opened_letters

    settings = load(config, data)
    existing(settings)
    with opened_letters(settings) as letters:
        found = letters.list(
            code=code, stage=stage, topic=topic, resolved=resolved, after=after, limit=limit
        )
        total = letters.count(resolved=resolved)
    if as_json:
        print_json(found)
        return
    rows = [
        (x.sequence, x.stage, x.code, x.path, x.expected or "–",
         f"{x.origin.topic}:{x.origin.partition}@{x.origin.offset}", x.retries)
        for x in found
    ]  # fmt: skip
    columns = ("number", "stage", "reason", "where", "expected", "origin", "retries")
    out = console()
    out.print(table("", columns, rows))
    out.print(f"{len(found)} of {total} {'resolved' if resolved else 'open'} dead letters")


@app.command("show")
def show_letter(
    number: Annotated[int, typer.Argument(help="Its number in the list.")],
    payload: Annotated[
        bool, typer.Option("--payload", help="Also print what was sent: it may be personal data.")
    ] = False,
    as_json: AsJson = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Show one dead letter; what was sent stays sealed unless --payload asks for it."""
    from flows.stores import opened_letters
    from schemas.queues import Refused

    settings = load(config, data)
    existing(settings)
    with opened_letters(settings) as letters:
        letter = letters.get(number)
        if letter is None:
            raise UserError(
                f"There is no dead letter {number}. 'memory-graph dlq list' shows them."
            )
        outcomes = [text for _, text in letters.outcomes(number)]
        sealed = letters.open(number) if payload else None
    sent: dict[str, object] = {}
    if isinstance(sealed, Refused):
        sent = {"store": sealed.store, "record": sealed.record}
    elif sealed is not None:
        sent = _opened(sealed)
    if as_json:
        print_json({"letter": letter, "outcomes": outcomes, "payload": sent or None})
        return
    facts: list[tuple[str, object]] = [
        ("number", str(letter.sequence)),
        ("kind", letter.kind),
        ("stage", letter.stage),
        ("reason", letter.code),
        ("where", letter.path),
        ("expected", letter.expected or None),
        ("topic", letter.origin.topic),
        ("partition", str(letter.origin.partition)),
        ("offset", str(letter.origin.offset)),
        ("log timestamp", str(letter.origin.timestamp)),
        ("event", letter.event_id),
        ("store", letter.store),
        ("outcomes", ", ".join(outcomes) or "open"),
    ]
    out = console()
    out.print(table("", ("", ""), [f for f in facts if f[1] is not None]))
    for name, value in sent.items():
        out.print(f"[bold]{name}[/]: {escape(str(value))}")


def _opened(sealed: Original) -> dict[str, object]:
    """Key, headers and value; text where it is UTF-8, else base64."""
    key, headers, value = sealed.open()
    return {
        "key": None if key is None else _readable(key),
        "headers": {name: _readable(content) for name, content in headers},
        "value": _readable(value),
    }


def _readable(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return "base64:" + base64.b64encode(content).decode()


@app.command()
def retry(
    numbers: Annotated[list[int] | None, typer.Argument(help="Their numbers; none: all.")] = None,
    code: Annotated[str | None, typer.Option("--code", help="Only this reason.")] = None,
    as_json: AsJson = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Run dead letters through the stages again, under their original origin.

    For after a fix: a newer version, another limit in the settings. Nothing goes to the log.
    """
    from flows.retry import retry_letters

    settings = load(config, data)
    existing(settings)
    result = retry_letters(settings, numbers=numbers or None, code=code)
    if as_json:
        print_json(result)
        return
    out = console()
    rows = [(name, count) for name, count in sorted(result.outcomes.items())]
    out.print(table("Retried dead letters", ("outcome", "events"), rows))


def reconcile(
    store: Annotated[
        list[str] | None,
        typer.Option("--store", help="Only this store: graph, vector, timeseries or search."),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Wait for new records until stopped (SIGTERM, Ctrl-C).")
    ] = False,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Also mend the stores: points that others overwrote."),
    ] = False,
    metrics_port: MetricsPort = None,
    as_json: AsJson = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Write the records that a store could not take when they came."""
    from flows.logs import configure
    from flows.reconcile import FOLLOW, ONCE
    from flows.reconcile import reconcile as run_reconcile
    from schemas.records import STORES

    only = [name for name in STORES if name in (store or STORES)]
    unknown = set(store or ()) - set(STORES)
    if unknown:
        raise UserError(f"There is no store {min(unknown)}. Expected one of: {', '.join(STORES)}.")
    settings = load(config, data)
    existing(settings)
    configure(logging.INFO if follow else logging.WARNING)
    if repair:
        _repair(settings)
    result = run_reconcile(settings, only, FOLLOW if follow else ONCE, port=metrics_port)
    if as_json:
        print_json(result)
        return
    rows = [
        (s, r.written, r.rejected, r.left, ", ".join(r.codes) if r.left else "–")
        for s, r in result.items()
    ]
    out = console()
    columns = ("store", "written", "refused for good", "left", "why")
    out.print(table("Reconciled", columns, rows))


def _repair(settings: Settings) -> None:
    from flows.backends import Repairs
    from flows.stores import opened_servers

    with opened_servers(settings) as servers:
        for server in servers.values():
            if isinstance(server, Repairs):
                for line in server.repair():
                    typer.echo(line, err=True)
