"""An embedder behind HTTP: batches within its limits, bounded retries, and what it costs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
import structlog

from schemas.failures import UserError
from schemas.ports import Price, Unavailable
from stages.embed.errors import Incomplete
from stages.embed.providers.api import Api, Malformed, Purpose, Reply
from stages.embed.settings import EmbedSettings
from stages.holdoff import Holdoff, jittered
from stages.http import HttpService, Refused

WHAT: Final = "embedder"
AT_ONCE: Final = 4
"""Requests under way at a time."""
SECONDS: Final = 20.0
"""For one call of :meth:`RemoteEmbedder.embed`, below an event's time budget: texts that have no
vector by then go on without."""
LONGEST_WAIT: Final = 5.0
"""A service that asks for a longer pause is not waited for."""
TRIAL: Final = 3
"""A call to a service that failed last gets this part of the time."""
SPLITS: Final = 24
"""Most requests more, in one call, to find the text that the service refuses."""

MALFORMED: Final = "malformed_answer"

_PAUSES: Final = (0.5, 1.0, 2.0)
_REFUSES_TEXT: Final = frozenset({400, 413, 422})
_REFUSES_US: Final = frozenset({401, 403, 404})
_log = structlog.get_logger("embedder")


class RemoteEmbedder:
    """:class:`schemas.ports.Embedder` behind an :class:`.api.Api`. Runs of whitespace count as one
    blank; long texts are cut as the Api says. Vectors have unit length.

    :meth:`embed` raises Unavailable; :class:`stages.embed.errors.Incomplete` where some of the
    texts got their vectors. A text that the service refuses for itself stays without; the others of
    its request do not. Safe from any thread.
    """

    def __init__(
        self,
        api: Api,
        settings: EmbedSettings,
        url: str,
        price: Callable[[str, str], Price | None],
        *,
        wait: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connects when it is first needed. Raises UserError where there is no key."""
        key = settings.api_key.get_secret_value()
        if not key and not settings.base_url:
            raise UserError(
                f"The embedding provider {api.provider} needs a key: set "
                "MEMORY_GRAPH_EMBED__API_KEY in the environment."
            )
        self.model = api.model
        self.dimensions = api.dimensions
        self._api = api
        self._retries = settings.retries
        self._timeout = settings.timeout_seconds
        self._price = price
        self._wait = wait
        self._clock = clock
        self._holdoff = Holdoff(WHAT, clock)
        self._service = HttpService(
            WHAT,
            settings.base_url or url,
            token="" if api.headers else key,
            headers=api.headers,
            deadline=settings.timeout_seconds,
        )
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="embed")
        self._lock = threading.Lock()
        self._usage = dict.fromkeys(
            ("requests", "failures", "texts", "tokens", "cost_pico_usd", "unpriced_tokens"), 0
        )

    def embed(self, texts: Sequence[str], /) -> Sequence[bytes]:
        """See the class."""
        return self._embed(texts, "document")

    def embed_query(self, text: str) -> bytes:
        """The vector of a text to search with: some models tell questions from documents."""
        return self._embed([text], "query")[0]

    def check(self) -> None:
        """Raises UserError where the service refuses the key, the model or the dimensions, and
        Unavailable where it does not answer. Embeds one word."""
        try:
            self._embed(["ready"], "document")
        except Unavailable as error:
            cause = error.__cause__
            if not isinstance(cause, Refused) or cause.status not in _REFUSES_US | _REFUSES_TEXT:
                raise
            what = {401: "the key", 403: "the key"}.get(cause.status, "the model or its dimensions")
            raise UserError(
                f"The embedding service refuses {what} ({error.code}). Check [embed]: "
                f"{self._api.provider}, {self._api.model_id}, {self.dimensions} dimensions."
            ) from None

    def usage(self) -> dict[str, int]:
        """Since the start: requests, failures, texts, tokens, cost_pico_usd, unpriced_tokens."""
        with self._lock:
            return dict(self._usage)

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._service.close()

    def _embed(self, texts: Sequence[str], purpose: Purpose) -> list[bytes]:
        read = [self._api.cut(" ".join(text.split())) for text in texts]
        call = _Call(purpose, self._clock() + SECONDS)
        found: list[bytes | None] = [None] * len(texts)
        batches = list(self._batches(read))
        parts = self._pool.map(lambda batch: self._some([read[n] for n in batch], call), batches)
        for batch, part in zip(batches, parts, strict=True):
            for number, vector in zip(batch, part, strict=True):
                found[number] = vector
        vectors = [vector for vector in found if vector is not None]
        if len(vectors) == len(found):
            return vectors
        assert call.error is not None
        if not vectors:
            raise Unavailable(WHAT, call.error.code, call.error.retry_after) from call.error
        raise Incomplete(WHAT, call.error.code, found) from call.error

    def _batches(self, texts: Sequence[str]) -> Iterator[list[int]]:
        """Indices of texts that go into one request."""
        limits = self._api.limits
        batch: list[int] = []
        size = 0
        for number, text in enumerate(texts):
            tokens = limits.count(text)
            if batch and (len(batch) == limits.texts or size + tokens > limits.tokens):
                yield batch
                batch, size = [], 0
            batch.append(number)
            size += tokens
        if batch:
            yield batch

    def _some(self, texts: Sequence[str], call: _Call) -> list[bytes | None]:
        """One request, and more where the service refuses one of the texts."""
        try:
            return self._request(texts, call)
        except Refused as error:
            call.error = error
            if error.status not in _REFUSES_TEXT:
                return [None] * len(texts)
        except Unavailable as error:
            call.error = error
            return [None] * len(texts)
        if len(texts) == 1 or call.split() > SPLITS:
            _log.warning("texts_refused", texts=len(texts), code=call.error.code)
            return [None] * len(texts)
        middle = len(texts) // 2
        return self._some(texts[:middle], call) + self._some(texts[middle:], call)

    def _request(self, texts: Sequence[str], call: _Call) -> list[bytes | None]:
        """Sends one request until it is answered or no retry helps. Raises Unavailable."""
        body = self._api.request(texts, call.purpose)
        # A service that hangs must not cost every chunk the whole time: what failed last is tried
        # once, and briefly.
        trial = self._holdoff.suspect
        retries = 0 if trial else self._retries
        most = self._timeout / TRIAL if trial else self._timeout
        for attempt in range(retries + 1):
            self._holdoff.check()
            left = min(most, call.end - self._clock())
            if left <= 0:
                # Its answer would be billed, and nobody would wait for it.
                raise Unavailable(WHAT, "timeout")
            try:
                reply = self._api.read(self._service.post(self._api.path, body, left))
                self._bill(reply.tokens)
                vectors = self._checked(reply, len(texts))
            except Malformed:
                error: Unavailable = Unavailable(WHAT, MALFORMED)
            except Unavailable as failed:
                error = failed
            else:
                self._holdoff.worked()
                self._answered(vectors, call)
                return vectors
            self._add(requests=1, failures=1)
            if isinstance(error, Refused) and error.status in _REFUSES_TEXT:
                raise error
            pause = jittered(_PAUSES[min(attempt, len(_PAUSES) - 1)])
            pause = max(pause, error.retry_after or 0.0)
            final = isinstance(error, Refused) and error.status in _REFUSES_US
            late = pause > LONGEST_WAIT or self._clock() + pause > call.end
            if final or late or attempt == retries:
                self._holdoff.failed(error.code, error.retry_after)
                raise error
            self._wait(pause)
        raise AssertionError

    def _checked(self, reply: Reply, count: int) -> list[bytes | None]:
        """Of unit length; None for a text of which the service made none (zeros, NaN). Raises
        Malformed where that is all of several, or anything else is not as it was asked for."""
        if len(reply.vectors) != count:
            raise Malformed
        vectors: list[bytes | None] = []
        for vector in reply.vectors:
            if vector.shape != (self.dimensions,):
                raise Malformed
            exact = vector.astype(np.float64)
            length = float(np.linalg.norm(exact))
            sound = np.isfinite(length) and length > 0.0
            vectors.append((exact / length).astype("<f4").tobytes() if sound else None)
        if count > 1 and not any(vectors):
            raise Malformed
        return vectors

    def _answered(self, vectors: Sequence[bytes | None], call: _Call) -> None:
        found = sum(vector is not None for vector in vectors)
        self._add(requests=1, texts=found)
        if found < len(vectors):
            call.error = Unavailable(WHAT, MALFORMED)
            _log.warning("texts_without_vector", texts=len(vectors) - found)

    def _bill(self, tokens: int) -> None:
        try:
            price = self._price(self._api.model_id, self._api.provider)
        except Unavailable:
            price = None
        if price is None:
            self._add(tokens=tokens, unpriced_tokens=tokens)
        else:
            self._add(tokens=tokens, cost_pico_usd=tokens * price.input)

    def _add(self, **counts: int) -> None:
        with self._lock:
            for name, count in counts.items():
                self._usage[name] += count


class _Call:
    """What the requests of one call share."""

    def __init__(self, purpose: Purpose, end: float) -> None:
        self.purpose = purpose
        self.end = end
        self.error: Unavailable | None = None
        self._splits = 0
        self._lock = threading.Lock()

    def split(self) -> int:
        """Counts a split; answers how many there were."""
        with self._lock:
            self._splits += 1
            return self._splits
