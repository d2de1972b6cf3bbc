"""``graph``: hash and export of the whole graph."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import AsJson, Config, Data, existing, load
from flows.cli.output import console, print_json, table

app = typer.Typer(help="The graph as a whole.", no_args_is_help=True)


class Format(StrEnum):
    """What a graph is exported as."""

    graphml = "graphml"
    json = "json"


@app.command("hash")
def graph_hash(as_json: AsJson = False, config: Config = None, data: Data = None) -> None:
    """Print the SHA-256 of the graph's canonical form.

    The same events give the same hash, whatever their order, their duplicates and the crashes on
    the way; origins, versions, run times and vectors are no part of it.
    """
    from flows.stores import opened_views
    from flows.views.export import hash_of

    with opened_views(existing(load(config, data))) as stores, stores.snapshot():
        digest = hash_of(stores.graph)
        nodes, edges = stores.graph.counts()
    if as_json:
        print_json({"hash": digest, "nodes": nodes, "edges": edges})
    else:
        typer.echo(f"{digest}  {sum(nodes.values()):,} nodes, {sum(edges.values()):,} edges")


@app.command()
def counts(as_json: AsJson = False, config: Config = None, data: Data = None) -> None:
    """Count nodes by label and edges by type."""
    from flows.stores import opened_views

    with opened_views(existing(load(config, data))) as stores:
        nodes, edges = stores.graph.counts()
    if as_json:
        print_json({"nodes": nodes, "edges": edges})
        return
    rows = [("node", *item) for item in sorted(nodes.items())]
    rows += [("edge", *item) for item in sorted(edges.items())]
    console().print(table("", ("what", "name", "count"), rows))


@app.command()
def export(
    form: Annotated[Format, typer.Option("--format", help="GraphML or JSON.")] = Format.graphml,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write; none: stdout.")
    ] = None,
    config: Config = None,
    data: Data = None,
) -> None:
    """Export the graph as GraphML (yEd, Gephi, networkx) or as JSON lines."""
    from flows.stores import opened_views
    from flows.views.export import write_graphml, write_json

    write = write_graphml if form is Format.graphml else write_json
    with opened_views(existing(load(config, data))) as stores, stores.snapshot():
        if output is None:
            write(stores.graph, sys.stdout.buffer)
            return
        with output.open("wb") as file:
            write(stores.graph, file)
    typer.echo(f"{output}: {output.stat().st_size:,} bytes", err=True)
