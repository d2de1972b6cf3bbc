"""The ``memory-graph`` command: its sub-commands, and how errors become messages and exit codes."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from schemas.failures import UserError
from schemas.ports import Damaged, Unavailable

EXIT_CODES = """
Exit codes: 0 done; 1 a fault of ours (a traceback is shown); 2 wrong use or settings; 3 the data
folder is in use by another worker; 4 a store could not be written and the worker was stopped;
5 the store file is damaged; 6 'prove' found an offset that is not accounted for; 75 the worker
ended itself on an event that hung (start it again: the event will be isolated).
"""

ADDRESSES = {
    "kafka": "kafka.bootstrap_servers",
    "graph": "neo4j.uri",
    "vector": "pinecone.host",
    "timeseries": "influxdb.url",
    "search": "elasticsearch.urls",
    "claims": "redis.url",
    "joins": "redis.url",
    "cache": "redis.url",
    "registry": "lookup.registry_address",
    "directory": "lookup.directory_url",
    "embedder": "embed.base_url",
}
"""The setting that says where each server is."""
_UNHEARD = ("unreachable", "timed_out", "timeout")

app = typer.Typer(
    name="memory-graph",
    help="Turns the stream of LLM prompts, responses and sessions into a memory graph.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"llm-memory-graph {version('llm-memory-graph')}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Turns the stream of LLM prompts, responses and sessions into a memory graph."""


def _register() -> None:
    """Adds the sub-commands; each imports what it needs when it is called."""
    from flows.cli.config import app as config_app
    from flows.cli.dlq import app as dlq_app
    from flows.cli.dlq import reconcile
    from flows.cli.embed import app as embed_app
    from flows.cli.enrich import enrich
    from flows.cli.erase import erase
    from flows.cli.graph import app as graph_app
    from flows.cli.log import app as log_app
    from flows.cli.lookups import search, show_app, similar, usage
    from flows.cli.produce import produce
    from flows.cli.prove import prove
    from flows.cli.replay import replay
    from flows.cli.run import run
    from flows.cli.status import status
    from flows.cli.stores import app as stores_app
    from flows.cli.topics import app as topics_app

    app.add_typer(log_app, name="log")
    app.command()(run)
    app.command()(status)
    app.add_typer(show_app, name="show")
    app.command()(search)
    app.command()(similar)
    app.command()(usage)
    app.add_typer(graph_app, name="graph")
    app.add_typer(dlq_app, name="dlq")
    app.command()(reconcile)
    app.command()(enrich)
    app.command()(erase)
    app.add_typer(embed_app, name="embed")
    app.command()(prove)
    app.add_typer(stores_app, name="stores")
    app.add_typer(topics_app, name="topics")
    app.command()(produce)
    app.command()(replay)
    app.add_typer(config_app, name="config")


def main() -> None:
    """Entry point: prints our own errors in one line, without a traceback."""
    _register()
    try:
        app()
    except UserError as error:
        typer.echo(f"memory-graph: {error}", err=True)
        sys.exit(error.exit_code)
    except Damaged as error:
        typer.echo(f"memory-graph: {error}", err=True)
        sys.exit(5)
    except Unavailable as error:
        setting = ADDRESSES.get(error.what) if error.code in _UNHEARD else None
        hint = f" If it runs, is {setting} its address? 'memory-graph config show' tells."
        advice = f"Nothing was changed; try again later.{hint if setting else ''}"
        typer.echo(f"memory-graph: {error}. {advice}", err=True)
        sys.exit(4)
    except BrokenPipeError:
        sys.exit(0)


if __name__ == "__main__":
    main()
