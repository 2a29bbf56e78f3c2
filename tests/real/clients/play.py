"""One run of a client from its configuration to its last word, and what was seen of it."""

import re
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from tests.real.clients.client_model import FINISHED, ClientModel, Script, Use
from tests.real.clients.programs import Client, Transport
from tests.real.clients.stage import Stage, make_stage
from tests.real.fake_model import FakeModel, Reply

TASK = "Where is the parser?"
ANSWER = "The parser is in lexer.py."


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What the client showed its model, what the server was asked, the runs it kept."""

    shown: list[str]
    calls: list[dict[str, Any]]
    history: list[dict[str, Any]]
    seconds: float

    @property
    def protocol(self) -> str:
        """The one version that every call was made in."""
        (version,) = {call["protocol"] for call in self.calls}
        return version

    @property
    def tools(self) -> list[str]:
        """The tools that were called, in order."""
        return [call["tool"] for call in self.calls]

    @property
    def statuses(self) -> list[str]:
        """How the runs ended, in order."""
        return [run["status"] for run in reversed(self.history)]

    @property
    def kind(self) -> str:
        """What of a result the model sees: its text, its structured half, or both."""
        if '"run_id"' not in self.shown[0]:
            return "text"
        return "both" if '"content"' in self.shown[0] else "structured"


async def play(
    client: Client,
    transport: Transport,
    folder: Path,
    *,
    droid_says: Reply,
    script: Callable[[Stage], Script],
) -> Played:
    """Configure the client with `factory-mcp install` and run it once.

    Args:
        client: Which.
        transport: How it reaches the server.
        folder: An empty one.
        droid_says: What the model of the droid behind the server answers.
        script: What the client's own model says.
    """
    with FakeModel(lambda _: droid_says) as droids:
        stage = make_stage(folder, droids.url)
        async with AsyncExitStack() as stack:
            model = stack.enter_context(ClientModel(script(stage)))
            command = client.command(client.found(), stage, model.url)
            remote: list[str] = []
            if transport == "http":
                remote = ["--remote", f"{await stack.enter_async_context(stage.serving())}/mcp"]
            await stage.factory_mcp("install", client.install, *remote)
            for step in command.before:
                assert 0 == (await stage.run(step, command.env)).code
            started = monotonic()
            ended = await stage.run(command.run, command.env)
            seconds = monotonic() - started
        assert (0, set[str]()) == (ended.code, model.missing), ended.output
        assert FINISHED in ended.output
        return Played(
            shown=model.shown,
            calls=stage.calls(),
            history=await stage.history(),
            seconds=seconds,
        )


def delegate(_: Stage) -> Script:
    """Call a droid, collect its result for as long as it says RUNNING, and stop."""

    def script(results: list[str]) -> Use | str:
        if not results:
            return Use("architect_droid", {"task": TASK})
        running = re.search(r"\bRUNNING \w+ (run_\w+)", results[-1])
        return Use("droid_wait", {"run_id": running[1]}) if running else FINISHED

    return script


def call_then_lose_the_droid(stage: Stage) -> Script:
    """Call a droid; then its program is gone and another is called; stop."""

    def script(results: list[str]) -> Use | str:
        if not results:
            return Use("architect_droid", {"task": TASK})
        stage.droid.unlink(missing_ok=True)
        return Use("code_droid", {"task": "Move it"}) if len(results) == 1 else FINISHED

    return script
