"""Faults whose pass line has a time: the real droid, on a model of our own that goes away.

The server is the installed `factory-mcp stdio`, driven over its two pipes. Values are seconds.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import IO, Any, cast

from tests.faults.table import Row, at_most
from tests.real.droid_program import DroidSetup, droid_setup, execute, processes_with, sleepers
from tests.real.fake_model import FakeModel, Messages, Reply
from tests.real.product import environment, history

HANDSHAKE: dict[str, Any] = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "faults", "version": "1"},
}
SLEEP = "321.125"
QUIET_S = 25
PATIENCE_S = 60.0
"""No fault is watched for longer."""


class Server:
    """`factory-mcp stdio` and its pipes."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process
        self._ids = count(1)
        self.progress: list[float] = []
        """When each progress notification of the last call came."""

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """One tool call's structured result."""
        self.progress = [time.monotonic()]
        meta = {"progressToken": "faults"}
        params = {"name": tool, "arguments": arguments, "_meta": meta}
        return self.ask("tools/call", params)["structuredContent"]

    def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """One request's result."""
        request_id = next(self._ids)
        self.send({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params})
        for line in cast("IO[bytes]", self.process.stdout):
            message = json.loads(line)
            if message.get("method") == "notifications/progress":
                self.progress.append(time.monotonic())
            elif message.get("id") == request_id:
                return message["result"]
        raise EOFError(method)

    def send(self, message: dict[str, Any]) -> None:
        """One line to the server."""
        stdin = cast("IO[bytes]", self.process.stdin)
        stdin.write(json.dumps(message).encode() + b"\n")
        stdin.flush()

    def leave(self) -> None:
        """What an editor does when it is closed."""
        cast("IO[bytes]", self.process.stdin).close()


@contextmanager
def serving(setup: DroidSetup, folder: Path) -> Generator[Server]:
    """A server that has been greeted; killed in the end."""
    command = [sys.executable, "-m", "factory_mcp", "stdio"]
    with (
        (folder / "log").open("ab") as log,
        subprocess.Popen(
            command,
            cwd=setup.workspace,
            env=environment(setup, folder),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        ) as process,
    ):
        try:
            server = Server(process)
            server.ask("initialize", HANDSHAKE)
            server.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
            yield server
        finally:
            process.kill()


def seconds_until(condition: Callable[[], bool]) -> float:
    """How long it takes until something is true of the machine."""
    started = time.monotonic()
    while not condition() and time.monotonic() - started < PATIENCE_S:
        time.sleep(0.02)  # noqa: TID251 — no event says that a process of others is gone
    return time.monotonic() - started


def nothing_left(setup: DroidSetup) -> bool:
    """Neither the droid nor the command it ran is alive."""
    return not any([*processes_with(SLEEP), *processes_with(str(setup.program))])


Timed = tuple[str, float, float]
"""Id, seconds, the most they may be."""


def a_droid_that_is_stopped(setup: DroidSetup, folder: Path, model: FakeModel) -> Iterator[Timed]:
    """By a cancel, by an editor that leaves, by our own death: no process outlives it."""
    model.script = sleeps
    for fault, bar in (("cancel", 7), ("editor_leaves", 10), ("server_killed", 5)):
        with serving(setup, folder) as server:
            run = server.call("code_droid", task=fault, wait_s=0)
            seconds_until(lambda: bool(sleepers(SLEEP)))
            started = time.monotonic()
            match fault:
                case "cancel":
                    server.call("droid_cancel", run_id=run["run_id"])
                case "editor_leaves":
                    server.leave()
                    server.process.wait(PATIENCE_S)
                case _:
                    server.process.kill()
            seconds_until(lambda: nothing_left(setup))
            yield f"{fault}.droid_gone", time.monotonic() - started, bar
    with serving(setup, folder) as server:
        started = time.monotonic()
        server.call("context_search", query="anything")
        seconds_until(lambda: "interrupted" == history(setup, folder)[0]["status"])
        yield "server_killed.run_closed_by_next_start", time.monotonic() - started, 30


def a_droid_that_is_quiet(setup: DroidSetup, folder: Path, model: FakeModel) -> Iterator[Timed]:
    """Progress comes at least every 10 s, whatever the droid does."""
    model.script = quiet
    with serving(setup, folder) as server:
        server.call("code_droid", task="quiet", wait_s=50)
        gaps = [b - a for a, b in zip(server.progress, server.progress[1:], strict=False)]
        yield "quiet_droid.longest_silence", max(gaps, default=PATIENCE_S), 10


def a_model_that_goes_away(setup: DroidSetup, folder: Path, model: FakeModel) -> Iterator[Timed]:
    """Handed off soon; refused at once while the breaker is open; used again when it is back."""
    model.script = well
    with serving(setup, folder) as server:
        model.stop()
        started = time.monotonic()
        assert "handoff" == server.call("architect_droid", task="0", wait_s=50)["status"]
        yield "model_gone.handoff", time.monotonic() - started, 15
        tasks = count(1)

        def attempt() -> str:
            answer = server.call("architect_droid", task=str(next(tasks)), wait_s=50)
            return [a["code"] for a in answer["attempts"] if a["backend"] == "droid_cli"][-1]

        seconds_until(lambda: "circuit_open" == attempt())
        opened = time.monotonic()
        assert "circuit_open" == attempt()
        yield "breaker_open.refusal", time.monotonic() - opened, 0.085
        model.start()
        seconds_until(lambda: "ok" == attempt())
        assert "ok" == attempt()
        yield "model_back.closed_again", time.monotonic() - opened, 45


def sleeps(_: Messages) -> Reply:
    """A command that would run for minutes."""
    return execute(f"sleep {SLEEP}")


def quiet(messages: Messages) -> Reply:
    """A command without a word, then an answer."""
    return "Slept." if messages[-1]["role"] == "tool" else execute(f"sleep {QUIET_S}")


def well(_: Messages) -> Reply:
    """An answer."""
    return "Well."


def rows() -> Iterator[Row]:
    """Every row, as it is there."""
    for fault in (a_droid_that_is_stopped, a_droid_that_is_quiet, a_model_that_goes_away):
        with tempfile.TemporaryDirectory() as name, FakeModel(well) as model:
            folder = Path(name)
            for timed in fault(droid_setup(folder / "droid", model), folder, model):
                yield at_most(*timed)
