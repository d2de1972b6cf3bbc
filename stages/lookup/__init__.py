"""Stage 6: model, price, user and tenant are looked up; responses meet their prompts."""

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
    "open_registry",
    "shipped_models",
]


def open_registry(settings: LookupSettings) -> TomlRegistry:
    """The shipped price list, and the configured file over it. Raises FileError."""
    own = () if settings.models is None else (settings.models,)
    return TomlRegistry(shipped_models(), *own)
