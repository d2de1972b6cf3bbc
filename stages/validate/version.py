"""The header ``schema_version``: MAJOR[.MINOR[.PATCH]] in ASCII digits; none means 1.0."""

from __future__ import annotations

import re
from collections.abc import Sequence

from schemas.failures import Detail

HEADER = "schema_version"
SUPPORTED_MAJOR = 1
_VERSION = re.compile(rb"(0|[1-9][0-9]{0,8})(?:\.(?:0|[1-9][0-9]{0,8})){0,2}")
_BAD_FORM = ("malformed_schema_version", Detail("$", "MAJOR[.MINOR[.PATCH]]"))
_BAD_MAJOR = ("unsupported_schema_version", Detail("$", f"major version {SUPPORTED_MAJOR}"))


def version_problem(headers: Sequence[tuple[str, bytes]]) -> tuple[str, Detail] | None:
    """What is wrong with the version that the headers name, if anything. The last one counts."""
    for name, value in reversed(headers):
        if name == HEADER:
            match = _VERSION.fullmatch(value)
            if match is None:
                return _BAD_FORM
            return None if int(match[1]) == SUPPORTED_MAJOR else _BAD_MAJOR
    return None
