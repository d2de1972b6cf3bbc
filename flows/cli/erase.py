"""``erase``: removes events for good."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli.options import AsJson, Config, Data, existing, load
from flows.cli.output import print_json
from schemas.failures import UserError


def erase(
    events: Annotated[
        list[str] | None,
        typer.Argument(metavar="[EVENT]...", help="Events as kind/id: prompt/8a6e…, response/…"),
    ] = None,
    user: Annotated[
        str | None, typer.Option("--user", help="All events of this user, as events name him.")
    ] = None,
    as_json: AsJson = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Erase events from every store and queue, so that nothing brings them back.

    Not from the event log: what still stands there is read as erased. Safe to repeat.
    """
    from flows.erase import erase as run_erase
    from flows.erase import identities

    if not events and user is None:
        raise UserError("Name events as kind/id, or a user with --user.")
    settings = load(config, data)
    existing(settings)
    done = run_erase(settings, identities(events or ()), user)
    if as_json:
        print_json(done)
        return
    typer.echo(f"{done.events:,} events erased, {done.waiting:,} entries taken out of queues")
    if done.parked:
        typer.echo(
            f"{done.parked:,} records wait for the graph, some may be this user's: run "
            "'memory-graph reconcile', and erase again."
        )
    if settings.backends.queues == "kafka":
        typer.echo(
            "What waits of them in Kafka is sealed and will not be written. After the next pass of "
            "'memory-graph reconcile' and 'enrich', 'memory-graph topics purge' removes it."
        )
