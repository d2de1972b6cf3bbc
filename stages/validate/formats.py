"""The string formats of the schemas, as exact predicates.

``date-time``: RFC 3339 section 5.6 without leap seconds. ``uuid``: RFC 9562 section 4, either case.
``uri``: RFC 3986 section 3.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from ipaddress import AddressValueError, IPv6Address

import msgspec

from schemas.events import Moment, Uuid

_DATE_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?"
    r"(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_PCHAR = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2})"
_URI = re.compile(
    rf"""[A-Za-z][A-Za-z0-9+.\-]*+:
    (?://(?:(?:[A-Za-z0-9\-._~!$&'()*+,;=:]|%[0-9A-Fa-f]{{2}})*@)?
         (?:\[(?:(?P<six>[0-9A-Fa-f:.]+)|[vV][0-9A-Fa-f]+\.[A-Za-z0-9\-._~!$&'()*+,;=:]+)\]
           |(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{{2}})*+)
         (?::[0-9]*+)?(?:/{_PCHAR}*+)*+
      |/(?:{_PCHAR}++(?:/{_PCHAR}*+)*+)?
      |{_PCHAR}++(?:/{_PCHAR}*+)*+
      |)
    (?:\?(?:{_PCHAR}|[/?])*+)?
    (?:\#(?:{_PCHAR}|[/?])*+)?""",
    re.VERBOSE,
)


def is_uuid(text: str) -> bool:
    return _converts(text, Uuid)


def is_date_time(text: str) -> bool:
    return _DATE_TIME.fullmatch(text) is not None and _converts(text, Moment)


def is_uri(text: str) -> bool:
    match = _URI.fullmatch(text)
    if match is None:
        return False
    if match["six"] is None:
        return True
    try:
        IPv6Address(match["six"])
    except AddressValueError:
        return False
    return True


def _converts(text: str, kind: object) -> bool:
    try:
        msgspec.convert(text, kind)
    except msgspec.ValidationError:
        return False
    return True


def written_strictly(text: str) -> bool:
    """Whether a text that was decoded as a :class:`datetime` is an RFC 3339 date-time.

    The decoder also takes a blank or underscore for the ``T`` and an offset without its colon.
    """
    return text[10] in "Tt" and (text[-1] in "Zz" or text[-3] == ":")


FORMATS: dict[str, tuple[Callable[[str], bool], str]] = {
    "uuid": (is_uuid, "a UUID"),
    "date-time": (is_date_time, "an RFC 3339 date-time with an offset"),
    "uri": (is_uri, "a URI"),
}
EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
