"""Stage 6: model, price, user and tenant are looked up; responses meet their prompts."""

from __future__ import annotations

from collections.abc import Callable

from schemas.ports import Directory, Registry
from stages.extras import load
from stages.lookup.directory import TomlDirectory
from stages.lookup.registry import TomlRegistry, shipped_models
from stages.lookup.settings import LookupSettings
from stages.lookup.stage import LookupStage
from stages.lookup.tomlfile import FileError

__all__ = [
    "FileError",
    "LookupSettings",
    "LookupStage",
    "TomlDirectory",
    "TomlRegistry",
    "open_directory",
    "open_price_list",
    "open_registry",
    "shipped_models",
]


def open_price_list(settings: LookupSettings) -> TomlRegistry:
    """The shipped price list, and the configured file over it. Raises FileError."""
    own = () if settings.models is None else (settings.models,)
    return TomlRegistry(shipped_models(), *own)


def open_registry(settings: LookupSettings) -> Registry:
    """The registry that the settings name; a service need not answer yet. Raises UserError."""
    prices = open_price_list(settings)
    if settings.registry == "file":
        return prices
    made: Registry = load("stages.lookup.registry_grpc", "GrpcRegistry")(
        settings, prices.known_provider
    )
    return made


def open_directory(settings: LookupSettings, screen: Callable[[str], str]) -> Directory:
    """The directory that the settings name; a service need not answer yet. Raises UserError.

    ``screen``: what the PII stage does to an identifier, for the ids in a file.
    """
    if settings.directory == "file":
        return TomlDirectory(settings.users, screen)
    made: Directory = load("stages.lookup.directory_http", "HttpDirectory")(settings)
    return made
