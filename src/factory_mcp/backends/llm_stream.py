"""An answer that arrives in pieces: server-sent events, and what a conversation's chunks add up to.

No input, no output, no clock. The events are taken apart here and not by a library, because a line
without an end must not fill the memory, and because Unicode's own line ends may stand in an answer.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from factory_mcp.backends import llm_errors, texts
from factory_mcp.backends.llm_errors import fault
from factory_mcp.domain.errors import (
    BackendError,
    BackendGarbage,
    BackendRejected,
    BackendUnavailable,
)
from factory_mcp.domain.model import Usage

LARGEST_EVENT: Final = 1 << 20  # bytes

_AT_ITS_END: Final = frozenset({"stop", "eos"})
_MOST_TOKENS: Final = 1 << 53

# Why an answer ended, where that is no answer.
ENDINGS: Final[Mapping[str, tuple[type[BackendError], str]]] = {
    "content_filter": (BackendRejected, "withheld the answer by its content filter"),
    "tool_calls": (BackendGarbage, "asked for a tool, though none was offered"),
    "function_call": (BackendGarbage, "asked for a tool, though none was offered"),
    "error": (BackendUnavailable, "broke off: it did not say why"),
    "abort": (BackendUnavailable, "broke off: it did not say why"),
    "insufficient_system_resource": (BackendUnavailable, "broke off for want of resources"),
}


@dataclass(slots=True)
class Events:
    """Bytes of an event stream, taken apart into the data of its events."""

    _rest: bytearray = field(default_factory=bytearray)
    _data: list[bytes] = field(default_factory=list[bytes])
    _size: int = 0

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The data of the events that end in this piece.

        Raises:
            BackendGarbage: An event is larger than `LARGEST_EVENT`.
        """
        self._rest += piece
        if b"\n" in piece:
            *lines, rest = bytes(self._rest).split(b"\n")
            self._rest = bytearray(rest)
            for line in lines:
                yield from self._line(line.removesuffix(b"\r"))
        if self._size + len(self._rest) > LARGEST_EVENT:
            raise fault(BackendGarbage, f"sent an event of more than {LARGEST_EVENT} bytes")

    def end(self) -> Iterator[bytes]:
        """What is left at the end of a stream that does not close its last event."""
        yield from self._line(bytes(self._rest))
        yield from self._line(b"")

    def _line(self, line: bytes) -> Iterator[bytes]:
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
            self._size += len(line)
        elif not line and self._data:
            yield b"\n".join(self._data)
            self._data, self._size = [], 0


@dataclass(slots=True)
class Answer:
    """What the model has said so far. `finish` is why it ended, None while it has not."""

    finish: str | None = None
    closed: bool = False
    usage: Usage = field(default_factory=Usage)
    _said: list[str] = field(default_factory=list[str])
    _refused: list[str] = field(default_factory=list[str])
    _size: int = 0

    @property
    def text(self) -> str:
        """Its words."""
        return "".join(self._said)

    @property
    def speaks(self) -> bool:
        """Whether there is a word of the answer yet, and not of thinking only."""
        return bool(self._said)

    @property
    def complete(self) -> bool:
        """Whether nothing of the answer itself is still to come."""
        return self.closed or self.finish is not None

    @property
    def full(self) -> bool:
        """Whether it is as large as will be kept."""
        return self._size > texts.LARGEST

    def take(self, data: bytes) -> None:
        """Take the data of one event.

        Raises:
            BackendError: It is no chunk of a conversation, or it is an error.
        """
        if data.strip() in (b"", b"[DONE]"):
            self.closed = self.closed or bool(data)
            return
        chunk = _chunk(data)
        if chunk.get("error"):
            raise llm_errors.of_event(chunk)
        self._count(_mapping(chunk.get("usage")))
        for choice in map(_mapping, _list(chunk.get("choices"))):
            if choice.get("index", 0) == 0:
                self._choose(choice)

    def _choose(self, choice: Mapping[str, Any]) -> None:
        delta = _mapping(choice.get("delta"))
        said = _text(delta.get("content"))
        if said:
            self._said.append(said)
            self._size += len(said.encode(errors="replace"))
        self._refused.append(_text(delta.get("refusal")))
        if delta.get("tool_calls") or delta.get("function_call"):
            self.finish = "tool_calls"
        reason = choice.get("finish_reason")
        if reason and not self.finish:
            self.finish = str(reason)

    def _count(self, usage: Mapping[str, Any]) -> None:
        if usage:
            self.usage = Usage(
                input_tokens=_whole(usage.get("prompt_tokens")),
                output_tokens=_whole(usage.get("completion_tokens")),
            )

    def verdict(self) -> BackendError | None:
        """Why what was said is no answer, None if it is one."""
        if not self.complete and not self.full:
            return fault(BackendUnavailable, "broke off in the middle of its answer")
        if self.finish in ENDINGS:
            return fault(*ENDINGS[self.finish])
        if self.text.strip():
            return None
        if any(self._refused):
            return fault(BackendRejected, f"refused: {''.join(self._refused)[: llm_errors.SHOWN]}")
        return fault(BackendGarbage, f"answered with nothing (finish_reason {self.finish})")

    def warnings(self) -> list[str]:
        """What an honest report of the answer must not leave out."""
        if self.full or self.finish in _AT_ITS_END:
            return []
        if self.finish == "length":
            return ["partial: the answer was cut at the model's limit of tokens"]
        return [f"partial: why the answer ended is not known (finish_reason {self.finish})"]


def _chunk(data: bytes) -> Mapping[str, Any]:
    try:
        value: Any = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, Mapping):
        raise fault(BackendGarbage, "sent an event that is no JSON object")
    return cast("Mapping[str, Any]", value)


def _text(content: Any) -> str:
    """The words of a content, which some servers send as a list of parts."""
    if isinstance(content, str):
        return content
    return "".join(_text(part.get("text")) for part in map(_mapping, _list(content)))


def _mapping(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and 0 <= value < _MOST_TOKENS else 0
