"""``stores``: make the servers ready, and look whether they are."""

from __future__ import annotations

import sys

import typer

from flows.cli.options import AsJson, Config, Data, load
from flows.cli.output import console, print_json, table

app = typer.Typer(help="The stores that are servers.", no_args_is_help=True)


@app.command()
def init(as_json: AsJson = False, config: Config = None, data: Data = None) -> None:
    """Make constraints, indexes, buckets and templates where they are missing; safe to repeat."""
    from flows.stores import opened_servers

    made: dict[str, list[str]] = {}
    with opened_servers(load(config, data)) as servers:
        for name, server in servers.items():
            made[name] = list(server.init())
    if as_json:
        print_json(made)
        return
    if not made:
        typer.echo("Every store is embedded: there is nothing to make.")
    for name, lines in made.items():
        for line in lines or ["was ready"]:
            typer.echo(line if line.startswith(name) else f"{name}: {line}")


@app.command()
def check(as_json: AsJson = False, config: Config = None, data: Data = None) -> None:
    """Look whether every server answers and is ready; the exit code is 1 when one is not."""
    from flows.stores import opened_servers
    from schemas.failures import UserError
    from schemas.ports import Unavailable

    found: list[tuple[str, str, int | None]] = []
    ready = True
    with opened_servers(load(config, data)) as servers:
        for name, server in servers.items():
            state, size = "ready", None
            try:
                server.check()
                size = server.size()
            except (UserError, Unavailable) as error:
                state, ready = str(error), False
            found.append((name, state, size))
    if as_json:
        print_json([{"store": n, "state": s, "bytes": b} for n, s, b in found])
    elif found:
        console().print(table("", ("store", "state", "bytes"), found))
    else:
        typer.echo("Every store is embedded: there is no server to ask.")
    if not ready:
        sys.exit(1)
