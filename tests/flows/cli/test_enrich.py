"""``enrich`` and ``embed fit`` as commands."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from flows.keys import VARIABLE
from tests.awaiting import until
from tests.faults.harness import COMMAND, KEY, Bench
from tests.generate import write_log

SECTIONS = '[embed]\nmode = "deferred"\n[pii.detect]\nnames = false\n'


@pytest.fixture(autouse=True)
def master_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    write_log(tmp_path / "log", 60)
    return Bench(tmp_path / "bench", tmp_path / "log", SECTIONS)


def vectors(bench: Bench) -> int:
    return int(bench.query("SELECT count(*) FROM vector_record")[0][0])


def requests(bench: Bench) -> int:
    return int(bench.query("SELECT count(*) FROM requests")[0][0])


def test_what_was_deferred_is_completed_and_the_status_says_what_waits(bench: Bench) -> None:
    bench.run()
    waiting = requests(bench)
    assert waiting
    assert vectors(bench) == 0
    assert json.loads(bench.command("status", "--json").out)["lacking"] == waiting
    assert "memory-graph enrich" in bench.command("status").out
    result = json.loads(bench.command("enrich", "--json").out)
    assert (result["completed"], result["left"]) == (waiting, 0)
    assert vectors(bench)
    assert json.loads(bench.command("status", "--json").out)["lacking"] == 0
    assert "completed" in bench.command("enrich", "--forgotten").out


def test_following_goes_on_until_it_is_told_to_stop(bench: Bench) -> None:
    bench.run()
    with bench.start((*COMMAND, "enrich", "--follow", "--json")) as process:
        until(lambda: requests(bench) == 0)
        process.signal(signal.SIGTERM)
        ended = process.wait(0)
    assert json.loads(ended.out)["left"] == 0
    assert vectors(bench)


def test_a_folder_without_a_graph_is_an_error_of_use(bench: Bench) -> None:
    assert "no memory graph" in bench.command("enrich", code=2).err


def test_a_store_made_for_other_vectors_is_named_at_the_start(bench: Bench) -> None:
    bench.config.write_text(
        bench.config.read_text("utf-8").replace('"deferred"', '"inline"')
        + "[stores.vector]\ndimensions = 64\n",
        "utf-8",
    )
    with bench.worker() as worker:
        ended = worker.wait(2)
    assert "stores.vector.dimensions" in ended.err


def test_a_projection_is_fitted_saved_and_used(bench: Bench, tmp_path: Path) -> None:
    sample = tmp_path / "sample.txt"
    sample.write_text("\n".join(f"sample {n} of {n % 7} kinds" for n in range(60)), "utf-8")
    output = bench.folder / "p.safetensors"
    words = ("embed", "fit", str(sample), "--dimensions", "16", "--output", str(output))
    command = [*COMMAND, *words, "--config", str(bench.config)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "16 dimensions" in told
    bench.config.write_text(
        bench.config.read_text("utf-8").replace(
            "[embed]\n", '[embed]\nprojection = "p.safetensors"\n'
        )
        + "[stores.vector]\ndimensions = 16\n",
        "utf-8",
    )
    bench.run()
    bench.command("enrich")
    models = bench.query("SELECT DISTINCT model, length(embedding) FROM vector_record")
    assert [(model.split("@")[1][12:18], size) for model, size in models] == [("+pca16", 64)]
