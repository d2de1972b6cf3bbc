"""The index behind the Pinecone contract fake: records in namespaces, limits, filters, lag, a file.

Written from the public API description (2025-10). What it does not imitate: approximate search (it
is exact), quotas, and the meters of read and write units.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np
import numpy.typing as npt
import orjson

MOST_RECORDS = 1_000
MOST_FETCHED = 1_000
MOST_METADATA = 40 << 10
MOST_NAME = 512
MOST_TOP_K = 10_000
DEFAULT = "__default__"
_WRITING = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE

Metadata = dict[str, Any]
Floats = npt.NDArray[np.float32]


class BadRequest(Exception):
    """A request that the API refuses: status 400, or 404 for a namespace that is not there."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class Record(msgspec.Struct, frozen=True):
    values: Floats
    metadata: Metadata


class Index:
    """Safe from any thread. A write is seen by reads ``lag`` seconds later, in order; when it
    returns, it is in the file. ``sequence`` is the last write's log sequence number.
    ``most_metadata``: bytes of a record's metadata, as JSON."""

    def __init__(
        self,
        dimension: int,
        path: Path | None = None,
        lag: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        most_metadata: int = MOST_METADATA,
    ) -> None:
        self.dimension = dimension
        self.most_metadata = most_metadata
        self.lag = lag
        self.sequence = self.seen = 0
        self._clock = clock
        self._namespaces: dict[str, dict[str, Record]] = {}
        self._by_value: dict[str, dict[tuple[str, str], set[str]]] = {}
        self._hidden: list[tuple[float, int, dict[str, Any]]] = []
        self._lock = threading.RLock()
        self._file: BinaryIO | None = None
        if path is not None:
            self._load(path)
            self._file = path.open("ab")

    def upsert(self, namespace: str, vectors: Any) -> int:
        if not isinstance(vectors, list) or not vectors:
            raise BadRequest("No vectors provided")
        if len(vectors) > MOST_RECORDS:
            raise BadRequest(f"Cannot upsert more than {MOST_RECORDS} vectors in a single request")
        rows = [self._checked(vector) for vector in vectors]
        self._write({"namespace": _namespace(namespace), "upsert": rows})
        return len(rows)

    def delete(self, namespace: str, request: Mapping[str, Any]) -> None:
        namespace = _namespace(namespace)
        with self._lock:
            self._catch_up()
            if namespace != DEFAULT and namespace not in self._names():
                raise BadRequest("Namespace not found", 404)
            if request.get("deleteAll"):
                ids = list(self._namespaces.get(namespace, {}))
            elif request.get("filter") is not None:
                ids = [id_ for id_, _ in self._matching(namespace, request["filter"])]
            else:
                ids = _ids(request.get("ids"))
            self._write({"namespace": namespace, "delete": ids})

    def drop(self, namespace: str) -> None:
        """Deletes a namespace with all that is in it."""
        self.delete(namespace, {"deleteAll": True})

    def update(self, namespace: str, request: Mapping[str, Any]) -> None:
        """Changes values or metadata of one record; none there is no error."""
        with self._lock:
            self._catch_up(everything=True)
            (id_,) = _ids([request.get("id")])
            held = self._namespaces.get(_namespace(namespace), {}).get(id_)
            if held is None:
                return
            values = request.get("values") or held.values.tolist()
            metadata = held.metadata | self._metadata(request.get("setMetadata") or {})
            row = self._checked({"id": id_, "values": values, "metadata": metadata})
            self._write({"namespace": _namespace(namespace), "upsert": [row]})

    def fetch(self, namespace: str, ids: Any) -> dict[str, Record]:
        wanted = _ids(ids)
        with self._lock:
            self._catch_up()
            held = self._namespaces.get(_namespace(namespace), {})
            return {id_: held[id_] for id_ in wanted if id_ in held}

    def fetch_all(self, namespace: str) -> dict[str, Record]:
        """A whole namespace; no call of the API."""
        with self._lock:
            self._catch_up()
            return dict(self._namespaces.get(_namespace(namespace), {}))

    def fetch_by_metadata(
        self, namespace: str, condition: Any, limit: int, after: str
    ) -> tuple[list[tuple[str, Record]], str | None]:
        """One page in the order of the ids, and where the next one starts."""
        if not isinstance(condition, dict) or not condition:
            raise BadRequest("Empty filter provided for fetch by metadata request")
        if not 1 <= limit <= 10_000:
            raise BadRequest("limit must be between 1 and 10000")
        with self._lock:
            self._catch_up()
            found = sorted(self._matching(_namespace(namespace), condition), key=lambda x: x[0])
        page = [item for item in found if item[0] > after][: limit + 1]
        return page[:limit], page[limit - 1][0] if len(page) > limit else None

    def list_ids(
        self, namespace: str, prefix: str, limit: int, after: str
    ) -> tuple[list[str], str | None]:
        if not 1 <= limit <= 100:
            raise BadRequest("limit must be between 1 and 100")
        with self._lock:
            self._catch_up()
            held = self._namespaces.get(_namespace(namespace), {})
            found = sorted(id_ for id_ in held if id_.startswith(prefix) and id_ > after)
        return found[:limit], found[limit - 1] if len(found) > limit else None

    def query(self, namespace: str, request: Mapping[str, Any]) -> list[tuple[str, float, Record]]:
        """The nearest by cosine, best first."""
        top = request.get("topK")
        if not isinstance(top, int) or not 1 <= top <= MOST_TOP_K:
            raise BadRequest(f"topK must be between 1 and {MOST_TOP_K}")
        with self._lock:
            self._catch_up()
            if request.get("id") is not None:
                held = self.fetch(namespace, [request["id"]])
                if not held:
                    return []
                asked = held[request["id"]].values
            else:
                asked = self._vector(request.get("vector"))
            found = list(self._matching(_namespace(namespace), request.get("filter") or {}))
        scored = [(id_, _cosine(asked, record.values), record) for id_, record in found]
        return sorted(scored, key=lambda item: -item[1])[:top]

    def counts(self) -> dict[str, int]:
        """Records by namespace; empty namespaces are not there."""
        with self._lock:
            self._catch_up()
            return {name: len(held) for name, held in self._namespaces.items() if held}

    def close(self) -> None:
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def _checked(self, vector: Any) -> dict[str, Any]:
        if not isinstance(vector, dict):
            raise BadRequest("Expected an object in vectors")
        (id_,) = _ids([vector.get("id")])
        values = self._vector(vector.get("values"))
        return {"id": id_, "values": values, "metadata": self._metadata(vector.get("metadata"))}

    def _metadata(self, metadata: Any) -> Metadata:
        if len(orjson.dumps(metadata)) > self.most_metadata:
            raise BadRequest(
                f"Metadata size exceeds the limit of {self.most_metadata} bytes per vector"
            )
        return _metadata(metadata)

    def _vector(self, values: Any) -> Floats:
        if not isinstance(values, list) or len(values) != self.dimension:
            length = len(values) if isinstance(values, list) else 0
            raise BadRequest(
                f"Vector dimension {length} does not match the dimension of the index "
                f"{self.dimension}"
            )
        try:
            with np.errstate(over="ignore"):
                found = np.array(values, dtype=np.float32)
        except (TypeError, ValueError):
            raise BadRequest("Vector values must be numbers") from None
        if not np.isfinite(found).all():
            raise BadRequest("Vector values must be finite")
        if not found.any():
            raise BadRequest("Dense vectors must contain at least one non-zero value")
        return found

    def _write(self, operation: dict[str, Any]) -> None:
        with self._lock:
            self.sequence += 1
            if self._file is not None:
                self._file.write(orjson.dumps(operation, option=_WRITING))
                self._file.flush()
            self._hidden.append((self._clock() + self.lag, self.sequence, operation))
            self._catch_up()

    def _catch_up(self, *, everything: bool = False) -> None:
        """Applies the writes that are old enough to be seen."""
        now = self._clock()
        while self._hidden and (everything or self._hidden[0][0] <= now):
            _, self.seen, operation = self._hidden.pop(0)
            self._apply(operation)

    def _apply(self, operation: Mapping[str, Any]) -> None:
        name = operation["namespace"]
        held = self._namespaces.setdefault(name, {})
        index = self._by_value.setdefault(name, {})
        for row in operation.get("upsert", ()):
            self._forget(held, index, row["id"])
            record = Record(np.asarray(row["values"], dtype=np.float32), row["metadata"])
            held[row["id"]] = record
            for entry in _entries(record.metadata):
                index.setdefault(entry, set()).add(row["id"])
        for id_ in operation.get("delete", ()):
            self._forget(held, index, id_)
        if not held:
            del self._namespaces[name], self._by_value[name]

    def _forget(
        self, held: dict[str, Record], index: dict[tuple[str, str], set[str]], id_: str
    ) -> None:
        record = held.pop(id_, None)
        for entry in _entries(record.metadata) if record else ():
            index[entry].discard(id_)
            if not index[entry]:
                del index[entry]

    def _matching(self, namespace: str, condition: Any) -> Iterator[tuple[str, Record]]:
        held = self._namespaces.get(namespace, {})
        ids: Iterable[str] = held
        for field, wanted in condition.items() if isinstance(condition, dict) else ():
            values = wanted.get("$in") if isinstance(wanted, dict) else [wanted]
            if values and all(isinstance(value, str) for value in values):
                index = self._by_value.get(namespace, {})
                ids = [i for value in dict.fromkeys(values) for i in index.get((field, value), ())]
                break
        for id_ in dict.fromkeys(ids):
            if matches(held[id_].metadata, condition):
                yield id_, held[id_]

    def _names(self) -> set[str]:
        return set(self._namespaces) | {entry[2]["namespace"] for entry in self._hidden}

    def _load(self, path: Path) -> None:
        """Replays the file; a torn last line was never confirmed."""
        whole = 0
        if path.exists():
            with path.open("rb") as lines:
                for line in lines:
                    if not line.endswith(b"\n"):
                        break
                    whole += len(line)
                    self.sequence += 1
                    self._apply(orjson.loads(line))
            with path.open("r+b") as file:
                file.truncate(whole)
        self.seen = self.sequence


