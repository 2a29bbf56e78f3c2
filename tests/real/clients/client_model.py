"""The model of a client under test: a server on 127.0.0.1 that says what a script says.

It speaks the dialects of `dialects.py`. A script gets the texts of the results that the client
showed its model so far, and names the next call or ends the turn with a text. Clients ask for
titles and the like besides; a request without tools or without `MARK` in it gets a word.
"""

import json
import re
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.real.clients.dialects import DIALECTS, Asked, Call, Dialect, Json, Name, Reply, bare

MARK = "DELEGATE-IT"
PROMPT = f"{MARK}: use the tools of the MCP server, then stop."
FINISHED = "ALL-DONE"

_SEARCH = re.compile(r"tool_?search", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Use:
    """Call the tool that ends in this name, whatever the client puts before it."""

    tool: str
    arguments: Json


Script = Callable[[list[str]], Use | str]


@dataclass
class ClientModel:
    """The server. `shown` holds what the client showed its model of each result, in order."""

    script: Script
    shown: list[str] = field(default_factory=list[str])
    missing: set[str] = field(default_factory=set[str])
    _server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        """The address, without the `/v1` that some clients want."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        server = _Server(("127.0.0.1", 0), _Handler)
        server.model = self
        self._server = server
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    def decide(self, asked: Asked) -> Reply:
        """The next reply of the conversation; a tool that is not on offer is searched for."""
        ours = [r.text for r in asked.results if not _SEARCH.fullmatch(r.tool)]
        self.shown = max(self.shown, ours, key=len)
        wanted = self.script(ours)
        if isinstance(wanted, str):
            return wanted
        number = len(asked.results)
        if name := _first(asked.tools, lambda tool: tool.endswith(wanted.tool)):
            return Call(id=f"call_{number}", name=name, arguments=wanted.arguments)
        search = _first(asked.tools, lambda tool: bool(_SEARCH.fullmatch(tool)))
        if search is None or number > 2 * len(ours):  # one search for each call is enough
            self.missing.add(wanted.tool)
            return f"There is no {wanted.tool}."
        return Call(id=f"call_{number}", name=search, arguments={"query": wanted.tool})


def _first(tools: tuple[Name, ...], fits: Callable[[str], bool]) -> Name | None:
    return next((tool for tool in tools if fits(bare(tool))), None)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    model: ClientModel

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that ends and drops its connections."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — the base class's name
        """Keep the test's output clean."""

    def do_HEAD(self) -> None:
        self._head("text/plain")

    def do_GET(self) -> None:
        self._json({"object": "list", "data": [{"id": "m", "object": "model"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}")
        path = self.path.partition("?")[0]
        dialect = next((d for end, d in DIALECTS.items() if path.endswith(end)), None)
        if dialect is None:  # the counting of tokens, and what one vendor only knows
            self._json({"input_tokens": 100, "totalTokens": 100})
            return
        self._head("text/event-stream")
        for kind, data in dialect.say(self._reply(dialect, body)):
            name = f"event: {kind}\n" if kind else ""
            text = data if isinstance(data, str) else json.dumps(data)
            self.wfile.write(f"{name}data: {text}\n\n".encode())

    def _reply(self, dialect: Dialect, body: Json) -> Reply:
        asked = dialect.read(body)
        is_ours = bool(asked.tools) and MARK in json.dumps(body)
        return self.server.model.decide(asked) if is_ours else "Title"

    def _json(self, value: Json) -> None:
        self._head("application/json")
        self.wfile.write(json.dumps(value).encode())

    def _head(self, content_type: str) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("content-type", content_type)
        self.send_header("connection", "close")
        self.end_headers()
