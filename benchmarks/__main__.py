"""``python -m benchmarks [NAME…]``: runs benchmarks, prints tables, keeps results as JSON."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import corpus, machine
from benchmarks.readme import BENCHMARKS, write_readme

RESULTS = Path(__file__).with_name("results")


def main(
    names: Annotated[
        list[str] | None, typer.Argument(help=f"Which: {', '.join(BENCHMARKS)}; all by default.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder with chat/halueval_general.jsonl; $PUBLIC_DATA by default, and "
            "without either the texts of the sample."
        ),
    ] = None,
) -> None:
    """Measure, against a baseline in the same run, and write benchmarks/results/NAME.json."""
    wanted = names or list(BENCHMARKS)
    if unknown := [name for name in wanted if name not in BENCHMARKS]:
        raise typer.BadParameter(f"{', '.join(unknown)}: none of {', '.join(BENCHMARKS)}")
    if len(wanted) == 1:
        _run(wanted[0], data)
        return
    for name in wanted:
        # Each in a process of its own: no heap, cache or thread pool of one slows the next.
        option = [] if data is None else ["--data", str(data)]
        command = [sys.executable, "-m", "benchmarks", name, *option]
        subprocess.run(command, cwd=machine.ROOT, check=True)


def _run(name: str, data: Path | None) -> None:
    module = import_module(f"benchmarks.{name}")
    texts = corpus.load(data)
    facts = machine.facts()
    before, started = machine.load(), time.perf_counter()
    result: dict[str, Any] = module.measure(texts)
    seconds = round(time.perf_counter() - started, 1)
    loads = {"before": before, "after": machine.load()}
    whole = {
        "name": name,
        **facts,
        "load": loads,
        "seconds": seconds,
        "texts": texts.source,
        "result": result,
    }
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(whole, indent=1, ensure_ascii=False)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    print(f"{name} ({seconds} s; load {loads['before']} before, {loads['after']} after)\n")
    print(module.table(result), end="\n\n")
    write_readme(RESULTS)


if __name__ == "__main__":
    typer.run(main)
