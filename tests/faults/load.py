"""Callers of the product, and an account of what they were told."""

import json
import math
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

import anyio
import httpx

from tests.faults.product import Replica
from tests.transports.messages import META, message

PATIENCE_S: Final = 20.0
"""A call that takes longer hangs."""
REFUSALS: Final = ("store_unavailable", "keyring_unusable", "store_full")
_HEADERS: Final = {
    "accept": "application/json, text/event-stream",
    "mcp-protocol-version": "2026-07-28",
}
_OURS: Final = {"io.modelcontextprotocol/clientInfo": {"name": "faults", "version": "1"}}
_UNKNOWN: Final = ("is not known", "went away while it stored this")
"""What the product says when nobody knows whether something was stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a call brought: `code` is "" for an answer, else why there is none."""

    tool: str
    at: float
    seconds: float
    code: str
    said: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def good(self) -> bool:
        """It was answered."""
        return not self.code

    @property
    def refused(self) -> bool:
        """It was refused in an orderly way."""
        return self.code in REFUSALS


class Caller:
    """A client of one replica, which speaks the newest protocol."""

    def __init__(self, web: httpx.AsyncClient) -> None:
        self._web = web
        self._ids = count(1)

    async def call(self, tool: str, **arguments: Any) -> Answer:
        """One tool call."""
        at = time.monotonic()
        try:
            result = await self.ask("tools/call", {"name": tool, "arguments": arguments}, tool)
        except httpx.TimeoutException:
            code, said = "hangs", dict[str, Any]()
        except (httpx.HTTPError, ValueError, KeyError) as error:
            code, said = f"broken: {type(error).__name__}", {}
        else:
            said = result["structuredContent"]
            code = said["code"] if result["isError"] else ""
            code = "traceback" if "Traceback" in said["text"] else code
        return Answer(tool=tool, at=at, seconds=time.monotonic() - at, code=code, said=said)

    async def ask(self, method: str, params: dict[str, Any], name: str = "") -> dict[str, Any]:
        """One request's result; KeyError if it is an error."""
        body = message(next(self._ids), method, {**params, "_meta": META | _OURS})
        headers = {**_HEADERS, "mcp-method": method, **({"mcp-name": name} if name else {})}
        answer = await self._web.post("/mcp", content=json.dumps(body), headers=headers)
        return answer.json()["result"]

    async def missed(self) -> list[str]:
        """What `/readyz` says that it goes without."""
        return (await self._web.get("/readyz")).json()["missed"]

    async def is_ready(self) -> bool:
        """What `/readyz` says."""
        return (await self._web.get("/readyz")).is_success


@asynccontextmanager
async def caller(replica: Replica) -> AsyncGenerator[Caller]:
    """A client with as many connections as it needs."""
    limits = httpx.Limits(max_connections=200, max_keepalive_connections=200)
    headers = {"content-type": "application/json"}
    async with httpx.AsyncClient(
        base_url=replica.url, timeout=PATIENCE_S, limits=limits, headers=headers, trust_env=False
    ) as web:
        yield Caller(web)


@dataclass(slots=True, kw_only=True)
class Tally:
    """What callers were told, call by call; each has a number that its traces carry."""

    answers: list[Answer] = field(default_factory=list[Answer])
    nodes: dict[str, int] = field(default_factory=dict[str, int])
    runs: dict[str, int] = field(default_factory=dict[str, int])
    unknown: set[int] = field(default_factory=set[int])
    wrong: list[str] = field(default_factory=list[str])

    def note(self, number: int, answer: Answer) -> Answer:
        """Keep what call `number` was told."""
        self.answers.append(answer)
        text = answer.said.get("text", "")
        if run_id := answer.said.get("run_id"):
            self.runs[run_id] = number
        elif answer.good and answer.tool == "context_write":
            self.nodes[answer.said["context_id"]] = number
        elif not answer.good and (not text or any(words in text for words in _UNKNOWN)):
            self.unknown.add(number)
        if not answer.good and not answer.refused:
            self.wrong.append(f"{answer.tool} {number}: {answer.code}")
            print(f"wrong: {self.wrong[-1]} after {answer.seconds:.1f} s", file=sys.stderr)
        return answer

    @property
    def good(self) -> list[Answer]:
        """The calls that were answered."""
        return [answer for answer in self.answers if answer.good]

    @property
    def share(self) -> float:
        """How many of all were answered."""
        return len(self.good) / max(1, len(self.answers))

    def seconds(self) -> list[float]:
        """How long each took."""
        return [answer.seconds for answer in self.answers]


@dataclass(slots=True, kw_only=True)
class Mix:
    """A note to read, and calls by number: writes, a droid that ends as a handoff, reads."""

    tally: Tally
    known: str
    summary: str = "The note that everybody reads."

    @classmethod
    async def over(cls, by: Caller, tally: Tally) -> "Mix":
        """Over a store that works now."""
        mix = cls(tally=tally, known="")
        answer = await by.call("context_write", summary=mix.summary, context_id="new", droid="-1")
        mix.known = answer.said["context_id"]
        await by.call("context_search", query="warm up: the embedder takes a second")
        tally.nodes[mix.known] = -1
        return mix

    async def call(self, by: Caller, number: int) -> Answer:
        """Call `number`: two writes, a droid, a read, and so on."""
        match number % 4:
            case 0 | 2:
                note = {"summary": f"Note {number}.", "droid": str(number), "context_id": "new"}
                return self.tally.note(number, await by.call("context_write", **note))
            case 1:
                asked = {"task": f"Task {number}", "context_id": "new", "wait_s": 4}
                return self.tally.note(number, await by.call("architect_droid", **asked))
            case _:
                answer = self.tally.note(number, await by.call("context_read", id=self.known))
                if answer.good and self.summary not in answer.said["text"]:
                    self.tally.wrong.append(f"read {number}: {answer.said['text'][:80]}")
                return answer


async def seconds_until(
    condition: Callable[[], Awaitable[bool]], *, within_s: float = 60, every_s: float = 0.05
) -> float:
    """How long it takes until something is true of other processes; infinite if it never is."""
    began = time.monotonic()
    while not await condition():
        if time.monotonic() - began > within_s:
            return math.inf
        await anyio.sleep(every_s)
    return time.monotonic() - began


async def crowd(
    workers: int, numbers: Iterable[int], once: Callable[[int], Awaitable[Any]]
) -> None:
    """Work through the numbers, so many at a time."""
    rest = iter(numbers)

    async def work() -> None:
        for number in rest:
            await once(number)

    async with anyio.create_task_group() as tasks:
        for _ in range(workers):
            tasks.start_soon(work)


def until(deadline: float) -> Iterable[int]:
    """Numbers, for as long as the time is not over."""
    for number in count():
        if time.monotonic() >= deadline:
            return
        yield number


def only(tool: str, answers: Iterable[Answer]) -> list[Answer]:
    """Those of one tool."""
    return [answer for answer in answers if answer.tool == tool]
