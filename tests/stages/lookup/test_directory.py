from __future__ import annotations

from pathlib import Path

import pytest

from schemas.items import UserFacts
from stages.lookup import FileError, TomlDirectory
from tests.stages.lookup.test_registry import at

USERS = """
[[users]]
id = "amy@example.com"
tenant = "acme"
organisation = "Acme Ltd"

[[users]]
id = "bob"
tenant = "acme"
from = 2026-02-01

[[users]]
id = "bob"
tenant = "globex"
organisation = "Globex Inc"
from = "2026-03-01"
"""


def pseudonymous(identifier: str) -> str:
    return "pii_amy" if "@" in identifier else identifier


@pytest.fixture
def directory(tmp_path: Path) -> TomlDirectory:
    path = tmp_path / "users.toml"
    path.write_text(USERS, "utf-8")
    return TomlDirectory(path, pseudonymous)


def test_an_identifier_that_is_personal_data_is_found_by_its_pseudonym(
    directory: TomlDirectory,
) -> None:
    found = directory.lookup([("pii_amy", 0), ("amy@example.com", 0)])
    assert found == [UserFacts("acme", "Acme Ltd", True), UserFacts()]


@pytest.mark.parametrize(
    ("moment", "facts"),
    [
        ("2026-01-31T23:59:59", UserFacts()),
        ("2026-02-01", UserFacts("acme", None, True)),
        ("2026-02-28T23:59:59", UserFacts("acme", None, True)),
        ("2026-03-01", UserFacts("globex", "Globex Inc", True)),
        ("2030-01-01", UserFacts("globex", "Globex Inc", True)),
    ],
)
def test_the_membership_is_that_of_the_time(
    directory: TomlDirectory, moment: str, facts: UserFacts
) -> None:
    assert directory.lookup([("bob", at(moment))]) == [facts]


def test_without_a_file_everyone_is_unknown() -> None:
    assert TomlDirectory(None, str).lookup([("bob", 0)]) == [UserFacts()]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[users]]\nid = "secret"', "users[1].tenant: missing, expected the tenant's name"),
        ('[[users]]\nid = "secret"\ntenant = ""', "users[1].tenant: expected the tenant's name"),
        (
            '[[users]]\nid = "secret"\ntenant = "secret"\nfrom = "secret"',
            "users[1].from: expected a date, YYYY-MM-DD",
        ),
        (
            '[[users]]\nid = "secret"\ntenant = "secret"\norganization = "secret"',
            "users[1].organization: no such key; did you mean organisation?",
        ),
        (
            '[[users]]\nid = "secret"\ntenant = "a"\n[[users]]\nid = "secret"\ntenant = "b"',
            "users[2]: a user has two entries from one day",
        ),
        ("users = 3", "users: expected an array of tables with id and tenant"),
    ],
)
def test_a_bad_file_is_answered_with_place_and_expectation(
    tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "users.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(FileError) as caught:
        TomlDirectory(path, str)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)
