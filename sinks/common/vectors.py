"""What every vector store checks of a vector."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sinks.common.stamps import Refusal

_TOLERANCE = 1e-3


def unit_vector(values: bytes, dimensions: int) -> npt.NDArray[np.float32]:
    """The vector in little-endian float32. Refuses one of another length (``wrong_dimension``) or
    not of unit length (``not_unit_length``)."""
    if len(values) != 4 * dimensions:
        raise Refusal("wrong_dimension")
    vector = np.frombuffer(values, dtype="<f4")
    with np.errstate(over="ignore", invalid="ignore"):
        length = float(np.dot(vector, vector))
    # Written so that NaN is refused too.
    if not abs(length - 1.0) <= _TOLERANCE:
        raise Refusal("not_unit_length")
    return vector
