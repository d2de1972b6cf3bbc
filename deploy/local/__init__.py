"""Real servers on this machine, without containers: fetched once, started on free loopback ports,
ended by process identity. ``python -m deploy.local --help``; tests use :mod:`deploy.local.server`.
"""
