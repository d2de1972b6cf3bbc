"""Real servers are fixtures of every test; nothing starts before a test asks."""

from __future__ import annotations

from hypothesis import settings

pytest_plugins = ["tests.servers.plugin"]

# How long an example takes says how busy the machine is.
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")
