"""Real servers are fixtures of every test; nothing starts before a test asks."""

from __future__ import annotations

pytest_plugins = ["tests.servers.plugin"]
