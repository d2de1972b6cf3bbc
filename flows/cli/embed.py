"""``embed``: what belongs to the model of the vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import Config, load
from schemas.failures import UserError

app = typer.Typer(help="The model that makes the vectors.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """The model that makes the vectors."""


@app.command()
def fit(
    texts: Annotated[Path, typer.Argument(help="A sample: a UTF-8 file with a text a line.")],
    dimensions: Annotated[int, typer.Option("--dimensions", "-d", help="How many to keep.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the projection goes.")],
    config: Config = None,
) -> None:
    """Fit a projection to fewer dimensions on a sample, for `[embed] projection`.

    Embeds the sample with the configured model. Vectors of two fits never mix: the projection's
    version is part of the model's name.
    """
    from flows.services import fit_projection

    try:
        lines = texts.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise UserError(f"{texts} cannot be read as a file of UTF-8 text.") from None
    projection = fit_projection(load(config, None), lines, dimensions)
    projection.save(output)
    typer.echo(
        f"{output}: {projection.source} to {projection.dimensions} dimensions, version "
        f"{projection.version}, {100 * projection.kept:.1f} % of the variance kept"
    )
