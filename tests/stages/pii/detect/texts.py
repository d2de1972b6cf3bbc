"""Generated texts: personal data of every kind, look-alikes, and any characters at all."""

from __future__ import annotations

import random
import tomllib
from pathlib import Path

from faker import Faker
from hypothesis import strategies as st

CASES = tomllib.loads(Path(__file__).with_name("cases.toml").read_text(encoding="utf-8"))["case"]
SNIPPETS = [
    text.replace("⟦", "").replace("⟧", "")
    for case in CASES
    for text in (*case["found"], *case["absent"])
]
_ALPHABETS = (
    "0123456789 -.()+/x:,\n",
    "abcdefABCDEF0123456789:.-% \n",
    "ABZ019 -\n",
    "ab@.com _-'\"{}=&/:\n\t\u00a0",
    "４１５－٤٥٦７８ſKİ 1a",
)

pieces = st.one_of(
    st.sampled_from(SNIPPETS),
    st.text(max_size=30),
    *(st.text(alphabet=alphabet, max_size=40) for alphabet in _ALPHABETS),
)
texts = st.builds(
    str.join,
    st.sampled_from((" ", "", "\n", ", ", "x", "-", "\u2028")),
    st.lists(pieces, max_size=6),
)


def prose(count: int, seed: int) -> list[str]:
    """``count`` paragraphs of Faker's prose with numbers, addresses and snippets strewn in."""
    fake, pick = Faker(["en_US", "de_DE", "fr_FR", "en_IN"]), random.Random(seed)
    fake.seed_instance(seed)
    makers = (
        fake.phone_number, fake.email, fake.iban, fake.credit_card_number, fake.ipv4, fake.ipv6,
        fake.mac_address, fake.date, fake.postcode, fake.address, fake.sentence, fake.sentence,
        fake.url, fake.isbn13, fake.uuid4, fake["en_US"].ssn, fake.name, fake.file_path,
    )  # fmt: skip
    return [
        pick.choice((" ", "\n", ", ")).join(
            str(pick.choice(makers)()) if pick.random() < 0.8 else pick.choice(SNIPPETS)
            for _ in range(pick.randint(1, 25))
        )
        for _ in range(count)
    ]
