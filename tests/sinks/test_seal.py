"""Sealed envelopes open with the same key and coordinates, and not otherwise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.seal import Seal, Tampered

KEY = bytes(range(32))


@given(plain=st.binary(max_size=300), associated=st.binary(max_size=40))
def test_round_trip(plain: bytes, associated: bytes) -> None:
    sealed = Seal(KEY).seal(plain, associated)
    assert Seal(KEY).open(sealed, associated) == plain
    assert len(sealed) == 1 + 12 + len(plain) + 16


@given(plain=st.binary(max_size=50), data=st.data())
def test_any_changed_bit_is_noticed(plain: bytes, data: st.DataObject) -> None:
    sealed = bytearray(Seal(KEY).seal(plain, b"topic/0/1"))
    place = data.draw(st.integers(0, len(sealed) - 1))
    sealed[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(Tampered):
        Seal(KEY).open(bytes(sealed), b"topic/0/1")


@given(cut=st.integers(0, 40))
def test_a_cut_envelope_is_noticed(cut: int) -> None:
    sealed = Seal(KEY).seal(b"twelve bytes", b"")
    with pytest.raises(Tampered):
        Seal(KEY).open(sealed[: min(cut, len(sealed) - 1)], b"")


def test_other_coordinates_and_other_keys_do_not_open_it() -> None:
    sealed = Seal(KEY).seal(b"plain", b"topic/0/1")
    with pytest.raises(Tampered):
        Seal(KEY).open(sealed, b"topic/0/2")
    with pytest.raises(Tampered):
        Seal(bytes(32)).open(sealed, b"topic/0/1")


def test_the_same_text_never_seals_the_same_way_twice() -> None:
    assert len({Seal(KEY).seal(b"plain", b"") for _ in range(100)}) == 100


def test_the_version_byte_is_authenticated_and_comes_first() -> None:
    assert Seal(KEY).seal(b"", b"")[:1] == b"\x01"


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Seal(b"short")
