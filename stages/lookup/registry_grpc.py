"""The model registry behind gRPC: asked in batches, remembered for minutes, told of updates."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import grpc
import structlog

from schemas.ports import ModelEntry, Unavailable
from schemas.proto import registry_pb2 as pb
from schemas.proto.registry_pb2_grpc import RegistryServiceStub
from stages.holdoff import PAUSES, Holdoff, jittered
from stages.lookup.names import provider_name, variants
from stages.lookup.prices import Model, resolved
from stages.lookup.registry_channel import code_of, open_channel
from stages.lookup.registry_wire import Malformed, from_message, qualified
from stages.lookup.settings import LookupSettings

BATCH: Final = 500
"""Most names in one request."""
REMEMBERED: Final = 20_000
LONG: Final = 512
"""Characters: longer names are not remembered, so that the bound is one of memory too."""
LASTING: Final = 30.0
"""Seconds: a stream that ends sooner, without an update, is asked for again after ever longer
pauses: each subscription makes everything forgotten."""

_log = structlog.get_logger("registry")


class GrpcRegistry:
    """:class:`schemas.ports.Registry` over ``llm.registry.v1``; see :mod:`.registry_wire`.

    An event's model is looked for under the same names, in the same order, as in a TOML list
    (:func:`stages.lookup.names.variants`); ``known_provider`` knows the providers' other names.
    All names of a call that are not remembered go out in one batch. Answers, also that a name is
    not known, are remembered for ``registry_cache_seconds``, never longer: while the registry is
    down, what has expired is unavailable, so that no event is priced by an old list. Updates of
    the stream make what they concern forgotten at once; a stream that was interrupted, everything.

    Connects when it is first needed, and never raises for a registry that is down but in
    :meth:`lookup`: Unavailable, at once while it is known to be down. Safe from any thread.
    """

    def __init__(
        self,
        settings: LookupSettings,
        known_provider: Callable[[str], str | None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._known_provider = known_provider
        self._deadline = settings.registry_deadline_seconds
        self._keep = settings.registry_cache_seconds
        self._clock = clock
        self._channel = open_channel(settings)
        self._stub: Any = RegistryServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._lock = threading.Lock()
        self._held: OrderedDict[str, tuple[float, Model | None]] = OrderedDict()
        self._generation = 0
        self._holdoff = Holdoff("registry", clock)
        self._stop = threading.Event()
        self._call: Any = None
        self._thread: threading.Thread | None = None
        self.following = False
        """Whether updates arrive now."""
        self.asked = 0
        """Names sent to the registry since the start."""
        self.malformed = 0
        """Models that the registry described impossibly, and that count as unknown."""

    def lookup(
        self, models: Sequence[tuple[str, str | None, int]], /
    ) -> Sequence[ModelEntry | None]:
        """See :meth:`schemas.ports.Registry.lookup`."""
        self._listen()
        wanted = {
            (name, provider): self._candidates(name, provider)
            for name, provider in dict.fromkeys((name, provider) for name, provider, _ in models)
        }
        found = self._answers({key for keys in wanted.values() for key, _ in keys})
        entries = {
            (name, provider): None if model is None else resolved(model, name, provider)
            for (name, provider), keys in wanted.items()
            for model in (self._chosen(keys, found),)
        }
        answers: list[ModelEntry | None] = []
        for name, provider, moment in models:
            entry = entries[name, provider]
            answers.append(None if entry is None else entry.at(moment))
        return answers

    def close(self) -> None:
        """Ends the stream and the connection."""
        self._stop.set()
        with self._lock:
            call = self._call
        if call is not None:
            call.cancel()
        self._channel.close()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _candidates(self, name: str, provider: str | None) -> list[tuple[str, str | None]]:
        """What to ask for, most exact first, each with the provider that it has to be of."""
        given = (self._known_provider(provider) or provider_name(provider)) if provider else None
        keys: list[tuple[str, str | None]] = []
        for variant, named in variants(name, self._known_provider):
            owner = given or named
            if owner is not None:
                keys.append((qualified(owner, variant), owner))
            # A registry that knows bare names only: its answer counts if the provider is right.
            keys.append((variant, owner))
        return keys

    def _chosen(
        self, keys: Iterable[tuple[str, str | None]], found: Mapping[str, Model | None]
    ) -> Model | None:
        for key, owner in keys:
            model = found[key]
            if model is None:
                continue
            if owner is None:
                head, colon, _ = key.partition(":")
                # ``provider:name`` as a name of its own is not the registry's way to ask.
                literal = key in model.names
                if literal or not colon or self._known_provider(head) is None:
                    return model
            elif self._canonical(model.provider) == self._canonical(owner):
                return model
        return None

    def _canonical(self, provider: str) -> str:
        """One name for all spellings of a provider."""
        return provider_name(self._known_provider(provider) or provider)

    def _answers(self, keys: Iterable[str]) -> dict[str, Model | None]:
        """Remembered or asked for. Raises Unavailable."""
        now = self._clock()
        found: dict[str, Model | None] = {}
        missing = []
        with self._lock:
            for key in keys:
                held = self._held.get(key)
                if held is not None and now < held[0]:
                    found[key] = held[1]
                else:
                    missing.append(key)
            generation = self._generation
        missing.sort()
        for start in range(0, len(missing), BATCH):
            found |= self._ask(missing[start : start + BATCH], generation)
        return found

    def _ask(self, keys: Sequence[str], generation: int) -> dict[str, Model | None]:
        self._holdoff.check()
        request = pb.BatchGetModelsRequest(model_ids=keys)
        try:
            response = self._stub.BatchGetModels(request, timeout=self._deadline)
        except grpc.RpcError as error:
            raise self._holdoff.failed(code_of(error)) from None
        except ValueError:  # What grpc raises on a channel that was closed.
            raise Unavailable("registry", "closed") from None
        self._holdoff.worked()
        found = {key: self._read(response.models.get(key)) for key in keys}
        until = self._clock() + self._keep
        with self._lock:
            self.asked += len(keys)
            if generation == self._generation:
                for key, model in found.items():
                    if len(key) <= LONG:
                        self._held[key] = until, model
                        self._held.move_to_end(key)
                while len(self._held) > REMEMBERED:
                    self._held.popitem(last=False)
        return found

    def _read(self, message: pb.Model | None) -> Model | None:
        if message is None:
            return None
        try:
            return from_message(message)
        except Malformed as error:
            self.malformed += 1
            _log.warning("model_ignored", code=error.code)
            return None

    def _listen(self) -> None:
        """Starts the thread that follows the registry's updates, once."""
        if self._thread is None and not self._stop.is_set():
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(
                        target=self._follow, name="registry-updates", daemon=True
                    )
                    self._thread.start()

    def _follow(self) -> None:
        failures = 0
        told = ""
        while not self._stop.is_set():
            began = self._clock()
            updates = 0
            try:
                call = self._stub.StreamModelUpdates(pb.StreamModelUpdatesRequest())
                with self._lock:
                    self._call = call
                if self._stop.is_set():
                    call.cancel()
                    return
                call.initial_metadata()
                if call.is_active():
                    # The subscription stands; what came before it was missed.
                    self._forget_all()
                    self._holdoff.worked()
                    self.following = True
                for update in call:
                    self._forget(update.model)
                    updates += 1
                code = "ended"
            except grpc.RpcError as error:
                code = code_of(error)
            except ValueError:  # The channel was closed.
                return
            if self._stop.is_set():
                return
            if updates or (self.following and self._clock() - began > LASTING):
                failures, told = 0, ""
            if self.following:
                self.following = False
                self._forget_all()
            if code != told:
                told = code
                _log.warning("updates_interrupted", code=code)
            if code == "unimplemented":
                return
            self._stop.wait(jittered(PAUSES[min(failures, len(PAUSES) - 1)]))
            failures += 1

    def _forget_all(self) -> None:
        with self._lock:
            self._generation += 1
            self._held.clear()

    def _forget(self, message: pb.Model) -> None:
        """Everything that an update may have changed: the model itself, and each of its names."""
        model = self._read(message)
        if model is None:
            self._forget_all()
            return
        with self._lock:
            self._generation += 1
            for key, (_, held) in list(self._held.items()):
                same = held is not None and (held.provider, held.id) == (model.provider, model.id)
                # Of any provider: events may spell it otherwise than the registry does.
                if same or key in model.names or key.partition(":")[2] in model.names:
                    del self._held[key]
