"""TOML files that people write: read into typed models, with errors that say place and remedy."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from schemas.failures import UserError

M = TypeVar("M", bound=BaseModel)


class FileError(UserError):
    """A file that cannot be used: which, where in it, and what was expected. Never a value."""

    def __init__(self, file: Path, place: str, problem: str) -> None:
        super().__init__(f"{file}: {place}: {problem}" if place else f"{file}: {problem}")


def read_toml(file: Path, model: type[M]) -> M:
    """The file as a ``model``; numbers with a fraction are decimals. Raises FileError.

    The description of a field is what the error says was expected.
    """
    try:
        found = tomllib.loads(file.read_text("utf-8"), parse_float=Decimal)
    except FileNotFoundError:
        raise FileError(file, "", "there is no such file") from None
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise FileError(file, "", f"cannot be read ({reason})") from None
    except UnicodeDecodeError:
        raise FileError(file, "", "not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        place = str(error).rpartition("(at ")[2].rstrip(")") or "unknown place"
        raise FileError(file, place, "not TOML") from None
    try:
        return model.model_validate(found)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        raise FileError(file, *_explain(model, problem["type"], problem["loc"])) from None


def _explain(model: type[BaseModel], kind: str, location: tuple[int | str, ...]) -> tuple[str, str]:
    """Place and problem. Walks the models along the location to find what was expected."""
    place = ""
    known: Iterable[str] = model.model_fields
    expected = ""
    within: Any = model
    for part in location:
        if isinstance(part, int):
            place += f"[{part + 1}]"
            continue
        if isinstance(within, type) and issubclass(within, BaseModel):
            fields = {field.alias or name: field for name, field in within.model_fields.items()}
            known = fields
            if part in fields:
                expected = fields[part].description or ""
                within = _model_in(fields[part].annotation)
        place += f".{part}" if place else part
    if kind == "extra_forbidden":
        nearest = difflib.get_close_matches(str(location[-1]), list(known), 1)
        hint = f"; did you mean {nearest[0]}?" if nearest else f"; known are {', '.join(known)}"
        return place, f"no such key{hint}"
    return place, f"{'missing, ' if kind == 'missing' else ''}expected {expected}"


def _model_in(annotation: Any) -> Any:
    """The model that an annotation such as ``list[Model]`` or ``Model | None`` holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_model_in(argument) for argument in getattr(annotation, "__args__", ()))
    return next((model for model in inner if model is not None), None)
