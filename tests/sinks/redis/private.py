"""A Redis of the test's own: it can be killed, stopped, started again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import redis

from deploy.local.ports import HOST, free_ports
from sinks.redis.settings import RedisSettings


class PrivateRedis:
    """Append-only, as in production. ``options`` are those of its command line."""

    def __init__(self, folder: Path, options: Mapping[str, str] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        (self.port,) = free_ports(1)
        self._options = {"save": "", "appendonly": "yes", **(options or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def settings(self, **changes: object) -> RedisSettings:
        values = {"url": f"redis://{HOST}:{self.port}/0", "timeout_seconds": 1.0}
        return RedisSettings.model_validate(values | changes)

    def start(self, *, wait: bool = True) -> None:
        program = shutil.which("redis-server")
        assert program, "redis-server is not installed"
        more = [part for name, value in self._options.items() for part in (f"--{name}", value)]
        self._process = subprocess.Popen(
            [program, "--port", str(self.port), "--bind", HOST, "--dir", str(self.folder), *more],
            stdout=subprocess.DEVNULL,
        )
        while wait and not self._answers():
            assert self._process.poll() is None, "redis-server ended"
            time.sleep(0.01)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def hang(self) -> None:
        assert self._process
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process
        os.kill(self._process.pid, signal.SIGCONT)

    def close(self) -> None:
        if self._process is not None:
            self.resume()
            self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        assert self._process
        self._process.send_signal(number)
        self._process.wait()
        self._process = None

    def _answers(self) -> bool:
        with redis.Redis(host=HOST, port=self.port, socket_timeout=1) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False
