"""The full-text store as one thing: its sink, its queries and its housekeeping."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from schemas.failures import UserError
from schemas.ports import Unavailable
from schemas.queries import SearchQueries
from sinks.elasticsearch.client import REFUSED, Client
from sinks.elasticsearch.layout import FORMAT, Names, events_template, tombstones_index
from sinks.elasticsearch.queries import ElasticsearchQueries
from sinks.elasticsearch.settings import ElasticsearchSettings
from sinks.elasticsearch.sink import ElasticsearchSink

_HINT = "run: memory-graph stores init"


class ElasticsearchStore:
    """Connects when first used."""

    def __init__(self, settings: ElasticsearchSettings) -> None:
        self._settings = settings
        self._names = Names(settings.prefix)
        self._client = Client(settings)
        self.sink = ElasticsearchSink(self._client, settings)
        self.queries: SearchQueries = ElasticsearchQueries(self._client, settings)

    def init(self) -> Sequence[str]:
        """Makes the template of the events' indices, also where it is not as the settings say (it
        holds for indices made afterwards), and the index of tombstones.

        Raises UserError when a newer program made them, Unavailable.
        """
        made = []
        template = events_template(self._settings)
        self._template_format()
        if self._template_meta() != template["_meta"]:
            self._client.call("PUT", f"/_index_template/{self._names.template}", template)
            made.append(f"index template {self._names.template}")
        if self._tombstones_format() is None and self._make_tombstones():
            made.append(f"index {self._names.tombstones}")
        return made

    def check(self) -> None:
        """Raises UserError naming what is missing or newer than this program; Unavailable."""
        found = {
            f"index template {self._names.template}": self._template_format(),
            f"index {self._names.tombstones}": self._tombstones_format(),
        }
        for name, version in found.items():
            if version is None:
                raise UserError(f"Elasticsearch has no {name}; {_HINT}")
            if version < FORMAT:
                raise UserError(f"Elasticsearch has an older {name}; {_HINT}")

    def expunge(self) -> int:
        """Asks for a merge of the segments with removed or replaced documents, in the background;
        answers how many such documents are still on disk.

        Elasticsearch keeps them for its copies for some half a minute at least: ask again until
        none is left. Raises Unavailable.
        """
        events = self._names.events
        self._client.call("POST", f"/{events}/_flush?force=true&wait_if_ongoing=true")
        self._client.call(
            "POST", f"/{events}/_forcemerge?only_expunge_deletes=true&wait_for_completion=false"
        )
        answer = self._client.call("GET", f"/{events}/_stats/docs")
        return int(answer["_all"]["total"].get("docs", {}).get("deleted", 0))

    def size(self) -> int | None:
        """Bytes on disk, copies included. Raises Unavailable."""
        answer = self._client.call(
            "GET", f"/{self._names.events},{self._names.tombstones}/_stats/store"
        )
        return None if answer is None else int(answer["_all"]["total"]["store"]["size_in_bytes"])

    def close(self) -> None:
        """Later calls find the store unavailable."""
        self._client.close()

    def _make_tombstones(self) -> bool:
        """False where another one has just made it."""
        try:
            self._client.call("PUT", f"/{self._names.tombstones}", tombstones_index(self._settings))
        except Unavailable as error:
            if error.code != REFUSED or self._tombstones_format() is None:
                raise
            return False
        return True

    def _template_meta(self) -> Any:
        answer = self._client.call("GET", f"/_index_template/{self._names.template}")
        return answer and answer["index_templates"][0]["index_template"].get("_meta", {})

    def _template_format(self) -> int | None:
        meta = self._template_meta()
        return None if meta is None else self._format(self._names.template, meta)

    def _tombstones_format(self) -> int | None:
        answer = self._client.call("GET", f"/{self._names.tombstones}/_mapping")
        if answer is None:
            return None
        mapping = next(iter(answer.values()))["mappings"]
        return self._format(self._names.tombstones, mapping.get("_meta"))

    def _format(self, name: str, meta: Any) -> int:
        """The format in a ``_meta``, 0 without one. Raises UserError for a newer one."""
        found = (meta or {}).get("format", 0)
        version = found if isinstance(found, int) else 0
        if version > FORMAT:
            raise UserError(
                f"{name} in Elasticsearch has format {version}, newer than this program's {FORMAT}"
            )
        return version
