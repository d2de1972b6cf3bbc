"""What our broker is given."""

from __future__ import annotations

import base64
import sys
import uuid
from pathlib import Path

import pytest

from deploy.local.failures import StartFailed
from deploy.local.kinds import kafka
from deploy.local.kinds.base import Place


def test_a_cluster_id_is_never_taken_for_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    """One in 64 random ids begins with a dash: Kafka's own tool refuses to format with it."""
    dashed = uuid.UUID(bytes=b"\xfb" + bytes(15))
    assert base64.urlsafe_b64encode(dashed.bytes).startswith(b"-")
    made = iter([dashed, dashed, uuid.UUID(int=1)])
    monkeypatch.setattr(uuid, "uuid4", lambda: next(made))
    assert kafka._cluster_id() == base64.urlsafe_b64encode(uuid.UUID(int=1).bytes).decode()[:22]


def test_why_it_could_not_format_is_in_the_message_without_the_password(tmp_path: Path) -> None:
    place = Place(tmp_path, {}, {"password": "0f-secret"}, {})
    fails = "import sys; print('no room', sys.argv[1]); sys.exit(1)"
    with pytest.raises(StartFailed, match=r"no room \*\*\*$"):
        kafka._format((sys.executable, "-c", fails, "0f-secret"), {}, place)
