"""A model that is asked by the llm backend: what it says, and how the attempt ends."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
import pytest

from factory_mcp.backends.llm import LlmBackend
from factory_mcp.backends.llm_endpoint import Endpoint
from factory_mcp.domain.errors import BackendError
from factory_mcp.domain.model import Effects, Outcome
from factory_mcp.domain.spec import DroidSpec
from factory_mcp.ports import Clock
from tests.fakes import FakeClock
from tests.real.droid_program import GUARD_S, Reports, spec, work
from tests.real.fake_model import FakeModel, Raw, Reply

KEY = "canary-0123456789"
THINKER = spec(
    name="architect", model="inherit", effects=Effects.NONE, prompt="You design.", tools=("Read",)
)


def chunk(content: Any = None, finish: Any = None, **more: Any) -> dict[str, Any]:
    """One chunk of a conversation."""
    delta = {"content": content, **more}
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def stream(*events: Any, end: str = "data: [DONE]\n\n", **raw: Any) -> Raw:
    """A reply made of events: objects, or text that stands in the stream as it is."""
    lines = (e if isinstance(e, str) else f"data: {json.dumps(e)}\n\n" for e in events)
    return Raw(("".join(lines) + end).encode(), **raw)


@dataclass
class Talk:
    """The backend, its model and what was reported."""

    model: FakeModel
    clock: Clock = field(default_factory=FakeClock)
    reports: Reports = field(default_factory=Reports)
    endpoint: Endpoint = field(init=False)

    def __post_init__(self) -> None:
        self.endpoint = Endpoint(url=self.model.url, model="fake", key=KEY)

    def says(self, *replies: Reply) -> None:
        """The replies, one for each request; the last is repeated."""
        self.model.script = lambda _: replies[min(len(self.model.requests), len(replies)) - 1]

    async def run(
        self, droid: DroidSpec = THINKER, *, endpoint: dict[str, Any] | None = None, **changes: Any
    ) -> Outcome:
        """One attempt."""
        backend = LlmBackend(clock=self.clock, endpoint=replace(self.endpoint, **endpoint or {}))
        with anyio.fail_after(GUARD_S):
            return await backend.run(work(None, droid, **changes), self.reports)

    async def error(self, *args: Any, **changes: Any) -> BackendError:
        """What one attempt fails with."""
        with pytest.raises(BackendError) as caught:
            await self.run(*args, **changes)
        assert KEY not in f"{caught.value!r} {caught.value.remedy}"
        return caught.value

    async def until(self, state: str) -> None:
        """Wait until the attempt has reported that state."""
        with anyio.fail_after(GUARD_S):
            while state not in self.states:  # noqa: ASYNC110 — a report is no event
                await anyio.sleep(0.01)

    @property
    def states(self) -> Sequence[str]:
        """The states reported, in order."""
        return [seen.state for seen in self.reports.seen]
