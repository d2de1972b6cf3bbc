from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from deploy.local.registry import RegistryServer
from schemas.failures import UserError
from schemas.ports import Price, Unavailable
from schemas.proto import registry_pb2 as pb
from schemas.proto.registry_pb2_grpc import (
    RegistryServiceServicer,
    add_RegistryServiceServicer_to_server,
)
from stages.lookup import LookupSettings, TomlRegistry, shipped_models
from stages.lookup.registry_grpc import GrpcRegistry
from stages.lookup.registry_wire import Malformed, from_message, to_message
from tests.awaiting import until
from tests.stages.lookup.certificates import self_signed
from tests.stages.lookup.test_registry import NOW, at

LIST = """
version = "list-1"

[[models]]
id = "big-1"
provider = "Acme AI"
aliases = ["big"]
context_window = 1000
prices = [
  {{ from = "2026-01-01", input = 1.0, output = 2.0 }},
  {{ from = "2026-02-01", version = "later", input = {price}, output = 1e-6, tiers = {tiers} }},
]
"""


def _list(price: str) -> str:
    tiers = "[{ above = 10, input = 7, output = 9.25, cached = 0 }]"
    return LIST.format(price=price, tiers=tiers)


def registry_at(port: int, toml: TomlRegistry, **more: Any) -> GrpcRegistry:
    values = {"registry_address": f"127.0.0.1:{port}", "registry_plaintext": True, **more}
    clock = values.pop("clock", time.monotonic)
    return GrpcRegistry(LookupSettings(**values), toml.known_provider, clock=clock)


class Served:
    """A price list, its reference server, and a client of it."""

    def __init__(self, path: Path, **more: Any) -> None:
        self.path = path
        self.toml = TomlRegistry(path)
        self.server = RegistryServer([path])
        self.port = self.server.start()
        self.client = registry_at(self.port, self.toml, **more)

    def close(self) -> None:
        self.client.close()
        self.server.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    path = tmp_path / "models.toml"
    path.write_text(_list(price="3.5"), "utf-8")
    made = Served(path)
    yield made
    made.close()


def test_it_answers_what_the_shipped_list_answers() -> None:
    toml = TomlRegistry(shipped_models())
    server = RegistryServer([shipped_models()])
    client = registry_at(server.start(), toml)
    try:
        asked: list[tuple[str, str | None, int]] = []
        for provider, name in toml.names:
            for spelling in (name, name.upper(), f"{provider}/{name}", f"{name}-2031-01-01"):
                asked += [(spelling, None, NOW), (spelling, provider, NOW), (spelling, "azure", 0)]
        asked += [("openai:gpt-4o", None, NOW), ("gpt-4o", "nobody", NOW), ("nothing", None, NOW)]
        assert client.lookup(asked) == toml.lookup(asked)
        assert sum(entry is not None for entry in toml.lookup(asked)) > len(asked) // 2
        until(lambda: client.following)
        client.lookup(asked[-500:])
        before = client.asked
        assert client.lookup(asked[-500:]) == toml.lookup(asked[-500:])
        assert client.asked == before
    finally:
        client.close()
        server.close()


names = st.text(st.sampled_from("ab1-@:/. "), min_size=1, max_size=6).filter(
    lambda name: not name.strip().lower().startswith(("p:", "q:", "p%3a"))
)
providers = st.sampled_from(["P", "q", "p:x"])
rates = st.integers(0, 10**10).map(lambda pico: f"{pico // 10**6}.{pico % 10**6:06}")


@st.composite
def price_lists(draw: st.DrawFn) -> str:
    lines, taken = ['version = "v"', "[providers]", 'P = ["pee"]'], set()
    for provider in draw(st.lists(providers, max_size=6)):
        name = draw(names)
        if (provider, name.lower()) in taken:
            continue
        taken.add((provider, name.lower()))
        days = sorted(draw(st.sets(st.dates(datetime.date(1990, 1, 1), datetime.date(2030, 1, 1)),
                                   max_size=3)))  # fmt: skip
        prices = ", ".join(
            f"{{ from = {day}, input = {draw(rates)}, output = {draw(rates)},"
            f" reasoning = {draw(rates)},"
            f" tiers = [{{ above = 5, input = {draw(rates)}, output = {draw(rates)} }}] }}"
            for day in days
        )
        lines += [
            "[[models]]",
            f'id = "{name}"',
            f'provider = "{provider}"',
            f"prices = [{prices}]",
        ]
    return "\n".join(lines)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    text=price_lists(),
    asked=st.lists(
        st.tuples(names, st.sampled_from([None, "", "P", "Pee", "q", "z", "p:x"]),
                  st.integers(at("1989-01-01"), at("2031-01-01"))),
        max_size=20,
    ),
)  # fmt: skip
def test_it_answers_what_any_list_answers(
    tmp_path_factory: pytest.TempPathFactory, text: str, asked: list[tuple[str, str | None, int]]
) -> None:
    path = tmp_path_factory.mktemp("list") / "models.toml"
    path.write_text(text, "utf-8")
    made = Served(path)
    try:
        known = [(m.id, p, t) for m in made.toml.models.values() for _, p, t in asked]
        prefixed = [(f"{m.provider}/{m.id}", None, NOW) for m in made.toml.models.values()]
        asked = [*asked, *known, *prefixed]
        assert made.client.lookup(asked) == made.toml.lookup(asked)
    finally:
        made.close()


