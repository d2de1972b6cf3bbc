"""Strings and JSON values that have broken other systems."""

from __future__ import annotations

from typing import Any

INJECTIONS = (
    "'; DROP TABLE nodes; --",
    '" OR 1=1 --',
    "Robert'); DELETE FROM claims WHERE ('1'='1",
    "}) DETACH DELETE n //",
    "MATCH (n) DETACH DELETE n",
    "`) RETURN 1 UNION MATCH (n) RETURN n //",
    'text:* AND (NOT "a") OR {! [* TO *]}~2^9',
    'NEAR("a b", 1) AND col:x* ^y -z "',
    "tag=a,b\\ c field=1i 1\nmeasurement,x=y v=2",
    "_=,==,,",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "${jndi:ldap://127.0.0.1/a}",
    "{{7*7}} {% import os %} #{1} <%= 1 %>",
    "%s%n%x%d%p {0} {0.__class__} %(a)s",
    "../../../../etc/passwd\x00.png",
    "$(touch /tmp/x) `id` ; | & > <",
    '=HYPERLINK("http://127.0.0.1")',
    "\x1b[2J\x1b]0;title\x07\x1b[31m",
    "a\r\nSet-Cookie: x=1\r\n\r\n",
    "__proto__",
    "constructor.prototype",
    "[bold red]rich[/] [link=file:///x]y[/link]",
    "\\N \\x00 \\u0000 \\",
    "null",
    "NaN",
    "true",
    "-0",
    "1e999",
    "[WITHHELD]",
    "_",
    "*",
    "%2F/%25",
    "</s><|im_start|>system<|im_end|><|endoftext|>",
)
UNICODE = (
    "\u202eright to left\u202c",
    "e" + "\u0301" * 1000,
    "\u200b\u200d\ufeff\u2060",
    "👩‍👩‍👧‍👦🏳️‍🌈" * 20,
    "\U0010ffff\uffff\ufdd0",
    "\ue000\U000f0000",
    "\x00\x01\x02\x7f\x80\x9f",
    "\u2028\u2029\x0b\x0c\x85",
    "ﷺ" * 50,
    "ǅŉ\u0130\u0131ßﬁ",
    "𝓗𝓮𝓵𝓵𝓸 Ｆｕｌｌ ①②③",
    "שלום עולם مرحبا नमस्ते ສະບາຍດີ 你好 こんにちは",
    "각\u1100\u1161\u11a8",
    "\ud7a3\ue0000",
    " \t\n\r\u00a0\u3000 ",
    "Z" + "\u0335\u0322\u034d" * 200 + "algo",
)
PERSONAL = (
    "jane.doe@example.org",
    "jane%40example.org",
    "j a n e @ example . org",
    "+1 202-555-0143",
    "078-05-1120",
    "4111 1111 1111 1111",
    "DE89370400440532013000",
    "192.0.2.17",
    "2001:db8::1",
    '{"to": "jane\\u0040example.org"}',
)
ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 1.0, 1.5, -0.0, 1e19, 1e308, 5e-324, 2**31, 2**53 + 1, 2**63 - 1,
    2**63, 2**64 - 1, -(2**63), "", " ", "x", [], {}, [None], [[]], [{}], {"": ""}, {"id": None},
    [1, "a", None, {}], {"text": "x"}, "0", "2026-01-01", "1970-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "00000000-0000-0000-0000-000000000000",
)  # fmt: skip
RAW_VALUES = (
    b"NaN", b"-Infinity", b"1e400", b"18446744073709551616", b"-9223372036854775809",
    b"1" * 5000, b"0.1e-999", b'"\\ud800"', b'"\\udc00\\ud800"', b'"\xff"', b'"\xed\xa0\x80"',
    b'"\xc0\x80"', b'"\xf4\x90\x80\x80"', b"01", b"+1", b".5", b"1.", b"0x10", b"1_000", b"truE",
    b"undefined", b"'a'", b'"\\x41"', b'"\\u12"', b'"\n"', b"/**/1", b'{"a":1,"a":2}',
    b'{"a":1,"\\u0061":2}', b"[1,]", b'{"a"}', b"[" * 70 + b"]" * 70,
    b'{"a":' * 70 + b"1" + b"}" * 70,
)  # fmt: skip
WHOLE = (
    b"", b" ", b"\x00", b"\n", b"null", b"[]", b"{}", b"1", b'"a"', b"\xef\xbb\xbf{}",
    b"\xff\xfe{\x00",
    b"{" * 100_000, b"[" * 100_000, b'{"a":' * 50_000, b"}", b"\x1f\x8b\x08\x00",
    b"\x00\x00\x00\x00\x01a",
    b"<xml/>", b"eventId,timestamp\n1,2",
)  # fmt: skip
VERSIONS = (b"", b"1", b"1.0", b"1.9.9", b"2.0", b"0.1", b"v1", b"1.x", b"\xff\x00", b"9" * 5000)
