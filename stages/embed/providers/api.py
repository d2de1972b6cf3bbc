"""What the client has to know of a service's interface; pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from schemas.failures import UserError
from stages.embed.settings import EmbedSettings

Purpose = Literal["document", "query"]


class Malformed(Exception):
    """An answer that does not say what was asked."""


class Reply(NamedTuple):
    """Vectors in the order of the texts, and how many tokens the service bills for them."""

    vectors: list[npt.NDArray[np.float32]]
    tokens: int


class Limits(NamedTuple):
    """Of one request. ``count``: how many tokens a text has, as the service counts them or as near
    as can be known here."""

    texts: int
    tokens: int
    count: Callable[[str], int]


class Api(Protocol):
    """``model`` names provider, model and dimensions; vectors of different names never mix."""

    provider: str
    model_id: str
    model: str
    dimensions: int
    path: str
    headers: dict[str, str]
    limits: Limits

    def cut(self, text: str) -> str:
        """The beginning that the model reads; a function of the text alone."""
        ...

    def request(self, texts: Sequence[str], purpose: Purpose) -> bytes: ...

    def read(self, body: bytes) -> Reply:
        """Raises Malformed."""
        ...


class KnownModel(NamedTuple):
    dimensions: int
    shortens: bool = False


def dimensions_of(
    settings: EmbedSettings, model: str, known: dict[str, KnownModel]
) -> tuple[int, bool]:
    """How long the vectors are, and whether the service has to be told so. Raises UserError."""
    found = known.get(model)
    wanted = settings.dimensions
    if found is None:
        if wanted is None:
            raise UserError(
                f"embed.dimensions: say how long the vectors of {model} are; it is none of the "
                f"models known here ({', '.join(known)})."
            )
        return wanted, False
    if wanted is None or wanted == found.dimensions:
        return found.dimensions, False
    if not found.shortens or wanted > found.dimensions:
        raise UserError(
            f"embed.dimensions: {model} makes vectors of {found.dimensions} and no others of this "
            "length; use embed.projection to shorten them."
        )
    return wanted, True
