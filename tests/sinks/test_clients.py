"""What the clients of servers share: waiting as asked, silence, and how search words are read."""

from __future__ import annotations

import doctest
import logging

import pytest

from schemas.ports import Unavailable
from sinks.common import words
from sinks.common.holdoff import LONGEST, Holdoff
from sinks.common.quiet import quiet
from sinks.common.words import Term, parse


def test_no_call_before_the_time_that_was_named() -> None:
    now = [100.0]
    holdoff = Holdoff("search", lambda: now[0])
    holdoff.check()
    holdoff.hold("2.5", "overloaded")
    for now[0], left in ((100.0, 2.5), (102.0, 0.5)):
        with pytest.raises(Unavailable) as told:
            holdoff.check()
        assert (told.value.what, told.value.code) == ("search", "overloaded")
        assert told.value.retry_after == pytest.approx(left)
    now[0] = 102.5
    holdoff.check()
    assert holdoff.left is None
    holdoff.hold("100000", "overloaded")
    assert holdoff.left == LONGEST


@pytest.mark.parametrize("header", [None, "", "soon", "Wed, 21 Oct 2015 07:28:00 GMT", "-1", "nan"])
def test_what_is_no_number_of_seconds_is_no_note(header: str | None) -> None:
    holdoff = Holdoff("search", lambda: 0.0)
    holdoff.hold(header, "overloaded")
    holdoff.check()


def test_silenced_loggers_reach_nobody(caplog: pytest.LogCaptureFixture) -> None:
    quiet("chatty_library")
    for name in ("chatty_library", "chatty_library.node"):
        logging.getLogger(name).critical("canary")
    assert caplog.records == []


def test_words_in_parts() -> None:
    assert doctest.testmod(words).failed == 0
    assert list(parse('-"a b" x* 本 * \0 \ud800 -検索')) == [
        Term("a b", unwanted=True),
        Term("x", prefix=True),
        Term("本", literal=True),
        Term("検索", unwanted=True, literal=True),
    ]
    # As texts are stored, so that a mark typed apart finds what was written with it.
    assert list(parse("cafe\u0301*")) == [Term("caf\u00e9", prefix=True)]
