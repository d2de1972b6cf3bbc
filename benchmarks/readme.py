"""Puts the tables of the kept results into ``benchmarks/README.md``."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

README = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- results: written by python -m benchmarks -->\n", "<!-- end of results -->\n"
BENCHMARKS = (
    "worker",
    "models",
    "stages",
    "latency",
    "pii",
    "sinks",
    "scaling",
    "outage",
    "delivery",
    "restart",
)
ORDER = (*BENCHMARKS, "faults", "soak")


def write_readme(results: Path) -> None:
    """Replaces what stands between the two marks."""
    text = README.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    found = [results / f"{name}.json" for name in ORDER]
    sections = [_section(json.loads(path.read_text("utf-8"))) for path in found if path.exists()]
    README.write_text(f"{head}{BEGIN}\n{''.join(sections)}{END}{tail}", encoding="utf-8")


def _section(kept: dict[str, Any]) -> str:
    module = import_module(f"benchmarks.{kept['name']}")
    machine = kept["machine"]
    flags = ", ".join(machine["flags"]) or "none of the vector flags that matter"
    load = kept["load"]
    loads = f"load {load['before']} before, {load['after']} after" if load else kept["beside"]
    return (
        f"### {kept['name']}\n\n{module.table(kept['result'])}\n\n"
        f"{kept['date'][:10]}, commit {kept['commit'][:10]}; {machine['cpu']}, "
        f"{machine['cores']} cores ({flags}); {loads}. "
        f"Texts: {kept['texts']}.\n\n"
    )


if __name__ == "__main__":
    write_readme(README.with_name("results"))