def test_all_names_of_a_call_go_out_in_one_batch_and_are_remembered(served: Served) -> None:
    asked = [("big", None, NOW), ("BIG-1", "acme.ai", NOW), ("unknown", None, NOW)]
    assert served.client.lookup(asked) == served.toml.lookup(asked)
    until(lambda: served.client.following)
    before = served.server.calls
    first = served.client.lookup(asked)
    assert first[2] is None
    assert served.server.calls == before + 1
    assert served.client.lookup(asked[::-1]) == first[::-1]
    assert served.server.calls == before + 1


def test_what_is_remembered_ends_and_is_not_used_when_the_registry_is_down(tmp_path: Path) -> None:
    path = tmp_path / "models.toml"
    path.write_text(_list(price="3.5"), "utf-8")
    now = [100.0]
    made = Served(path, clock=lambda: now[0], registry_cache_seconds=300)
    try:
        assert made.client.lookup([("big", None, NOW)])[0] is not None
        until(lambda: made.client.following)
        made.client.lookup([("big", None, NOW)])  # Subscribing forgot it once.
        now[0] += 301
        calls = made.server.calls
        made.client.lookup([("big", None, NOW)])
        assert made.server.calls == calls + 1
        made.server.close()
        now[0] += 301
        with pytest.raises(Unavailable) as caught:
            made.client.lookup([("big", None, NOW)])
        assert (caught.value.what, caught.value.code) == ("registry", "unreachable")
    finally:
        made.client.close()


def test_an_update_counts_at_once_for_known_and_for_unknown_names(served: Served) -> None:
    assert served.client.lookup([("small", None, NOW)]) == [None]
    until(lambda: served.client.following)
    moment = at("2026-03-01")

    def price() -> int:
        (entry,) = served.client.lookup([("big", None, moment)])
        assert entry is not None
        assert entry.price is not None
        return entry.price.input

    assert price() == 3_500_000
    small = '\n[[models]]\nid = "small"\nprovider = "Acme AI"\n'
    served.path.write_text(_list(price="4.25") + small, "utf-8")
    until(lambda: price() == 4_250_000)
    until(lambda: served.client.lookup([("small", None, NOW)])[0] is not None)
    served.path.write_text("version = 'x'\n", "utf-8")
    until(lambda: served.client.lookup([("big", None, moment)]) == [None])
    # The history is append-only in the list's own hands: an event of January kept its price.
    served.path.write_text("not TOML", "utf-8")
    assert served.client.lookup([("big", None, moment)]) == [None]


def test_an_interrupted_stream_is_taken_up_again_and_nothing_is_missed(served: Served) -> None:
    served.client.lookup([("big", None, NOW)])
    until(lambda: served.client.following)
    served.server.close()
    served.path.write_text(_list(price="9"), "utf-8")
    again = RegistryServer([served.path])
    again.start(served.port)
    try:
        until(lambda: again.subscribers == 1)

        def price() -> Price | None:
            try:
                (entry,) = served.client.lookup([("big", None, NOW)])
            except Unavailable:
                return None
            return entry and entry.price

        until(lambda: price() == TomlRegistry(served.path).lookup([("big", None, NOW)])[0].price)
    finally:
        again.close()


class Failing(RegistryServiceServicer):
    """Answers with a status, or hangs; counts."""

    def __init__(self) -> None:
        self.status: grpc.StatusCode | None = None
        self.calls = 0
        self.released = threading.Event()
        self.models: dict[str, pb.Model] = {}

    def BatchGetModels(self, request: pb.BatchGetModelsRequest, context: Any) -> Any:  # noqa: N802
        self.calls += 1
        if self.status is grpc.StatusCode.DEADLINE_EXCEEDED:
            self.released.wait(10)
        elif self.status is not None:
            context.abort(self.status, "secret of the server's")
        return pb.BatchGetModelsResponse(
            models={k: self.models[k] for k in request.model_ids if k in self.models}
        )


