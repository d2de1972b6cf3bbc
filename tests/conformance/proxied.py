"""A sink on a server, through a proxy that can fail: what the harnesses of servers share."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

from schemas.ports import Sink
from schemas.records import Store
from tests.conformance.harness import Outage
from tests.servers.proxy import Proxy


class ProxiedHarness(ABC):
    """Most of :class:`tests.conformance.harness.Harness`. ``target``: the port of the server."""

    store: Store
    patient = 30.0
    """Seconds for a call as long as the server is well."""
    impatient = 1.0
    """Seconds for a call while the server hangs."""
    greeting = 100
    """Bytes that the server sends before it answers what it was asked."""

    def __init__(self, target: int) -> None:
        self._target = target
        self.proxy: Proxy | None = None
        self._opened: Any = None
        self.outages: dict[str, Outage] = {
            "refused": lambda: self._while(lambda p: p.refuse()),
            "hanging": lambda: self._while(lambda p: p.hang(), self.impatient),
            "slow": lambda: self._while(lambda p: p.delay(self.impatient), self.impatient),
            "cut in mid-batch": lambda: self._while(lambda p: p.cut(after=600)),
            "cut before the answer": lambda: self._while(
                lambda p: p.cut(after=self.greeting, direction="down")
            ),
        }

    @abstractmethod
    def make(self, address: str, seconds: float) -> Any:
        """A store at ``host:port``, ready to be written to."""

    def open(self, seconds: float | None = None) -> Sink[Any]:
        self._close_store()
        if self.proxy is None:
            self.proxy = Proxy(self._target).__enter__()
        self._opened = self.make(self.proxy.address, seconds or self.patient)
        return self.current()

    def current(self) -> Sink[Any]:
        sink: Sink[Any] = self._opened.sink
        return sink

    def close(self) -> None:
        self._close_store()
        if self.proxy is not None:
            self.proxy.__exit__(None, None, None)
            self.proxy = None

    def _close_store(self) -> None:
        if self._opened is not None:
            self._opened.close()

    @contextlib.contextmanager
    def _while(self, fail: Callable[[Proxy], None], seconds: float | None = None) -> Iterator[None]:
        self.open(seconds)
        assert self.proxy is not None
        fail(self.proxy)
        try:
            yield
        finally:
            self.proxy.heal()
