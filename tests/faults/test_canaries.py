"""Every raw field of every event carries a marker of its own; after runs, a kill and dead letters
none of them is in any file, log, metric or message, in any guise."""

from __future__ import annotations

import base64
import hashlib
import json
import signal
import struct
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from msgspec import inspect

from flows.filelog import LogWriter, NewRecord
from schemas.events import TOPICS
from tests.faults.harness import KEY, Bench, Worker
from tests.faults.needles import Needles, strings
from tests.stages.pii.test_canaries import Plant

ROUNDS = 4
START = datetime(2026, 1, 1, tzinfo=UTC)
SECTIONS = "[worker]\nfollow = true\n[metrics]\nport = 0\n"


class Addressable(Plant):
    """What is planted in the address of an image is part of a valid URI."""

    def _field(self, field: inspect.Field, place: str) -> Any:
        value = super()._field(field, place)
        return f"https://images.example/{quote(value)}" if field.name == "url" else value


class Planted:
    """A log full of markers; ``raising`` is the id of an event that is to break a stage."""

    plants: type[Addressable] = Addressable
    first = 1
    """Number of the first event: ids follow from numbers."""

    def __init__(self, folder: Path) -> None:
        self.plant = self.plants()
        self.texts: set[str] = set()
        self.records: list[NewRecord] = []
        self._numbers = iter(range(self.first, self.first + 10_000))
        self.raising = ""
        for turn in range(ROUNDS):
            events = list(self._turn(turn))
            self.records += [self._record(topic, event) for topic, event in events]
            if turn == 1:
                self.raising = events[0][1]["eventId"]
        self.records += self._broken()
        LogWriter(folder).append(self.records)

    def needles(self) -> Needles:
        markers = self.plant.marked
        whole = {" ".join(t.split()) for t in self.texts} | self.texts
        # What is a marker is searched anyway; a word of the schema's own is no secret.
        made = Needles(markers, {t for t in whole if any(m in t for m in markers)})
        made.secret(base64.b64decode(KEY), "the master key")
        return made

    def _turn(self, turn: int) -> Iterator[tuple[str, dict[str, Any]]]:
        """A prompt, its response and a session event; the response comes first in odd turns."""
        made = {topic: self._event(turn, topic) for topic in TOPICS}
        prompt, response = list(made)[:2]
        made[response]["promptEventId"] = made[prompt]["eventId"]
        order = list(made.items())
        yield from order if turn % 2 == 0 else reversed(order)

    def _event(self, turn: int, topic: str) -> dict[str, Any]:
        name = TOPICS[topic].__name__
        event: dict[str, Any] = self.plant.fill(inspect.type_info(TOPICS[topic]), f"{turn} {name}")
        event["eventId"] = str(uuid.UUID(int=next(self._numbers) << 64, version=4))
        event["timestamp"] = (START + timedelta(seconds=turn)).isoformat()
        event |= {"fieldUnknown": self.plant.mail(f"{turn} unknown field")}
        if "endedAt" in event:
            event["startedAt"] = event["endedAt"] = event["timestamp"]
        self.texts |= set(strings(event))
        return event

    def _broken(self) -> Iterator[NewRecord]:
        """An event for every way to become a dead letter before the stores."""
        for number in range(6):
            topic = list(TOPICS)[number % 3 if number < 5 else 0]
            event = self._event(ROUNDS + number, topic)
            record = self._record(topic, event)
            value, headers = record.value, record.headers
            if number == 0:
                event["elsewhere"] = event.pop("session")
                value = json.dumps(event).encode()
            elif number == 1:
                value = value[:-1]
            elif number == 2:
                value = value.replace(b'"eventId"', b'"\xff": 1, "eventId"', 1)
            elif number == 3:
                headers = (*headers, ("schema_version", b"9.0"))
            elif number == 4:
                event["timestamp"] = self.plant.mail("a broken time")
                value = json.dumps(event).encode()
            else:
                event["eventId"] = json.loads(self.records[0].value)["eventId"]
                value = json.dumps(event).encode()
            yield NewRecord(topic, value, record.timestamp, record.key, headers)

    def _record(self, topic: str, event: dict[str, Any]) -> NewRecord:
        mail = self.plant.mail
        headers = (
            ("source", mail("header source").encode()),
            (mail("header name"), mail("header value").encode()),
        )
        value = json.dumps(event, ensure_ascii=False).encode()
        moment = datetime.fromisoformat(event["timestamp"])
        return NewRecord(
            topic, value, int(moment.timestamp() * 1000), mail("record key").encode(), headers
        )


def haystacks(bench: Bench, extra: dict[str, bytes]) -> dict[str, bytes]:
    """All files that the worker and the commands wrote, by name."""
    files = [p for p in bench.folder.rglob("*") if p.is_file()]
    found = {}
    for path in files:
        with suppress(FileNotFoundError):  # The health is written beside its file, and moved.
            found[str(path.relative_to(bench.folder))] = path.read_bytes()
    return found | extra


