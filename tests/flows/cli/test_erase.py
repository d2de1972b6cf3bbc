"""``erase`` as a command, and what the others say afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.keys import VARIABLE
from tests.faults.harness import KEY, Bench
from tests.generate import write_log

SECTIONS = '[embed]\nmode = "deferred"\n[pii.detect]\nnames = false\n'


def test_a_user_is_erased_and_stays_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    write_log(tmp_path / "log", 60)
    bench = Bench(tmp_path / "bench", tmp_path / "log", SECTIONS)
    bench.run()
    users = bench.query("SELECT user, count(*) FROM graph_record WHERE user IS NOT NULL GROUP BY 1")
    user, count = max(users, key=lambda row: row[1])
    done = json.loads(bench.command("erase", "--user", user, "--json").out)
    assert done["events"] >= count
    for table in ("graph_record", "search_document", "timeseries_point", "vector_record"):
        assert bench.query(f"SELECT count(*) FROM {table} WHERE user = '{user}'") == [(0,)]
    bench.command("enrich")
    assert bench.query(f"SELECT count(*) FROM vector_record WHERE user = '{user}'") == [(0,)]
    bench.command("prove", "--all", "--json", str(tmp_path / "proof.json"))
    report = json.loads((tmp_path / "proof.json").read_text("utf-8"))
    erased = sum(states.get("erased", 0) for states in report["states"].values())
    assert (erased, report["unaccounted"]) == (done["events"], 0)
    kind, identity = bench.query("SELECT kind, id FROM graph_record LIMIT 1")[0]
    assert "1 events erased" in bench.command("erase", f"{kind}/{identity}").out
    assert "kind/id" in bench.command("erase", code=2).err
    assert "kind" in bench.command("erase", "nonsense", code=2).err
