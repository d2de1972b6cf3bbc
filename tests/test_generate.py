"""The generated log holds what it promises; the same seed gives the same log."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from schemas.events import PromptEvent, ResponseEvent
from schemas.items import Decoded
from schemas.log import LogRecord
from stages.validate import Validate
from tests.generate import ORPHAN_AFTER_MS, directory_toml, generate, write_log

HOUR = 3_600_000


def test_the_same_seed_gives_the_same_log() -> None:
    assert list(generate(300, 1)) == list(generate(300, 1))
    assert list(generate(300, 1)) != list(generate(300, 2))
    assert directory_toml(1) == directory_toml(1)


def test_states_and_duplicates_are_far_from_their_limits(tmp_path: Path) -> None:
    records = write_log(tmp_path)
    assert len(records) == 20_000
    codes: Counter[str] = Counter()
    seen: dict[tuple[str, str], list[Decoded]] = {}
    validate = Validate()
    for record in records:
        result = validate.one(record)
        if isinstance(result, Decoded):
            seen.setdefault((result.kind, result.id), []).append(result)
        else:
            codes[result.code] += 1
    assert len(codes) == 8
    for deliveries in seen.values():
        first, *more = sorted(d.origin.timestamp for d in deliveries)
        assert all(0 < t - first < 0.9 * HOUR or t - first > 1.1 * HOUR for t in more)
        assert len({bytes(d.original.open()[2]) for d in deliveries}) == 1
    _check_orphans(records, seen)


def _check_orphans(records: list[LogRecord], seen: dict[tuple[str, str], list[Decoded]]) -> None:
    end = max(record.origin.timestamp for record in records)
    prompts = {d.id: d for (_, _), (d, *_) in seen.items() if isinstance(d.event, PromptEvent)}
    waits: Counter[str] = Counter()
    for decoded, *_ in seen.values():
        if not isinstance(decoded.event, ResponseEvent):
            continue
        prompt = prompts.get(decoded.event.prompt_event_id)
        if prompt is None:
            waited = end - decoded.origin.timestamp
            waits["orphan" if waited > ORPHAN_AFTER_MS else "waiting"] += 1
            assert waited < 0.5 * ORPHAN_AFTER_MS or waited > 2 * ORPHAN_AFTER_MS
        elif prompt.origin.timestamp - decoded.origin.timestamp > ORPHAN_AFTER_MS:
            waits["late"] += 1
        elif prompt.origin.timestamp > decoded.origin.timestamp:
            waits["before"] += 1
    assert waits["orphan"] > 50
    assert waits["late"] > 50
    assert waits["before"] > 500
    assert 0 < waits["waiting"] < 20
