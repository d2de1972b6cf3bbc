"""An orderly stop: asked for by a signal, whatever the signal interrupts, and not for ever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading

from flows.control import Control
from flows.stopping import EXIT_STOP_DEADLINE, signals


def child(body: str) -> tuple[int, str]:
    """The exit code and the errors of a process with a control that signals stop."""
    program = "import os, signal, sys, threading, time\nimport structlog\n"
    program += "from flows.control import Control\nfrom flows.stopping import signals\n"
    program += "structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))\n"
    program += "control = Control()\n" + textwrap.dedent(body)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60)
    return done.returncode, done.stderr.decode()


def test_a_signal_asks_for_a_stop_and_the_handlers_are_put_back() -> None:
    control, before = Control(), signal.getsignal(signal.SIGTERM)
    with signals(control, 60.0):
        assert not control.stopping
        os.kill(os.getpid(), signal.SIGTERM)
        assert control.stopping
    assert signal.getsignal(signal.SIGTERM) is before
    assert not [t for t in threading.enumerate() if t.name == "stop"]


def test_a_stop_that_takes_too_long_ends_the_process_and_says_where_it_was() -> None:
    code, errors = child(
        """
        def stuck_in_a_store():
            threading.Event().wait()

        with signals(control, 1.0):
            os.kill(os.getpid(), signal.SIGTERM)
            stuck_in_a_store()
        """
    )
    assert code == EXIT_STOP_DEADLINE
    assert "stop_deadline_passed" in errors
    assert "in stuck_in_a_store" in errors


def test_when_everything_is_committed_closing_too_slowly_is_no_failure() -> None:
    code, errors = child(
        """
        with signals(control, 0.05):
            control.finished = True
            os.kill(os.getpid(), signal.SIGTERM)
            threading.Event().wait()
        """
    )
    assert code == 0
    assert "closing_cut_short" in errors


def test_a_log_that_nobody_reads_holds_up_no_end() -> None:
    """Standard error is a pipe, and full."""
    reading, writing = os.pipe()
    program = """
import os, signal, threading
import structlog, sys
from flows.control import Control
from flows.logs import configure
from flows.stopping import signals
configure()
os.set_blocking(2, False)
try:
    while os.write(2, bytes(4096)):
        pass
except BlockingIOError:
    os.set_blocking(2, True)
with signals(Control(), 0.05):
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait()
"""
    process = subprocess.Popen([sys.executable, "-c", program], stderr=writing)
    try:
        assert process.wait(60) == EXIT_STOP_DEADLINE
    finally:
        process.kill()
        process.wait()
        os.close(writing)
        os.close(reading)


def test_a_log_that_cannot_be_written_stops_no_work() -> None:
    """Its disk is full, or its reader is gone."""
    program = "import structlog\nfrom flows.logs import configure\nconfigure()\n"
    program += "structlog.get_logger().warning('x')\nprint('went on')"
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=full, timeout=60
        )
    assert done.stdout == b"went on\n"


def test_a_second_signal_ends_the_process_at_once() -> None:
    code, _ = child(
        """
        with signals(control, 600.0):
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)
            threading.Event().wait()
        """
    )
    assert code == EXIT_STOP_DEADLINE


def test_a_signal_while_a_line_is_being_logged_waits_for_nothing() -> None:
    """The log's lock is not one that its holder can take again."""
    code, errors = child(
        """
        class Locked:
            lock = threading.Lock()

            def __init__(self, *_):
                pass

            def msg(self, line):
                with self.lock:
                    sys.stderr.write(line + "\\n")

            info = warning = error = msg

        structlog.configure(logger_factory=Locked)
        with signals(control, 600.0):
            with Locked.lock:
                os.kill(os.getpid(), signal.SIGTERM)
                assert control.stopping
        """
    )
    assert code == 0, errors
    assert "SIGTERM" in errors
    assert "Traceback" not in errors
