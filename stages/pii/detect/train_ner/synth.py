"""Sentences made from the templates of this package, filled with Faker's and our own names."""

from __future__ import annotations

import random
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from string import Formatter
from typing import Any

from faker import Faker

from .examples import Example, join
from .layout import Layout

LABEL_OF = {
    "person": "PERSON",
    "full": "PERSON",
    "first": "PERSON",
    "last": "PERSON",
    "org": "ORGANIZATION",
    "city": "LOCATION",
    "country": "LOCATION",
}
# Locales whose names are written in Latin letters, or that Faker can romanise.
LOCALES = (
    "en_US", "en_US", "en_US", "en_GB", "en_IN", "en_AU", "en_CA", "de_DE", "fr_FR", "es_ES",
    "es_MX", "it_IT", "nl_NL", "pl_PL", "sv_SE", "da_DK", "fi_FI", "no_NO", "pt_BR", "tr_TR",
    "cs_CZ", "hu_HU", "ro_RO", "hr_HR", "vi_VN", "id_ID",
)  # fmt: skip
_GROUP_WEIGHTS = {
    "chat": 4, "life": 4, "forms": 3, "none": 4, "business": 3, "personal": 4, "records": 3,
    "negatives": 4, "layout": 9,
}  # fmt: skip


class Synthesizer:
    """Deterministic for a seed and a version of Faker; ``words`` are ordinary, unlabelled words."""

    def __init__(self, seed: int, words: Sequence[str]) -> None:
        self._random = random.Random(seed)  # noqa: S311 - training data, not secrets
        data: dict[str, Any] = tomllib.loads(
            Path(__file__).with_name("templates.toml").read_text(encoding="utf-8")
        )
        self._templates: dict[str, list[str]] = data["templates"]
        self._fillers: dict[str, list[str]] = data["fillers"]
        self._places: dict[str, list[str]] = data["places"]
        self._orgs: dict[str, list[str]] = data["organizations"]
        self._fakers = [Faker(locale) for locale in LOCALES]
        self._japan, self._china, self._latin = Faker("ja_JP"), Faker("zh_CN"), Faker("la")
        for n, faker in enumerate([*self._fakers, self._japan, self._china, self._latin]):
            faker.seed_instance(seed + n)
        self._parsed = {
            name: [list(Formatter().parse(template)) for template in group]
            for name, group in self._templates.items()
        }
        self._slots: dict[str, Callable[[Faker], str]] = {
            "person": self._person,
            "full": lambda f: " ".join(self._names(f)),
            "first": lambda f: self._names(f)[0],
            "last": lambda f: self._names(f)[1],
            "org": self._org,
            "city": self._city,
            "country": self._country,
            "email": lambda f: str(f.ascii_email()),
            "phone": lambda f: str(f.phone_number()),
            "number": lambda _: str(self._random.choice((3, 5, 12, 27, 44, 99, 365, 1984, 2023))),
            "job": lambda _: str(self._fakers[0].job()).lower(),
            "word": lambda _: str(self._fakers[0].word()),
            "lorem": lambda _: "Lorem ipsum dolor sit amet, " + self._latin.paragraph(),
            "code": lambda f: str(f.bothify("??#?###")).upper(),
        }
        self._layout = Layout(self._random, words, self._value)

    def examples(self, count: int) -> list[Example]:
        """``count`` texts of one to four sentences each."""
        return [self._example() for _ in range(count)]

    def _example(self) -> Example:
        pick = self._random
        groups = list(_GROUP_WEIGHTS)
        parts: list[tuple[str, str | None]] = []
        for n in range(pick.choice((1, 1, 1, 2, 2, 3, 4))):
            if n:
                parts.append((pick.choice((" ", " ", "\n", "\n\n")), None))
            group = pick.choices(groups, weights=list(_GROUP_WEIGHTS.values()))[0]
            if group == "layout":
                parts += self._layout.parts()
            else:
                parts += self._fill(pick.choice(self._parsed[group]))
        example = join(parts)
        return _recase(example, pick.random())

    def _fill(
        self, template: list[tuple[str, str | None, Any, Any]]
    ) -> list[tuple[str, str | None]]:
        parts: list[tuple[str, str | None]] = []
        for literal, slot, _, _ in template:
            if literal:
                parts.append((literal, None))
            if slot is None:
                continue
            if slot in self._fillers:
                parts.append((self._random.choice(self._fillers[slot]), None))
            else:
                parts += self._address(self._faker()) if slot == "address" else [self._value(slot)]
        return parts

    def _value(self, slot: str) -> tuple[str, str | None]:
        return self._slots[slot](self._faker()), LABEL_OF.get(slot)

    def _faker(self) -> Faker:
        return self._random.choice(self._fakers)

    def _names(self, faker: Faker) -> tuple[str, str]:
        style = self._random.random()
        if style < 0.05:
            return self._japan.first_romanized_name(), self._japan.last_romanized_name()
        if style < 0.1:
            first, _, last = self._china.romanized_name().partition(" ")
            return first, last
        return str(faker.first_name()), str(faker.last_name())

    def _person(self, faker: Faker) -> str:
        first, last = self._names(faker)
        style = self._random.random()
        if style < 0.62:
            return f"{first} {last}"
        if style < 0.72:
            return str(first)
        if style < 0.78:
            return f"{first} {faker.random_uppercase_letter()}. {last}"
        if style < 0.83:
            return f"{first[0]}. {last}"
        if style < 0.88:
            return f"{first} {faker.first_name()} {last}"
        if style < 0.92:
            return f"{last}, {first}"
        if style < 0.95:
            return f"{first} {last}-{faker.last_name()}"
        return f"{first} {last}".upper()

    def _city(self, faker: Faker) -> str:
        style = self._random.random()
        if style < 0.35:
            return self._random.choice(self._places["city"])
        if style < 0.47:
            return self._random.choice(self._places["region"])
        return str(faker.city())

    def _country(self, _faker: Faker) -> str:
        if self._random.random() < 0.4:
            return self._random.choice(self._places["country"])
        return str(self._fakers[0].country())

    def _org(self, faker: Faker) -> str:
        style = self._random.random()
        if style < 0.3:
            name = self._random.choice(self._orgs["known"])
            return name.removeprefix("the ") if self._random.random() < 0.5 else name
        if style < 0.7:
            return str(faker.company())
        form = self._random.choice(self._orgs["forms"])
        values = {
            key: self._random.choice(self._orgs[key])
            for key in ("subject", "adjective", "noun", "suffix")
        }
        return form.format(
            first=faker.first_name(),
            last=faker.last_name(),
            city=self._random.choice(self._places["city"]),
            **values,
        )

    def _address(self, faker: Faker) -> list[tuple[str, str | None]]:
        """Street, number and flat are the address; the places behind it are places."""
        pick = self._random
        street = str(faker.street_address())
        if pick.random() < 0.35:
            street = f"{faker.street_name()} {pick.randint(1, 240)}"
        if pick.random() < 0.25:
            unit = pick.choice(("Apt. {}", "Apt {}", "Suite {}", "Unit {}", "Flat {}", "#{}"))
            street += pick.choice((" ", ", ")) + unit.format(pick.randint(1, 999))
        state, country = self._fakers[0].state_abbr(), str(self._fakers[0].country())
        if pick.random() < 0.3:
            state = pick.choice(self._places["region"])
        town = str(faker.city() if pick.random() < 0.7 else pick.choice(self._places["city"]))
        place, code = "LOCATION", str(faker.postcode())
        tails: tuple[list[tuple[str, str | None]], ...] = (
            [], [], [(town, place)], [(town, place), (state, place)],
            [(code, None), (town, place)], [(town, place), (code, None)],
            [(town, place), (state, place), (code, None)], [(town, place), (country, place)],
            [(code, None), (town, place), (country, place)],
        )  # fmt: skip
        glue = pick.choice((", ", ", ", "\n", "\n", " ", "\n, "))
        parts: list[tuple[str, str | None]] = [(street.replace("\n", ", "), "STREET_ADDRESS")]
        previous = "street"
        for text, label in pick.choice(tails):
            close = " " if (previous == "code" or label is None) and pick.random() < 0.6 else glue
            parts += [(close, None), (text, label)]
            previous = "code" if label is None else "place"
        return parts


def _recase(example: Example, draw: float) -> Example:
    """Some people write without capitals, some shout; lengths that change are left alone."""
    if draw < 0.08:
        text = example.text.lower()
    elif draw < 0.11:
        text = example.text.upper()
    else:
        return example
    return Example(text, example.spans) if len(text) == len(example.text) else example
