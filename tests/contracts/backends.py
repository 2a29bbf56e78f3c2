"""Every backend there is, the real droid program among them: one contract suite runs on each."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread

from factory_mcp.backends.handoff import HandoffBackend
from factory_mcp.backends.llm import LlmBackend
from factory_mcp.backends.llm_endpoint import Endpoint
from factory_mcp.backends.processes import members
from factory_mcp.domain.errors import BackendUnauthorized
from factory_mcp.domain.model import Effects, Outcome, Progress
from factory_mcp.domain.spec import DroidSpec
from factory_mcp.ports import Backend, Work
from tests.fakes import FakeClock, ScriptedBackend, Step
from tests.real.droid_program import GUARD_S, droid_setup, spec, work
from tests.real.fake_model import Fail, FakeModel, Hang, Reply

NO_GROUP: Final = -1
DROID: Final = spec(
    effects=Effects.NONE, tools=("Read",), model="inherit", deadline_s=1e6, idle_s=1e6
)


@dataclass(kw_only=True)
class Subject:
    """A backend and the handles that a test pulls.

    `answers`, `fails` and `hangs` decide what the next run meets; `busy` waits until a run that
    hangs is well under way; `left` is what a run has left behind; `away` takes from it whatever
    it needs. `may_fail` is false for a backend that cannot.
    """

    backend: Backend
    clock: FakeClock = field(default_factory=FakeClock)
    folder: Path | None = None
    droid: DroidSpec = DROID
    may_fail: bool = True
    answers: Callable[[], None] = lambda: None
    fails: Callable[[], None] = lambda: None
    hangs: Callable[[], None] = lambda: None
    busy: Callable[[], Awaitable[None]] = anyio.lowlevel.checkpoint
    left: Callable[[Work], Awaitable[list[Any]]]
    away: Callable[[], Backend]

    def work(self, **changes: Any) -> Work:
        """Something to do."""
        return work(self.folder, self.droid, **changes)


Opened = AbstractAsyncContextManager[Subject]


def _says(model: FakeModel, reply: Reply) -> Callable[[], None]:
    def script() -> None:
        model.script = lambda _: reply

    return script


async def _asked(model: FakeModel) -> None:
    await anyio.to_thread.run_sync(model.wait_until_asked)


@asynccontextmanager
async def droid_cli(folder: Path) -> AsyncGenerator[Subject]:
    """The real droid program on a model of the tests'."""
    with FakeModel(lambda _: "hello") as model:
        setup, clock = droid_setup(folder, model), FakeClock()

        async def left(done: Work) -> list[Any]:
            alive = await anyio.to_thread.run_sync(members, NO_GROUP, done.run_id)
            return [*alive, *setup.left_behind]

        yield Subject(
            backend=setup.backend(clock=clock),
            clock=clock,
            folder=setup.workspace,
            answers=_says(model, "hello"),
            fails=_says(model, Fail(401)),
            hangs=_says(model, Hang()),
            busy=partial(_asked, model),
            left=left,
            away=lambda: setup.backend(program=folder / "no-droid"),
        )


@asynccontextmanager
async def llm(_: Path) -> AsyncGenerator[Subject]:
    """A plain model."""
    with FakeModel(lambda _: "hello", toolless=True) as model:
        clock = FakeClock()
        backend = LlmBackend(clock=clock, endpoint=Endpoint(url=model.url, model="fake"))

        async def left(_: Work) -> list[Any]:
            gone = await anyio.to_thread.run_sync(model.gone.wait, GUARD_S)
            return [] if gone else ["a connection"]

        def away() -> Backend:
            model.stop()
            return backend

        yield Subject(
            backend=backend,
            clock=clock,
            answers=_says(model, "hello"),
            fails=_says(model, Fail(401)),
            hangs=_says(model, Hang()),
            busy=partial(_asked, model),
            left=left,
            away=away,
        )


async def _nothing(_: Work) -> list[Any]:
    return []


@asynccontextmanager
async def handoff(_: Path) -> AsyncGenerator[Subject]:
    """The last of every chain: it can neither fail nor hang."""
    backend = HandoffBackend()
    yield Subject(backend=backend, may_fail=False, left=_nothing, away=lambda: backend)


@asynccontextmanager
async def scripted(_: Path) -> AsyncGenerator[Subject]:
    """The stand-in of all other tests: what it gets away with, real ones must."""
    backend = ScriptedBackend([Outcome(text="hello")])

    def plays(step: Step) -> None:
        backend.steps = [step]

    def hangs() -> None:
        backend.gate = anyio.Event()

    async def busy() -> None:
        while not backend.works:
            await anyio.lowlevel.checkpoint()

    async def left(_: Work) -> list[Any]:
        return [] if backend.cancelled == len(backend.works) else ["its work"]

    yield Subject(
        backend=backend,
        fails=lambda: plays(BackendUnauthorized("no", evidence=Progress(state="thinking"))),
        hangs=hangs,
        busy=busy,
        left=left,
        away=lambda: backend,
    )


BACKENDS: Final[Mapping[str, Callable[[Path], Opened]]] = {
    "droid_cli": droid_cli,
    "handoff": handoff,
    "llm": llm,
    "scripted": scripted,
}
WORKING: Final = ("droid_cli", "llm")  # they work for a while, with nobody holding the clock
