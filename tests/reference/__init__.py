"""What must be in every store, derived from a set of log records slowly and obviously.

Written from ``docs/graph.md`` and the event schemas, with dictionaries and loops, over the whole
set at once: no stage, no join store, no versions. It asks the parts that are tested on their own
(detectors and policy, language, tokens, templates, price list) what they make of one string or one
model; how an event is read, what meets what and what is written where is derived here.
"""

from tests.reference.derive import Expected, derive
from tests.reference.setup import Setup, User, read_users

__all__ = ["Expected", "Setup", "User", "derive", "read_users"]
