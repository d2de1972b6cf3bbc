"""A few documents, and what people type to find them: the same in every full-text store."""

from __future__ import annotations

from typing import Any

from schemas.items import Screened
from schemas.records import DocumentRecord
from tests.conformance.records import stamp


def document(number: int, text: str, **changes: Any) -> DocumentRecord:
    fields = {"session": changes.pop("session", "s"), "model": changes.pop("model", "m")}
    return DocumentRecord(stamp(number, **changes), Screened(text), fields)


LIBRARY = [
    document(1, "Sorting a list of files in Python"),
    document(2, "The list is sorted; files are not. List list list", tenant="x"),
    document(3, "Café conversation über Configuration", kind="response"),
    document(4, "日本語の文章を検索する", session="other"),
    document(5, "an e-mail to the C++ team: a_b 3.14", model="gpt"),
    document(6, ""),
    document(7, "numpy.array in snake_case_name: don't, 1,000 times, key:value"),
]
WORDS: list[tuple[str, set[int]]] = [
    ("list files", {1, 2}),
    ('"list of files"', {1}),
    ('"files of list"', set()),
    ("LIST -sorted", {1}),
    ("conf*", {3}),
    ("conf", set()),
    ("cafe uber", {3}),
    ("検索", {4}),
    ("検索 -日本語", set()),
    ("日本語* 文章", {4}),
    ("e-mail", {5}),
    ("C++ 3.14", {5}),
    ("text:list", set()),
    ("array", {7}),
    ("numpy.array", {7}),
    ('"numpy array"', {7}),
    ("numpy.arr*", {7}),
    ("snake name", {7}),
    ("snake_case_name", {7}),
    ("case_name", {7}),
    ("don", {7}),
    ("000", {7}),
    ("value -14", {7}),
    ("14", {5}),
    ("list OR café", set()),
    ("NEAR(list files)", set()),
    ("", set()),
    ("-list", set()),
    ('"unbalanced list', set()),
    ('"list of', {1}),
    ("* ^ ( ) : \0 {} + -", set()),
    ('list "" AND', set()),
]
"""What is typed, and the numbers of the documents that it finds."""
