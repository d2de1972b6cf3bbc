"""Options that several commands share, and how a command gets at its settings and stores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.failures import UserError

if TYPE_CHECKING:
    from flows.settings import Settings

Config = Annotated[
    Path | None,
    typer.Option("--config", help="The TOML file with the settings.", envvar="MEMORY_GRAPH_CONFIG"),
]
Data = Annotated[
    Path | None,
    typer.Option("--data", help="The data folder; overrides the one in the settings."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many results.")]
Tenant = Annotated[str | None, typer.Option("--tenant", help="Only this tenant.")]
ModelName = Annotated[str | None, typer.Option("--model", help="Only this model.")]

MetricsPort = Annotated[
    int | None,
    typer.Option(
        "--metrics-port", help="Serve /health, /ready and /metrics on this port meanwhile."
    ),
]


def load(config: Path | None, data: Path | None) -> Settings:
    """The settings of this call; raises UserError with the place of what is wrong in them."""
    from flows.settings import load_settings

    return load_settings(config, data=data)


def existing(settings: Settings) -> Settings:
    """The settings; what they call embedded must exist: a command that only reads never makes it.
    Raises UserError."""
    path = settings.database_path
    if settings.embedded and not path.exists():
        raise UserError(
            f"There is no memory graph in {path.parent}: {path.name} is not there. "
            "Fill one with 'memory-graph run', or name its folder with --data."
        )
    return settings