def matches(metadata: Metadata, condition: Any) -> bool:
    """Whether metadata meets a filter expression."""
    if not isinstance(condition, dict):
        raise BadRequest("A filter is an object")
    for field, wanted in condition.items():
        if field in ("$and", "$or"):
            if not isinstance(wanted, list):
                raise BadRequest(f"{field} takes a list")
            parts = [matches(metadata, part) for part in wanted]
            if not (all(parts) if field == "$and" else any(parts)):
                return False
            continue
        tests = wanted if isinstance(wanted, dict) else {"$eq": wanted}
        for operator, operand in tests.items():
            if operator not in _OPERATORS:
                raise BadRequest(f"{operator} is not a valid operator")
            if operator in ("$in", "$nin") and len(operand) > 10_000:
                raise BadRequest(f"{operator} takes at most 10000 values")
            if not _OPERATORS[operator](metadata.get(field), operand):
                return False
    return True


def _compare(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def compare(value: Any, operand: Any) -> bool:
        return isinstance(value, float) and test(value, float(operand))

    return compare


def _equal(value: Any, operand: Any) -> bool:
    if isinstance(value, list):
        return operand in value
    return type(value) is type(_number(operand)) and value == _number(operand)


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "$eq": _equal,
    "$ne": lambda value, operand: not _equal(value, operand),
    "$gt": _compare(lambda value, operand: value > operand),
    "$gte": _compare(lambda value, operand: value >= operand),
    "$lt": _compare(lambda value, operand: value < operand),
    "$lte": _compare(lambda value, operand: value <= operand),
    "$in": lambda value, operand: any(_equal(value, one) for one in operand),
    "$nin": lambda value, operand: not any(_equal(value, one) for one in operand),
    "$exists": lambda value, operand: (value is not None) == operand,
}