@pytest.fixture
def failing() -> Iterator[tuple[Failing, int]]:
    from concurrent.futures import ThreadPoolExecutor

    service = Failing()
    server = grpc.server(ThreadPoolExecutor(8))
    add_RegistryServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield service, port
    service.released.set()
    server.stop(0).wait()


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (grpc.StatusCode.UNAVAILABLE, "unreachable"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "timeout"),
        (grpc.StatusCode.UNAUTHENTICATED, "unauthenticated"),
        (grpc.StatusCode.PERMISSION_DENIED, "forbidden"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "rate_limited"),
        (grpc.StatusCode.INTERNAL, "grpc_internal"),
    ],
)
def test_what_fails_has_a_code_of_ours_and_is_not_asked_again_at_once(
    failing: tuple[Failing, int], status: grpc.StatusCode, code: str
) -> None:
    service, port = failing
    service.status = status
    now = [100.0]
    seconds = 1.0 if code == "timeout" else 30.0
    client = registry_at(
        port, TomlRegistry(), clock=lambda: now[0], registry_deadline_seconds=seconds
    )
    try:
        for _ in range(3):
            with pytest.raises(Unavailable) as caught:
                client.lookup([("big", None, NOW)])
            assert caught.value.code == code
            assert "secret" not in str(caught.value)
        assert service.calls == 1
        service.status = None
        service.released.set()

        def known() -> bool:
            now[0] += 40
            try:
                return client.lookup([("big", None, NOW)]) == [None]
            except Unavailable:
                return False

        until(known)
    finally:
        client.close()


def test_a_registry_without_updates_is_remembered_as_long_as_any(
    failing: tuple[Failing, int],
) -> None:
    service, port = failing
    client = registry_at(port, TomlRegistry())
    try:
        client.lookup([("big", None, NOW)])
        until(lambda: client._thread is not None and not client._thread.is_alive())
        assert not client.following
        client.lookup([("big", None, NOW)])
        before = service.calls
        for _ in range(3):
            client.lookup([("big", None, NOW)])
        assert service.calls == before <= 2
    finally:
        client.close()


