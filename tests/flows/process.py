"""A worker process with the tiny pipeline, for tests that signal and kill it.

``python -m tests.flows.process DATA [--follow] [--budget S] [--fault KIND:ID]``; faults: ``kill``
(the process kills itself at that event), ``hang`` (it cannot be interrupted there), ``hold`` (no
other thread runs either).
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

from flows import worker
from flows.settings import load_settings
from schemas.failures import UserError
from schemas.items import Decoded
from tests.flows import tiny


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--follow", action="store_true")
    parser.add_argument("--fault", default=":")
    given = parser.parse_args()
    fault, _, event_id = given.fault.partition(":")
    worker.WATCHDOG_GRACE = 0.2

    def hook(decoded: Decoded) -> None:
        if decoded.id != event_id:
            return
        if fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "hang":
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
            signal.signal(signal.SIGALRM, signal.SIG_IGN)
            time.sleep(1_000)
        if fault == "hold":
            library, mutex = ctypes.PyDLL(None), ctypes.create_string_buffer(256)
            library.pthread_mutex_lock(mutex)
            library.pthread_mutex_lock(mutex)  # For ever, with the interpreter's lock held.

    settings = load_settings(given.config, data=given.data)
    try:
        worker.run(settings, follow=given.follow, build=partial(tiny.build, hook=hook))
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
