"""Finds personal data and secrets in texts: by form (patterns) and by name (spaCy).

``PatternDetector`` and ``NameDetector`` answer with disjoint, sorted spans; ``resolve`` puts the
answers of both together.
"""

from .model_files import ModelFilesError
from .names import NameDetector
from .patterns import PatternDetector
from .rules import PATTERN_ENTITIES
from .settings import DetectSettings
from .spans import NAME_ENTITIES, Span, resolve

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
