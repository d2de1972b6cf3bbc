"""The codes of the validate stage: stable, documented, and all there are."""

from __future__ import annotations

CODES: dict[str, str] = {
    "unknown_topic": "The record stands in a topic that carries no kind of event.",
    "unsupported_schema_version": "The header schema_version names a major version not known here.",
    "malformed_schema_version": "The header schema_version is not MAJOR[.MINOR[.PATCH]].",
    "too_large": "The value has more bytes than the limit.",
    "invalid_utf8": "The value is not UTF-8.",
    "invalid_json": "The value is not one JSON document (RFC 8259, without a byte order mark).",
    "not_finite": "NaN or Infinity stands where JSON wants a number.",
    "lone_surrogate": "A string has an escaped surrogate without its other half.",
    "number_out_of_range": "An integer is beyond 64 bits, or a number beyond a double.",
    "too_deep": "Objects and arrays are nested deeper than the limit.",
    "duplicate_key": "An object has the same key twice.",
    "missing_field": "A required field is missing.",
    "wrong_type": "A field holds a value of another type than the schema says.",
    "out_of_range": "A number is below or above what the schema allows.",
    "bad_format": "A string is not in the format that the schema says (uuid, date-time, uri).",
    "too_long": "A string is longer than the schema allows.",
    "not_allowed": "A value is not one of those that the schema lists.",
    "empty_text": "A prompt has neither a text nor images.",
    "timestamp_too_early": "The event's time lies further before its log timestamp than the limit.",
    "timestamp_too_late": "The event's time lies further after its log timestamp than the limit.",
    "undecodable": "The typed decoder refuses what the schema allows; listed in docs, else a bug.",
}
