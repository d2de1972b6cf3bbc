"""``python -m deploy.local``: real servers for a worker on this machine, without containers."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

try:
    from deploy.local.cache import cache_root
    from deploy.local.fleet import Fleet, fetch
    from deploy.local.kinds import KINDS
except ModuleNotFoundError as error:
    sys.exit(f"The package {error.name} is missing. Install what production needs: make production")
from deploy.local.failures import LocalError

FOLDER = Path(".data/servers")
SESSION_MS = 30_000
"""Silence after which a member of a group is dead, on the broker."""


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    try:
        return int(options.do(options))
    except LocalError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _start(options: argparse.Namespace) -> int:
    session = str(options.session_timeout_ms)
    kafka = {"group.consumer.session.timeout.ms": session}
    if options.session_timeout_ms < 2 * 5_000:  # The broker's own heartbeat interval is 5 s.
        kafka["group.consumer.heartbeat.interval.ms"] = str(options.session_timeout_ms // 5)
    more = {}
    if options.users is not None:
        more["lookup"] = {"users": str(options.users.absolute())}
    fleet = Fleet(options.folder, _say)
    toml = fleet.start(options.kinds or list(KINDS), {"kafka": {"settings": kafka}}, more)
    print(f"Settings: {toml}; secrets: {toml.with_suffix('.env')}")
    return 0


def _fetch(options: argparse.Namespace) -> int:
    fetch(options.kinds or list(KINDS), _say)
    print(f"All programs are in {cache_root()}")
    return 0


def _stop(options: argparse.Namespace) -> int:
    if not Fleet(options.folder, _say).stop():
        print(f"No server of {options.folder} runs.")
    return 0


def _status(options: argparse.Namespace) -> int:
    states = Fleet(options.folder).states()
    for state in states:
        word = "answers" if state.answers else "does not answer" if state.runs else "does not run"
        ports = ", ".join(f"{name} {port}" for name, port in state.server.ports.items())
        process = f"process {state.server.pid}, " if state.runs else ""
        print(f"{state.kind:<14}{word:<17}{process}{ports}")
    if not states:
        print(f"No server was ever started in {options.folder}.")
    return 0 if states and all(state.answers for state in states) else 1


def _say(line: str) -> None:
    print(line, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deploy.local", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, do, text in (
        ("start", _start, "fetch what is missing, start what does not run, write the settings"),
        ("stop", _stop, "end the servers of the folder, and no other process"),
        ("status", _status, "say which run and answer; 0 when all do"),
        ("fetch", _fetch, "only fetch and build"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(do=do)
        if name != "fetch":
            command.add_argument("--folder", type=Path, default=FOLDER, help=f"default: {FOLDER}")
        if name in ("start", "fetch"):
            command.add_argument("kinds", nargs="*", choices=[*KINDS, []], metavar="KIND")
        if name == "start":
            command.add_argument(
                "--users", type=Path, help="the users' directory, for the settings"
            )
            command.add_argument(
                "--session-timeout-ms",
                type=int,
                default=SESSION_MS,
                help=f"silence after which a member of a consumer group is dead ({SESSION_MS})",
            )
    return parser


if __name__ == "__main__":
    sys.exit(main())
