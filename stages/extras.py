"""Parts whose library is an extra: imported only where the settings name them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from schemas.failures import UserError


def load(module: str, name: str, extra: str = "services") -> Any:
    """Something of a module. Raises UserError where its library is not installed."""
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        if missing in ("stages", "schemas"):
            raise
        raise UserError(
            f"The settings need the package {missing}, which is not installed. "
            f"Install it with: pip install 'llm-memory-graph[{extra}]'"
        ) from None