def test_a_stream_that_does_not_come_about_ends_no_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What refuses the subscription as well is not taken for a registry that works again."""
    path = tmp_path / "models.toml"
    path.write_text(_list("3.5"), "utf-8")
    made = Served(path)
    made.server.close()
    subscribed, worked = [], []
    stub, holdoff = made.client._stub, made.client._holdoff
    subscribe = stub.StreamModelUpdates

    def counted(request: pb.StreamModelUpdatesRequest) -> Any:
        subscribed.append(request)
        return subscribe(request)

    monkeypatch.setattr(stub, "StreamModelUpdates", counted)
    monkeypatch.setattr(holdoff, "worked", lambda: worked.append(True))
    try:
        with pytest.raises(Unavailable):
            made.client.lookup([("big", None, NOW)])
        until(lambda: len(subscribed) == 3)
        assert worked == []
        assert not made.client.following
    finally:
        made.client.close()


def test_plain_fields_are_a_price_without_history(failing: tuple[Failing, int]) -> None:
    service, port = failing
    plain = pb.Model(id="m", provider="Acme", input_cost_per_1k=0.00015, output_cost_per_1k=0.0006)
    service.models = {
        "m": plain,
        "free": pb.Model(id="free", provider="acme"),
        "fine": pb.Model(id="fine", provider="acme", input_cost_per_1k=1e-11),
        "bad": pb.Model(id="bad", provider="acme", metadata={"prices": '[{"from": 1}]'}),
    }
    client = registry_at(port, TomlRegistry())
    try:
        asked = [("m", None, 0), ("M", "ACME", 0), ("m", "other", 0), ("free", None, 0),
                 ("fine", None, 0), ("bad", None, 0)]  # fmt: skip
        m, same, other, free, fine, bad = client.lookup(asked)
        assert m is not None
        assert m.price == Price("registry", "1970-01-01", 150_000, 600_000)
        assert same is not None
        assert (same.price, other, fine, bad) == (m.price, None, None, None)
        assert free is not None
        assert free.price is None
        assert client.malformed == 2
    finally:
        client.close()


@pytest.mark.parametrize("text", ["[", "{}", '[{"from": "x", "input": "1", "output": "1"}]',
                                  "[" * 100_000, '[{"from": "2026-01-01", "input": "1e-9", '
                                  '"output": "1"}]'])  # fmt: skip
def test_a_malformed_history_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        from_message(pb.Model(id="m", provider="p", metadata={"prices": text}))


def test_a_model_survives_the_wire() -> None:
    for model in TomlRegistry(shipped_models()).models.values():
        wire = to_message(model, "litellm").SerializeToString()
        assert from_message(pb.Model.FromString(wire)) == model


def test_tls_with_an_authority_of_ones_own_and_never_in_the_clear(
    tmp_path: Path, served: Served
) -> None:
    key, certificate = self_signed("localhost")
    (tmp_path / "ca.pem").write_bytes(certificate)
    server = RegistryServer([served.path])
    port = server.start(certificate=certificate, key=key)
    values: dict[str, Any] = {"registry_address": f"localhost:{port}"}
    trusting = GrpcRegistry(
        LookupSettings(**values, registry_ca=tmp_path / "ca.pem", registry_token=SecretStr("t")),
        served.toml.known_provider,
    )
    others = [
        GrpcRegistry(LookupSettings(**values), served.toml.known_provider),
        GrpcRegistry(LookupSettings(**values, registry_plaintext=True), served.toml.known_provider),
    ]
    asked: Sequence[tuple[str, str | None, int]] = [("big", None, NOW)]
    try:
        assert trusting.lookup(asked) == served.toml.lookup(asked)
        for client in others:
            with pytest.raises(Unavailable):
                client.lookup(asked)
    finally:
        for client in (trusting, *others):
            client.close()
        server.close()
    with pytest.raises(UserError, match="registry_ca"):
        GrpcRegistry(LookupSettings(**values, registry_ca=tmp_path / "none.pem"), lambda _: None)
    with pytest.raises(ValueError, match="needs TLS"):
        LookupSettings(registry_plaintext=True, registry_token=SecretStr("t"))


class Flapping(Failing):
    """Takes subscriptions, and ends each at once."""

    def StreamModelUpdates(self, request: Any, context: Any) -> Any:  # noqa: N802
        context.send_initial_metadata(())
        return iter(())


def test_a_stream_that_ends_at_once_is_asked_for_ever_more_rarely(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each subscription empties what is remembered: twice a second would be no cache."""
    from concurrent.futures import ThreadPoolExecutor

    import stages.lookup.registry_grpc as module

    pauses: list[float] = []

    def noted(seconds: float) -> float:
        pauses.append(seconds)
        return 0.001

    monkeypatch.setattr(module, "jittered", noted)
    server = grpc.server(ThreadPoolExecutor(4))
    add_RegistryServiceServicer_to_server(Flapping(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    client = registry_at(port, TomlRegistry())
    try:
        client.lookup([("big", None, NOW)])
        until(lambda: len(pauses) >= 6)
        assert pauses[:6] == [0.5, 1.0, 2.0, 4.0, 8.0, 15.0]
    finally:
        client.close()
        server.stop(0).wait()


def spelled(name: str, provider: str, **more: Any) -> pb.Model:
    return pb.Model(id=name, provider=provider, **more)


def test_a_registry_may_spell_its_providers_in_any_of_their_ways(
    failing: tuple[Failing, int],
) -> None:
    """What the shipped list knows as azure is Azure OpenAI there, and here whatever events say."""
    service, port = failing
    service.models = {"falcon": spelled("falcon", "Azure-OpenAI")}
    client = registry_at(port, TomlRegistry(shipped_models()))
    try:
        found = client.lookup([("falcon", p, NOW) for p in ("azure", "azure.ai.openai", "openai")])
        assert [entry and entry.facts.id for entry in found] == ["falcon", "falcon", None]
    finally:
        client.close()


def test_an_update_ends_that_a_model_is_unknown_however_its_provider_is_spelled(
    failing: tuple[Failing, int],
) -> None:
    service, port = failing
    client = registry_at(port, TomlRegistry(shipped_models()))
    asked = [("falcon", "azure", NOW)]
    try:
        assert client.lookup(asked) == [None]
        until(lambda: client._thread is not None and not client._thread.is_alive())
        assert client.lookup(asked) == [None]
        model = spelled("falcon", "Azure-OpenAI")
        service.models = {"azure:falcon": model}
        client._forget(model)
        assert client.lookup(asked) != [None]
    finally:
        client.close()


@pytest.mark.parametrize(
    "per_million", ["0.14", "0.28", "0.07", "0.8", "2.19", "1234.567891", "3e-6"]
)
def test_a_price_that_was_reckoned_in_doubles_is_the_one_that_was_meant(per_million: str) -> None:
    """Per token times 1,000, or per million by 1,000, may miss the decimal by the last bit."""
    rate = float(per_million)
    for reckoned in (rate / 1000, rate / 1e6 * 1000, rate * 1e-3, rate * 1e-6 * 1e3):
        message = spelled("m", "p", input_cost_per_1k=reckoned, output_cost_per_1k=reckoned)
        (price,) = from_message(message).prices
        assert price.input == round(float(per_million) * 1_000_000)
