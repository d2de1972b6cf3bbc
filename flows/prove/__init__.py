"""``memory-graph prove``: reads the log again and accounts for every offset."""

from flows.prove.report import Bounds, Found, Report
from flows.prove.run import prove

__all__ = ["Bounds", "Found", "Report", "prove"]
