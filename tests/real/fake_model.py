"""An OpenAI-compatible chat-completions server on 127.0.0.1 that answers what a script says.

    with FakeModel(lambda messages: "hello") as model:
        ...  # point a program at model.url

A script gets the messages of one request and returns a reply: a text, `Tool`, `Fail`, `Slow`,
`Hang` or `Raw`. `stop` refuses connections; `start` serves again on the same port. The real droid
asks for a session title apart, without tools; that is answered here and never reaches the script,
unless the model is `toolless`. `GET /v1/models` answers with `models`.
"""

import json
import select
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Messages = list[dict[str, Any]]

_NONE: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Tool:
    """The model asks for a tool; `says` is text before the call."""

    name: str
    arguments: dict[str, Any]
    says: str = ""


@dataclass(frozen=True, slots=True)
class Fail:
    """The provider answers with an HTTP status that is no success."""

    status: int
    message: str = "the fake model was told to fail"
    headers: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Slow:
    """A text in pieces, `every_s` seconds between them."""

    chunks: Sequence[str]
    every_s: float = 0.2


@dataclass(frozen=True, slots=True)
class Hang:
    """Nothing at all until the server stops or the client goes away."""


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes as they are, after which the connection is closed, or held while `hold`."""

    body: bytes
    status: int = 200
    content_type: str = "text/event-stream"
    length: int | None = None  # what the header says
    hold: bool = False


Reply = str | Tool | Fail | Slow | Hang | Raw
Script = Callable[[Messages], Reply]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One recorded request."""

    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def messages(self) -> Messages:
        """The conversation as the model saw it."""
        return self.body["messages"]

    @property
    def tools(self) -> set[str]:
        """The names of the tools that were offered."""
        return {tool["function"]["name"] for tool in self.body.get("tools", ())}


def text_of(message: dict[str, Any]) -> str:
    """The text of a message, whether its content is a string or a list of parts."""
    content: Any = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text", "")) for part in content)


def calls_then(final: Reply, *calls: Reply) -> Script:
    """A script that plays `calls` one after another, one per tool result, and ends in `final`."""

    def script(messages: Messages) -> Reply:
        last_user = max(i for i, m in enumerate(messages) if m["role"] == "user")
        done = sum(m["role"] == "tool" for m in messages[last_user:])
        return calls[done] if done < len(calls) else final

    return script


@dataclass
class FakeModel:
    """The server. `requests` holds every request that reached the script."""

    script: Script
    requests: list[Asked] = field(default_factory=list[Asked])
    port: int = 0
    toolless: bool = False
    models: Reply = field(default_factory=lambda: Fail(404))
    gone: threading.Event = field(default_factory=threading.Event)  # a client left a `Hang`
    _server: ThreadingHTTPServer | None = None
    _stopping: threading.Event = field(default_factory=threading.Event)
    _arrived: threading.Condition = field(default_factory=threading.Condition)

    @property
    def url(self) -> str:
        """The base URL, as OpenAI clients want it."""
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> None:
        """Serve, on the same port as before if there was one."""
        self._stopping = threading.Event()
        server = _Server(("127.0.0.1", self.port), _Handler)
        server.model = self
        self._server, self.port = server, server.server_port
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Refuse connections, and let go of every request that hangs."""
        self._stopping.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait_until_asked(self, times: int = 1, within_s: float = 60) -> None:
        """Block until `times` requests have arrived; call it in a thread from async tests."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: len(self.requests) >= times, within_s):
                raise TimeoutError(f"{len(self.requests)} requests instead of {times}")

    def answer(self, asked: Asked) -> Reply:
        """Record a request and ask the script."""
        with self._arrived:
            self.requests.append(asked)
            self._arrived.notify_all()
        return self.script(asked.messages)

    def pause(self, seconds: float | None) -> bool:
        """Wait; true if the server was stopped meanwhile."""
        return self._stopping.wait(seconds)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    model: FakeModel

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a droid that is interrupted drops its connection."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — the base class's name
        """Keep the test's output clean."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)))
        self.close_connection = True
        if not body.get("tools") and not self.server.model.toolless:
            self._stream("Title")
            return
        self._reply(self.server.model.answer(Asked(headers=dict(self.headers), body=body)))

    def _reply(self, reply: Reply) -> None:
        match reply:
            case Fail():
                self._fail(reply)
            case Hang():
                self._hang()
            case Raw():
                self._raw(reply)
            case _:
                self._stream(reply)

    def do_GET(self) -> None:
        self._reply(self.server.model.models)

    def _hang(self) -> None:
        while not self.server.model.pause(0.05):
            if select.select([self.connection], [], [], 0)[0] and not self.connection.recv(1):
                self.server.model.gone.set()
                return

    def _raw(self, reply: Raw) -> None:
        length = {} if reply.length is None else {"content-length": str(reply.length)}
        self._head(reply.status, reply.content_type, length)
        self.wfile.write(reply.body)
        self.wfile.flush()
        if reply.hold:
            self._hang()

    def _fail(self, reply: Fail) -> None:
        error = {"error": {"message": reply.message, "type": "fake"}}
        payload = json.dumps(error).encode()
        self._head(reply.status, "application/json", reply.headers)
        self.wfile.write(payload)

    def _head(self, status: int, content_type: str, headers: Mapping[str, str] = _NONE) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-type", content_type)
        self.send_header("connection", "close")
        self.end_headers()

    def _stream(self, reply: str | Tool | Slow) -> None:
        self._head(200, "text/event-stream")
        self._delta({"role": "assistant", "content": ""})
        match reply:
            case str():
                self._delta({"content": reply})
            case Slow():
                self._slowly(reply)
            case Tool():
                self._call(reply)
        self._delta({}, "tool_calls" if isinstance(reply, Tool) else "stop")
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        self._event({"choices": [], "usage": usage})
        self.wfile.write(b"data: [DONE]\n\n")

    def _slowly(self, reply: Slow) -> None:
        for chunk in reply.chunks:
            self._delta({"content": chunk})
            if self.server.model.pause(reply.every_s):
                return

    def _call(self, tool: Tool) -> None:
        if tool.says:
            self._delta({"content": tool.says})
        number = len(self.server.model.requests)
        function = {"name": tool.name, "arguments": json.dumps(tool.arguments)}
        call = {"index": 0, "id": f"call_{number}", "type": "function", "function": function}
        self._delta({"tool_calls": [call]})

    def _delta(self, delta: dict[str, Any], finish: str | None = None) -> None:
        self._event({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    def _event(self, payload: dict[str, Any]) -> None:
        envelope = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "fake"}
        self.wfile.write(f"data: {json.dumps(envelope | payload)}\n\n".encode())
        self.wfile.flush()
