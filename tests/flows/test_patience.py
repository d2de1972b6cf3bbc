"""Servers that come up after the worker."""

from __future__ import annotations

import pytest

from flows.control import Control
from flows.worker import patiently
from schemas.ports import Unavailable


def test_what_is_waited_for_is_shown_and_forgotten_when_it_answers() -> None:
    control = Control(quiet=True)
    shown: list[dict[str, str]] = []
    down = [Unavailable("graph", "refused"), Unavailable("search", "timeout")]

    def ask() -> str:
        shown.append(control.blocking)
        if down:
            raise down.pop(0)
        return "answer"

    assert patiently(control, ask) == "answer"
    assert shown == [{}, {"graph": "refused"}, {"search": "timeout"}]
    assert control.blocking == {}


def test_who_is_asked_to_stop_waits_no_longer() -> None:
    control = Control(quiet=True)
    control.stop()

    def ask() -> None:
        raise Unavailable("graph", "refused")

    with pytest.raises(Unavailable):
        patiently(control, ask)