def _metadata(metadata: Any) -> Metadata:
    """As the server keeps it: no null, every number a float."""
    if metadata is None:
        return {}
    if not isinstance(metadata, dict):
        raise BadRequest("Metadata is an object")
    for field, value in metadata.items():
        strings = isinstance(value, list) and all(isinstance(item, str) for item in value)
        if not (value is None or strings or isinstance(value, str | bool | int | float)):
            raise BadRequest(
                f"Metadata value must be a string, number, boolean or list of strings, "
                f"got a value of another kind for field '{field}'"
            )
    return {field: _number(value) for field, value in metadata.items() if value is not None}


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _ids(ids: Any) -> list[str]:
    if not isinstance(ids, list) or not ids:
        raise BadRequest("No ids provided")
    if len(ids) > MOST_FETCHED:
        raise BadRequest(f"Cannot take more than {MOST_FETCHED} ids in a single request")
    for id_ in ids:
        if not isinstance(id_, str) or not 1 <= len(id_) <= MOST_NAME or not id_.isascii():
            raise BadRequest(f"Vector ids are ASCII of 1 to {MOST_NAME} characters")
    return list(ids)


def _namespace(name: Any) -> str:
    if not isinstance(name, str) or len(name) > MOST_NAME or not name.isascii() or "\0" in name:
        raise BadRequest(f"Namespaces are ASCII of at most {MOST_NAME} characters")
    return name or DEFAULT


def _entries(metadata: Metadata) -> Iterator[tuple[str, str]]:
    for field, value in metadata.items():
        for item in value if isinstance(value, list) else (value,):
            if isinstance(item, str) and len(item) <= 64:
                yield field, item


def _cosine(first: Floats, second: Floats) -> float:
    length = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(np.dot(first, second)) / length if length else 0.0
