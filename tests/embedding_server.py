"""An OpenAI-compatible embeddings server on 127.0.0.1; real vectors unless it is told otherwise.

with EmbeddingServer() as server:
    embedder = EndpointEmbedder(server.url, "model", ...)
    server.says(429)
"""

import json
import ssl
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from factory_mcp.stores.embed import StaticEmbedder
from tests.servers.authority import Certificate


@dataclass
class EmbeddingServer:
    """The server; `asked` holds every request: path, headers and body."""

    asked: list[tuple[str, dict[str, str], dict[str, Any]]] = field(
        default_factory=list[tuple[str, dict[str, str], dict[str, Any]]]
    )
    status: int = 200
    body: bytes | None = None
    hold: bool = False
    drip: bool = False
    port: int = 0
    certificate: Certificate | None = None  # with one it speaks TLS
    released: threading.Event = field(default_factory=threading.Event)
    embedder: StaticEmbedder = field(default_factory=StaticEmbedder)
    _server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        """The base URL, as OpenAI's clients want it."""
        return f"http{'s' if self.certificate else ''}://127.0.0.1:{self.port}/v1"

    def says(self, status: int = 200, body: bytes | None = None) -> None:
        """This from now on, whatever is asked; None is true vectors."""
        self.status, self.body = status, body

    def answer(self, texts: Sequence[str]) -> bytes:
        """True vectors, in an order of their own and three times too long."""
        made = 3 * self.embedder.embed(texts)
        data = [{"index": at, "embedding": row.tolist()} for at, row in enumerate(made)]
        return json.dumps({"object": "list", "data": data[::-1]}).encode()

    def __enter__(self) -> Self:
        server = _Server(("127.0.0.1", self.port), _Handler)
        if self.certificate:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(self.certificate.certificate, self.certificate.key)
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        server.owner, self._server, self.port = self, server, server.server_port
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    owner: EmbeddingServer

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that waits no longer drops its connection."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — the base class's name
        """Keep the test's output clean."""

    def do_POST(self) -> None:
        owner = self.server.owner
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        owner.asked.append((self.path, dict(self.headers), asked))
        if owner.hold:
            owner.released.wait(60)
            return
        body = owner.answer(asked["input"]) if owner.body is None else owner.body
        self.send_response(owner.status)
        self.send_header("content-type", "application/json")
        self.end_headers()
        if owner.drip:
            self._slowly(body)
        else:
            self.wfile.write(body)

    def _slowly(self, body: bytes) -> None:
        for at in range(len(body)):
            self.wfile.write(body[at : at + 1])
            self.wfile.flush()
            if self.server.owner.released.wait(0.05):
                return