def metrics(worker: Worker) -> bytes:
    (entry,) = [e for e in map(json.loads, worker.err.splitlines()) if e["event"] == "metrics"]
    with urllib.request.urlopen(f"http://127.0.0.1:{entry['port']}/metrics") as answer:
        return bytes(answer.read())


@pytest.mark.timeout(600)
def test_no_marker_is_anywhere(tmp_path: Path) -> None:
    planted = Planted(tmp_path / "log")
    needles = planted.needles()
    bench = Bench(tmp_path / "bench", tmp_path / "log", SECTIONS)
    child = (sys.executable, "-m", "tests.faults.child", f"raise:lookup:{planted.raising}")
    seen: dict[str, set[str]] = {}

    def look(when: str, extra: dict[str, bytes] | None = None) -> None:
        for name, data in haystacks(bench, extra or {}).items():
            places = needles.found(data)
            if places:
                seen[f"{name}, {when}"] = places

    with bench.start(child) as worker:
        worker.until(lambda: bench.mark() is not None, "the first stage")
        worker.kill()
    look("after a kill")
    with bench.start(child) as worker:
        worker.until(lambda: bench.committed() == len(planted.records), "the end of the log")
        worker.until(lambda: "isolating" in worker.err, "the isolation")
        look("while it runs", {"metrics": metrics(worker)})
        worker.signal(signal.SIGTERM)
        worker.wait(0)
    letters = json.loads(bench.command("dlq", "list", "--json").out)
    assert {letter["code"] for letter in letters} >= {
        "missing_field",
        "invalid_json",
        "invalid_utf8",
        "unsupported_schema_version",
        "bad_format",
        "conflicting_duplicate",
        "internal_error",
    }
    for words in (
        ("status",),
        ("usage",),
        ("search", "and"),
        ("graph", "export", "--format", "json"),
        ("dlq", "list"),
        ("dlq", "show", str(letters[0]["sequence"])),
        ("dlq", "retry"),
        ("reconcile",),
    ):
        bench.command(*words)
    with max(bench.log.rglob("*.jsonl"), key=lambda p: p.stat().st_size).open("ab") as file:
        file.write(b'{"timestamp": 1, "value": ' + planted.plant.mail("a bad line").encode())
        file.write(b"}\n")
    with bench.worker() as worker:
        worker.wait(2)
    needles = planted.needles()
    look("in the end")
    assert seen == {}
    assert bench.query("SELECT count(*) FROM vector_record")[0][0] > 0


@pytest.mark.timeout(600)
def test_the_search_finds_what_is_there(tmp_path: Path) -> None:
    """The same search over the log finds every marker, so that it can find one at all."""
    planted = Planted(tmp_path / "log")
    needles = planted.needles()
    raw = b"".join(p.read_bytes() for p in (tmp_path / "log").rglob("*.jsonl")).decode()
    raw = "".join(
        base64.b64decode(v).decode(errors="replace")
        if (v := line.get("valueBase64"))
        else line["value"] + str(line)
        for line in map(json.loads, raw.splitlines())
    )
    while "\\\\" in raw:
        raw = raw.replace("\\\\", "\\")
    assert needles.found(raw.encode()) >= set(planted.plant.marked.values())


def test_the_search_finds_every_guise() -> None:
    needles = Needles({"zq1@canary1.org": "mail", "4556737586899855": "card"}, ["a whole text"])
    texts = {
        b"x zq1@canary1.org y": "mail",
        b"ZQ1%40CANARY1.ORG": "mail",
        b'"zq1\\u0040canary1.org"': "mail",
        b'"{\\"zq1\\\\u0040canary1.org\\"}"': "mail",
        b"zq1@canary1.org".hex().encode(): "mail",
        hashlib.sha1(b"zq1@canary1.org").hexdigest().encode(): "mail",
        base64.b64encode(hashlib.sha256(b"zq1@canary1.org").digest()): "mail",
        b".." + hashlib.md5(b"zq1@canary1.org").digest(): "mail",
        b"1" + struct.pack(">q", 4556737586899855): "card",
        b"1" + struct.pack(">d", 4556737586899855): "card",
        b"12" + hashlib.sha256(b"a whole text").digest(): "hash of a text: a whole text",
        hashlib.sha256(b"a whole text").hexdigest().encode(): "hash of a text: a whole text",
    }
    for pad in range(6):
        texts[base64.b64encode(b"-" * pad + b"zq1@canary1.org and more")] = "mail"
    for text, place in texts.items():
        assert needles.found(b"some padding" + text + b"behind it") == {place}, text
    assert needles.found(b"nothing of the kind is in here, zq2@canary2.org") == set()
