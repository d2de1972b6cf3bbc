"""The query side of the four stores, beside a running worker."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import msgspec

from schemas.ports import Sink
from schemas.queries import GraphQueries, SearchQueries, UsageQueries, VectorQueries
from schemas.records import DocumentRecord


class Views(msgspec.Struct, frozen=True):
    """``documents`` is the search store's sink: it fetches texts by id. In a ``snapshot``, all
    queries of this thread to one store file see one state; servers answer as they are."""

    graph: GraphQueries
    search: SearchQueries
    documents: Sink[DocumentRecord]
    usage: UsageQueries
    vectors: VectorQueries
    snapshot: Callable[[], AbstractContextManager[None]]
