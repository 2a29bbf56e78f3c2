"""An embedder behind an OpenAI-compatible address: Ollama, vLLM, TEI, LM Studio, or a provider.

It is sent the text of every note and every query, in the clear: choose one that may read them.
"""

import json
import ssl
from collections.abc import Sequence
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

from factory_mcp.domain.search_errors import EmbedderUnusable
from factory_mcp.ports import Check, Clock, Rng
from factory_mcp.stores.away import Away

if TYPE_CHECKING:
    import httpx
    import numpy as np
    from numpy.typing import NDArray

BATCH: Final = 64
"""Texts in one request."""
ONE_S: Final = 3.0
"""What a query waits for."""
BATCH_S: Final = 30.0
BODY: Final = 32 * 2**20
"""Bytes of an answer that are read."""
DIMENSIONS: Final = 4096
"""Numbers in a vector at most: the matrix that rotates vectors has as many rows and columns."""

_BLANK: Final = "-"
"""Sent for a text without words, which many servers refuse; its vector is zero."""
_WHERE: Final = "Check FACTORY_MCP_EMBEDDER, _MODEL and _KEY; until then searches go by keywords."
_KEY: Final = "Set FACTORY_MCP_EMBEDDER_KEY; until then searches go by keywords alone."
_BUSY: Final = "Wait, or raise its limits; until then searches go by keywords alone."
_REMEDIES: Final = {401: _KEY, 403: _KEY, 429: _BUSY}


class EndpointEmbedder:
    """The port Embedder over `POST {url}/embeddings`; nothing is tried twice.

    A server that fails is left alone for a while, so that searches do not wait for it again.

    Args:
        url: The base, to which `/embeddings` is added.
        model: The model's name there.
        key: Its bearer.
        clock: When to ask again a server that failed.
        rng: So that not all processes ask it at once.
        authorities: A PEM file of those whose certificates are believed; None is the usual ones.
        wait_s: What a query waits for.
    """

    def __init__(  # noqa: PLR0913 — an address, and how long to wait for it
        self,
        url: str,
        model: str,
        key: str | None = None,
        *,
        clock: Clock,
        rng: Rng,
        authorities: Path | None = None,
        wait_s: float = ONE_S,
    ) -> None:
        self._url, self._model, self._key = url.rstrip("/"), model, key
        self._authorities, self._wait_s = authorities, wait_s
        self._clock, self._away, self._lock = clock, Away(clock, rng), Lock()
        self._context: ssl.SSLContext | None = None
        self._dimensions: int | None = None

    @property
    def id(self) -> str:
        """The model's name and where it is; the server's own changes cannot be seen."""
        place = sha256(f"{self._url} {self._model}".encode()).hexdigest()
        return f"{self._model}@{place[:12]}"

    def embed(self, texts: Sequence[str]) -> "NDArray[np.float32]":
        """A row of float32 for each text, of unit length; zero where a text is blank.

        Raises:
            EmbedderUnusable: The server did not answer in time, or not with vectors.
        """
        import numpy as np  # noqa: PLC0415 — takes 0.25 s

        whole = [text.encode("utf-8", "replace").decode() for text in texts]  # no lone surrogates
        rows = [
            self._asked(whole[start : start + BATCH], alone=len(whole) == 1)
            for start in range(0, len(whole), BATCH)
        ]
        made = np.concatenate(rows)
        made[[not text.strip() for text in whole]] = 0
        return made

    def check(self) -> Check:
        """Whether it answers now, for `doctor`."""
        try:
            dimensions = self.embed(["a word"]).shape[1]
        except EmbedderUnusable as error:
            return Check(name="embedder", ok=False, detail=error.message, fix=error.remedy)
        detail = f"{self._model} at {self._host}, {dimensions} dimensions; it reads every note"
        return Check(name="embedder", ok=True, detail=detail)

    @property
    def _host(self) -> str:
        return urlsplit(self._url).netloc.rpartition("@")[2]

    def _asked(self, texts: Sequence[str], *, alone: bool) -> "NDArray[np.float32]":
        with self._lock:
            if not self._away.admits():
                raise self._unusable("it failed before, and is left alone for a while", _BUSY)
        try:
            made = self._vectors(
                self._answer(texts, self._wait_s if alone else BATCH_S), len(texts)
            )
        except EmbedderUnusable:
            with self._lock:
                self._away.failed()
            raise
        with self._lock:
            self._away.answered()
        return made

    def _answer(self, texts: Sequence[str], wait_s: float) -> bytes:
        import httpx  # noqa: PLC0415 — takes 0.25 s

        asked = {"model": self._model, "input": [text.strip() or _BLANK for text in texts]}
        key = {} if self._key is None else {"authorization": f"Bearer {self._key}"}
        until = self._clock.monotonic() + wait_s
        try:
            with (
                httpx.Client(verify=self._tls(), timeout=wait_s, trust_env=False) as client,
                client.stream("POST", f"{self._url}/embeddings", json=asked, headers=key) as answer,
            ):
                if answer.status_code != HTTPStatus.OK:
                    remedy = _REMEDIES.get(answer.status_code, _WHERE)
                    raise self._unusable(f"it answered {answer.status_code}", remedy)
                return self._body(answer, until)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise self._unusable(f"it did not answer: {type(error).__name__}") from error

    def _body(self, answer: "httpx.Response", until: float) -> bytes:
        kept = bytearray()
        for piece in answer.iter_bytes():
            kept += piece
            if len(kept) > BODY:
                raise self._unusable("its answer is too long")
            if self._clock.monotonic() > until:
                raise self._unusable("its answer comes too slowly")
        return bytes(kept)

    def _vectors(self, body: bytes, count: int) -> "NDArray[np.float32]":
        import numpy as np  # noqa: PLC0415 — likewise

        try:
            data: list[Any] = sorted(json.loads(body)["data"], key=lambda one: one["index"])
            with np.errstate(over="ignore"):  # what is too large is infinite
                made = np.array([one["embedding"] for one in data], np.float32)
        except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
            raise self._unusable("its answer holds no vectors") from error
        if made.ndim != 2 or len(made) != count or not np.isfinite(made).all():  # noqa: PLR2004
            raise self._unusable("its answer does not hold one vector for each text")
        dimensions = made.shape[1]
        if not 0 < dimensions <= DIMENSIONS or dimensions != (self._dimensions or dimensions):
            raise self._unusable(f"its vectors have {dimensions} numbers, which cannot be used")
        self._dimensions = dimensions
        lengths = np.linalg.norm(made, axis=1, keepdims=True)
        return cast("NDArray[np.float32]", made / np.where(lengths > 0, lengths, 1))

    def _tls(self) -> ssl.SSLContext:
        """What the server's certificate is checked with; reading it takes a while, so once."""
        import httpx  # noqa: PLC0415 — likewise

        with self._lock:
            if self._context is None:
                if not self._url.lower().startswith("https:"):
                    self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                elif self._authorities:
                    self._context = ssl.create_default_context(cafile=self._authorities)
                else:
                    self._context = httpx.create_ssl_context(trust_env=False)
            return self._context

    def _unusable(self, why: str, remedy: str = _WHERE) -> EmbedderUnusable:
        return EmbedderUnusable(f"The embedder at {self._host}: {why}.", remedy=remedy)
