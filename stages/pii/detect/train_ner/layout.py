"""Lists, headings, tables and verse, the layout of chat answers.

In such texts most capitals mean nothing; without them a recogniser trained on sentences takes
every list item for a name. Items are ordinary words, or entities, which are labelled.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

Parts = list[tuple[str, str | None]]
Value = Callable[[str], tuple[str, str | None]]

_STARTERS = (
    "Therefore", "However", "Overall", "Firstly", "Secondly", "Finally", "Additionally",
    "Moreover", "Furthermore", "In conclusion", "For example", "Unfortunately", "Certainly",
    "Meanwhile", "Once upon a time", "As a result", "Then", "Next", "Also", "Instead", "Although",
    "While", "When", "Because", "Imagine", "Remember", "Note", "Yes", "No", "Sure", "Given",
)  # fmt: skip
_COUNTED = (
    "Step", "Panel", "Month", "Day", "Week", "Year", "Chapter", "Section", "Verse", "Frame",
    "Scene", "Part", "Phase", "Level", "Option", "Example", "Question", "Answer", "Task", "Item",
    "Column", "Row", "Sample", "Reference", "Assignment", "Premise", "Person", "Friend", "Player",
    "Team", "Group", "Figure", "Table", "Stanza", "Paragraph", "Quarter", "Round", "Country",
)  # fmt: skip
_ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X")
_KINDS = ("person", "full", "first", "last", "city", "country", "country", "org")


class Layout:
    """Builds labelled pieces of text; ``value`` fills a slot, ``words`` are ordinary words."""

    def __init__(self, pick: random.Random, words: Sequence[str], value: Value) -> None:
        self._pick = pick
        self._words = words
        self._value = value
        self._shapes: tuple[Callable[[], Parts], ...] = (
            self._list, self._list, self._list, self._headings, self._table, self._verse,
            self._sentences, self._counted, self._pairs, self._inline,
        )  # fmt: skip

    def parts(self) -> Parts:
        """One block of text."""
        return self._pick.choice(self._shapes)()

    def _phrase(self, most: int = 4) -> str:
        return " ".join(self._pick.choices(self._words, k=self._pick.randint(1, most)))

    def _title(self, most: int = 4) -> str:
        phrase = self._phrase(most)
        draw = self._pick.random()
        if draw < 0.5:
            return phrase[:1].upper() + phrase[1:]
        return phrase.title() if draw < 0.85 else phrase

    def _item(self, kind: str | None) -> tuple[str, str | None]:
        return (self._title(), None) if kind is None else self._value(kind)

    def _kind(self) -> str | None:
        return self._pick.choice(_KINDS) if self._pick.random() < 0.35 else None

    def _list(self) -> Parts:
        pick, kind = self._pick, self._kind()
        first = pick.randint(1, 40)
        mark = pick.choice(("{}. ", "{}. ", "{}) ", "- ", "- ", "* ", "• ", "{} - ", "#{}: "))
        tail = pick.choice(("", "", "", " ", ":", " - ", ", ", " ({})", ": {}", " - {}"))
        parts: Parts = []
        for n in range(first, first + pick.randint(2, 8)):
            parts += [(mark.format(n), None), self._item(kind)]
            after = tail.format(pick.choice((f"{pick.randint(1, 99999):,}", self._phrase(5))))
            parts.append((after + (self._phrase(6) if after in (":", " - ") else "") + "\n", None))
        return parts

    def _headings(self) -> Parts:
        pick = self._pick
        parts: Parts = []
        for n in range(pick.randint(1, 4)):
            mark = pick.choice(
                (
                    f"{_ROMAN[n]}. ",
                    f"{'ABCDE'[n]}. ",
                    "## ",
                    "# ",
                    "### ",
                    "**",
                    f"{n + 1}.{n} ",
                    "",
                )
            )
            end = {"**": "**\n"}.get(mark, pick.choice(("\n", ":\n", "\n\n")))
            parts.append((f"{mark}{self._title(5)}{end}{self._sentence()}\n", None))
        return parts

    def _table(self) -> Parts:
        pick, kind = self._pick, self._kind()
        glue = pick.choice((" | ", " | ", ", ", "\t", ",", ": ", "    "))
        columns = pick.randint(1, 3)
        parts: Parts = [(glue.join(self._title(2) for _ in range(columns + 1)) + "\n", None)]
        for _ in range(pick.randint(1, 5)):
            parts.append((pick.choice(("| ", "")) if "|" in glue else "", None))
            parts.append(self._item(kind))
            cells = (
                pick.choice(
                    (str(pick.randint(1, 999)), f"{pick.random() * 99:.2f}", self._title(1))
                )
                for _ in range(columns)
            )
            parts.append((glue + glue.join(cells) + "\n", None))
        return parts

    def _verse(self) -> Parts:
        lines = []
        for _ in range(self._pick.randint(2, 6)):
            phrase = self._phrase(7)
            lines.append(
                phrase[:1].upper() + phrase[1:] + self._pick.choice((",", ",", ".", "", "!"))
            )
        return [("\n".join(lines), None)]

    def _sentence(self) -> str:
        start = self._pick.choice(_STARTERS)
        return f"{start}{self._pick.choice((', ', ' '))}{self._phrase(9)}."

    def _sentences(self) -> Parts:
        return [(" ".join(self._sentence() for _ in range(self._pick.randint(1, 3))), None)]

    def _counted(self) -> Parts:
        pick = self._pick
        word, first = pick.choice(_COUNTED), pick.randint(1, 12)
        parts: Parts = []
        for n in range(first, first + pick.randint(1, 4)):
            parts.append((f"{word} {n}{pick.choice((':', ' -', '.', ' –'))} ", None))
            if pick.random() < 0.3:
                parts += [self._value("first"), (f" {self._phrase(5)}.\n", None)]
            else:
                parts.append((f"{self._title(5)}\n", None))
        return parts

    def _pairs(self) -> Parts:
        pick, kind = self._pick, self._kind()
        parts: Parts = []
        for _ in range(pick.randint(1, 5)):
            parts += [(f"{self._title(2)}{pick.choice((': ', ' - ', ' = '))}", None)]
            parts += [self._item(kind), ("\n", None)]
        return parts

    def _inline(self) -> Parts:
        pick, kind = self._pick, self._kind()
        parts: Parts = [(f"{self._title(3)} ({self._phrase(3)}): ", None)]
        for n in range(pick.randint(2, 7)):
            parts += [(", " if n else "", None), self._item(kind)]
        return [*parts, (pick.choice((".", "", " and more.")), None)]
