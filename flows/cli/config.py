"""``config``: show the settings in force, check a file, print the reference."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import AsJson, Config, Data, load
from flows.cli.output import print_json

app = typer.Typer(help="Show, check and explain the settings.", no_args_is_help=True)


@app.command()
def show(config: Config = None, data: Data = None, as_json: AsJson = False) -> None:
    """Print every setting with its value and where the value comes from."""
    from flows.configuration import in_force, toml_text

    values = in_force(load(config, data), config)
    print_json(values) if as_json else typer.echo(toml_text(values))


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="The TOML file to check.")],
) -> None:
    """Check a settings file without starting anything; exit code 2 names what is wrong."""
    load(file, None)
    typer.echo(f"{file} is valid.")


@app.command()
def reference() -> None:
    """Print the configuration reference (docs/configuration.md) as Markdown."""
    from flows.configuration import reference_markdown

    typer.echo(reference_markdown(), nl=False)
