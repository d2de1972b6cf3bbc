"""What a person asks with leaves the machine as events' texts do: screened."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.keys import load_keys
from flows.settings import Settings, load_settings
from flows.stores import open_stores
from flows.views.neighbours import near_text
from schemas.failures import UserError
from tests.stages.embed.services import Service, openai

ASKED = "What did jane.canary@example.com\r\nask of us?"


def settings_in(folder: Path, port: int, policy: str) -> Settings:
    config = folder / "settings.toml"
    config.write_text(
        f'[embed]\nprovider = "openai"\nbase_url = "http://127.0.0.1:{port}/v1"\n'
        f'[pii.detect]\nnames = false\n[pii.policies]\nEMAIL_ADDRESS = "{policy}"\n'
        "[stores.vector]\ndimensions = 1536\n",
        "utf-8",
    )
    return load_settings(config, data=folder / "data")


@pytest.mark.parametrize("policy", ["redact", "drop"])
def test_a_service_gets_no_personal_data_of_a_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    monkeypatch.setenv("MEMORY_GRAPH_EMBED__API_KEY", "sk-test-1")
    service = Service(openai)
    settings = settings_in(tmp_path, service.port, policy)
    try:
        with open_stores(settings, load_keys(settings.data, create=True)) as stores:
            if policy == "drop":
                with pytest.raises(UserError, match="may be sent"):
                    near_text(stores.views, settings, ASKED, 5, None)
            else:
                assert near_text(stores.views, settings, ASKED, 5, None) == []
    finally:
        service.close()
    sent = [body["input"] for body in service.requests]
    assert sent == ([] if policy == "drop" else [["What did <EMAIL_ADDRESS> ask of us?"]])
