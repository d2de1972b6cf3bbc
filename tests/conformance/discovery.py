"""Finds what there is to test: classes under ``sinks`` and ``stages`` that keep a port's contract.

A class that is found and has no entry in :mod:`tests.conformance.factories` fails the suite, so
that a new sink or stage joins by merely existing.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from types import ModuleType
from typing import Any

import pytest

import sinks
import stages
from schemas.records import STORES

SINK_METHODS = ("write", "fetch", "delete", "count", "close")


def sink_classes() -> list[type]:
    """Every concrete class with a ``store`` and the methods of :class:`schemas.ports.Sink`."""
    return [
        found
        for found in _classes(sinks)
        if getattr(found, "store", None) in STORES
        and all(callable(getattr(found, method, None)) for method in SINK_METHODS)
    ]


def sink_params() -> list[Any]:
    """The same for ``parametrize``; those that need a server are marked ``servers``."""
    return [
        pytest.param(
            found,
            id=label(found),
            marks=_marks(found),
        )
        for found in sink_classes()
    ]


def _marks(found: type) -> list[pytest.MarkDecorator]:
    package = found.__module__.split(".")[1]
    if package in ("sqlite", "pinecone"):  # The latter on a fake within the process.
        return []
    # One database that the tests empty: not two at a time.
    alone = [pytest.mark.xdist_group("neo4j")] if package == "neo4j" else []
    return [pytest.mark.servers, *alone]


def stage_classes() -> list[type]:
    """Every concrete class with a ``name`` that is called with a chunk."""
    return [
        found
        for found in _classes(stages)
        if isinstance(getattr(found, "name", None), str) and _takes_chunk(found)
    ]


def label(found: type) -> str:
    return f"{found.__module__}.{found.__qualname__}"


def _classes(package: ModuleType) -> list[type]:
    found: dict[str, type] = {}
    for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if info.name.endswith("__main__"):
            continue
        module = importlib.import_module(info.name)
        for value in vars(module).values():
            if (
                inspect.isclass(value)
                and value.__module__ == module.__name__
                and not inspect.isabstract(value)
            ):
                found[label(value)] = value
    return [found[name] for name in sorted(found)]


def _takes_chunk(found: type) -> bool:
    call = vars(found).get("__call__")
    if call is None:
        return False
    parameters = list(inspect.signature(call).parameters.values())
    return len(parameters) == 2 and "Chunk" in str(parameters[1].annotation)
