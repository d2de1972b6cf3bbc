"""The connection to the server: bounded calls, scripts, and errors as codes of ours."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from schemas.failures import UserError
from schemas.ports import Unavailable
from sinks.redis.settings import RedisSettings

_CODES: tuple[tuple[type[Exception], str], ...] = (
    (exceptions.BusyLoadingError, "loading"),
    (exceptions.AuthenticationError, "unauthorized"),
    (exceptions.AuthenticationWrongNumberOfArgsError, "unauthorized"),
    (exceptions.NoPermissionError, "forbidden"),
    (exceptions.MaxConnectionsError, "too_many_connections"),
    (exceptions.TimeoutError, "timeout"),
    (exceptions.ConnectionError, "unreachable"),
    (exceptions.OutOfMemoryError, "out_of_memory"),
    (exceptions.ReadOnlyError, "readonly"),
    (exceptions.ClusterError, "cluster"),
    (exceptions.InvalidResponse, "bad_answer"),
    (exceptions.ResponseError, "refused"),
)
"""From the special to the general; what stands first decides."""
_UNSAFE = "allkeys-"
_UNFIT = (
    ("cluster", "cluster_enabled", 1, "redis.url is a node of a cluster: one primary is needed."),
    ("replication", "role", "slave", "redis.url is a replica: the primary is needed."),
)
_RUN = re.compile(rb"run_id:([0-9a-f]+)")

Run = Callable[..., Any]
"""Runs a script: the script, the number of its keys, keys and arguments."""


class RedisServer:
    """One pool of connections, made when first needed. Safe from any thread.

    A call takes ``timeout_seconds`` at most and is not repeated by the client, except once over a
    new connection where the pooled one turned out to be closed and repeating is harmless.

    Where a new connection meets another run of the server (or, after a failover, another server),
    that may have forgotten what it was told last: before anything else is sent over it,
    ``reminders`` are called with a function that runs a script there.
    """

    def __init__(self, settings: RedisSettings) -> None:
        self._settings = settings
        self._pool: redis.BlockingConnectionPool | None = None
        self._client: redis.Redis | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._run = b""
        self.reminders: list[Callable[[Run], None]] = []

    @property
    def prefix(self) -> str:
        """The beginning of every key."""
        return self._settings.prefix

    def run(self, what: str, script: Script, keys: Sequence[Any], arguments: Sequence[Any]) -> Any:
        """The script's answer. Raises Unavailable(``what``)."""

        def call(client: Any) -> Any:
            try:
                return client.execute_command("EVALSHA", script.sha, len(keys), *keys, *arguments)
            except exceptions.NoScriptError:
                return client.execute_command("EVAL", script.text, len(keys), *keys, *arguments)

        return self.call(what, call, again=script.again)

    def call(self, what: str, action: Callable[[redis.Redis], Any], *, again: bool = True) -> Any:
        """What ``action`` answers; ``again``: repeating it is harmless. Raises Unavailable."""
        try:
            try:
                return action(self._connected(what))
            except exceptions.ConnectionError as error:
                self._drop()
                if not again or type(error) is not exceptions.ConnectionError:
                    raise
                return action(self._connected(what))
        except exceptions.RedisError as error:
            raise Unavailable(what, code_of(error)) from None
        except OSError:
            raise Unavailable(what, "unreachable") from None

    @contextmanager
    def pipeline(self, what: str) -> Iterator[Any]:
        """Commands that are sent together at the end of the block. Raises Unavailable."""
        with self._connected(what).pipeline(transaction=False) as pipeline:
            yield pipeline
            self.call(what, lambda _: pipeline.execute(), again=False)

    def check(self) -> None:
        """Raises UserError where the server may forget what must stay, or cannot take our scripts;
        Unavailable when it is down."""
        for section, field, bad, words in _UNFIT:
            found = self.call("state", lambda client, name=section: client.info(name))  # type: ignore[misc]
            if found.get(field) == bad:
                raise UserError(words)
        memory = self.call("state", lambda client: client.info("memory"))
        policy = str(memory.get("maxmemory_policy", ""))
        if memory.get("maxmemory") and policy.startswith(_UNSAFE):
            raise UserError(
                f"The Redis server evicts any key when its memory is full (maxmemory-policy "
                f"{policy}): responses that wait for their prompts could vanish. Set "
                f"maxmemory-policy to volatile-ttl, which takes caches and old claims first."
            )

    def size(self) -> int | None:
        """Bytes of memory the server uses, all its users together."""
        memory = self.call("state", lambda client: client.info("memory"))
        return int(memory["used_memory"])

    def close(self) -> None:
        """Later calls are Unavailable (``closed``)."""
        with self._lock:
            self._closed = True
            pool, self._pool, self._client = self._pool, None, None
        if pool is not None:
            pool.disconnect()

    def _connected(self, what: str) -> redis.Redis:
        with self._lock:
            if self._closed:
                raise Unavailable(what, "closed")
            if self._client is None:
                self._pool = _pool(self._settings, self._greet)
                self._client = redis.Redis(connection_pool=self._pool)
            return self._client

    def _greet(self, connection: Any) -> None:
        """Signs in on a new connection, and asks which run of which server it has met."""
        connection.on_connect()

        def send(*command: Any) -> Any:
            connection.send_command(*command)
            return connection.read_response(disable_decoding=True)

        try:
            found = _RUN.search(send("INFO", "server"))
        except exceptions.NoPermissionError:
            return
        if found and found[1] != self._run:
            if self._run:
                for remind in self.reminders:
                    remind(lambda script, *rest: send("EVAL", script.text, *rest))
            self._run = found[1]

    def _drop(self) -> None:
        """After one connection broke, the idle ones of the pool are likely broken as well."""
        with self._lock:
            pool = self._pool
        if pool is not None:
            pool.disconnect(inuse_connections=False)


class Script:
    """A Lua script; ``again``: running it a second time answers the same."""

    def __init__(self, text: str, *, again: bool = True) -> None:
        self.text = text
        self.again = again
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def code_of(error: Exception) -> str:
    """Our code for an error of the client, decided by its type."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), "unexpected")


def _pool(settings: RedisSettings, greet: Callable[[Any], None]) -> redis.BlockingConnectionPool:
    options: dict[str, Any] = {"redis_connect_func": greet}
    if settings.user:
        options["username"] = settings.user
    if password := settings.password.get_secret_value():
        options["password"] = password
    return redis.BlockingConnectionPool.from_url(
        settings.url,
        max_connections=settings.pool_size,
        timeout=settings.timeout_seconds,
        socket_timeout=settings.timeout_seconds,
        socket_connect_timeout=settings.timeout_seconds,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        **options,
    )
