"""The tables of the model card, from the JSON that ``evaluate`` prints."""

from __future__ import annotations

from .scoring import Score

PARTS = {
    "btc": "BTC, held-out tenth",
    "wikigold": "wikigold, held-out tenth",
    "wnut17_dev": "WNUT17 dev",
    "wnut17_test": "WNUT17 test",
}
ENTITIES = ("PERSON", "ORGANIZATION", "LOCATION")


def table(title: str, rows: dict[str, Score], keys: tuple[str, ...], f: str) -> str:
    """A Markdown table of precision, recall and F for the entities ``keys``."""
    lines = [f"| {title} | precision | recall | {f.upper()} | labelled |", "|---|---|---|---|---|"]
    for key in keys:
        s = rows[key]
        value = s["f1"] if f == "f1" else s["f2"]
        lines.append(
            f"| {key} | {s['precision']:.3f} | {s['recall']:.3f} | {value:.3f} | {s['gold']} |"
        )
    return "\n".join(lines)


def tables(
    held_out: dict[str, dict[str, Score]], presidio: dict[str, dict[str, Score]] | None
) -> str:
    """All tables, in Markdown."""
    parts = [table(PARTS[k], v, (*ENTITIES, "all"), "f1") for k, v in held_out.items()]
    if presidio is not None:
        names = presidio["names"]
        parts.append(table("presidio synth_v2, names", names, (*ENTITIES, "all"), "f2"))
        both = presidio["names_and_addresses"]
        keys = ("STREET_ADDRESS", "all")
        parts.append(table("presidio synth_v2, with addresses", both, keys, "f2"))
    return "\n\n".join(parts)
