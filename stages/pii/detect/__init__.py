"""Finds personal data and secrets in texts: by form (patterns) and by name (spaCy).

``PatternDetector`` and ``NameDetector`` answer with disjoint, sorted spans; ``resolve`` puts the
answers of both together. The detectors are imported when they are first asked for: their libraries
take seconds, and whoever wants the settings alone should not wait.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .rules import PATTERN_ENTITIES
from .settings import DetectSettings
from .spans import NAME_ENTITIES, Span, resolve

if TYPE_CHECKING:
    from .model_files import ModelFilesError
    from .names import NameDetector
    from .patterns import PatternDetector

_MODULES = {
    "ModelFilesError": ".model_files",
    "NameDetector": ".names",
    "PatternDetector": ".patterns",
}

__all__ = [
    "NAME_ENTITIES",
    "PATTERN_ENTITIES",
    "DetectSettings",
    "ModelFilesError",
    "NameDetector",
    "PatternDetector",
    "Span",
    "resolve",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name], __name__), name)
