"""A small SDK server for the transports' tests, and a program that serves it.

    python -m tests.transports.sample_server stdio HELLO_FILE
    python -m tests.transports.sample_server http PORT

As a program it says on stderr what it does: `listening URL`, `draining`, `stopping`.
"""

import os
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import mcp_types as t
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler

from factory_mcp import telemetry
from factory_mcp.ports import Check
from factory_mcp.transports.hello import open_wire, take_wire
from factory_mcp.transports.http import HttpApp, Ready, Shutdown, http_app, serve
from factory_mcp.transports.stdio import serve_stdio

Context = ServerRequestContext[Any, Any]
INPUT: dict[str, Any] = {"type": "object", "properties": {"text": {"type": "string"}}}
TOOLS = ("echo", "steps", "noisy", "hold", "await_held", "release")


class Sample:
    """Handlers: `hold` answers once `release` was called, and `held` says that one waits."""

    def __init__(self) -> None:
        self.held = anyio.Event()
        self.released = anyio.Event()
        self.open = 0

    async def list_tools(self, _: Context, __: Any) -> t.ListToolsResult:
        return t.ListToolsResult(tools=[t.Tool(name=name, input_schema=INPUT) for name in TOOLS])

    async def call_tool(self, ctx: Context, params: t.CallToolRequestParams) -> t.CallToolResult:
        text = str((params.arguments or {}).get("text", ""))
        match params.name:
            case "steps":
                for step in (1, 2):
                    await ctx.session.report_progress(step, 2, f"step {step}")
            case "noisy":
                make_noise()
            case "hold":
                await self._hold()
            case "await_held":
                await self.held.wait()
            case "release":
                self.released.set()
            case _:
                pass
        return t.CallToolResult(content=[t.TextContent(type="text", text=f"{params.name} {text}")])

    async def _hold(self) -> None:
        self.open += 1
        self.held.set()
        try:
            await self.released.wait()
        finally:
            self.open -= 1

    def server(self) -> Server[Any]:
        return Server(
            "sample",
            version="1",
            instructions="A sample.",
            on_list_tools=self.list_tools,
            on_call_tool=self.call_tool,
            get_tool_input_schema=lambda _: INPUT,
            on_subscriptions_listen=ListenHandler(InMemorySubscriptionBus()),
        )

    async def drained(self) -> None:
        """Return when no call is held any more."""
        if self.open:
            await self.released.wait()


def make_noise() -> None:
    """Write to stdout in every way that a library might."""
    print("stray print", flush=True)  # noqa: T201 — the point
    os.write(1, b"stray write\n")
    subprocess.run(["/bin/echo", "stray child"], check=True)


class RealClock:
    """Real time."""

    def now(self) -> float:
        return time.time()  # noqa: TID251 — this is the clock

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


async def all_well() -> list[Check]:
    """Nothing is wrong."""
    return [Check(name="sample", ok=True, detail="well")]


async def nothing() -> None:
    """Nothing is open, or to be stopped."""


@asynccontextmanager
async def no_lifespan() -> AsyncGenerator[None]:
    """Nothing has to be up."""
    yield


def sample_app(sample: Sample | None = None, ready: Ready = all_well) -> HttpApp:
    """The sample over HTTP."""
    return http_app((sample or Sample()).server(), ready=ready, lifespan=no_lifespan)


@asynccontextmanager
async def serving(app: HttpApp, host: str = "127.0.0.1") -> AsyncGenerator[str]:
    """The application on a free port; yields its base URL."""

    async def run(*, task_status: Any) -> None:
        at_once = Shutdown(drain=nothing, stop=nothing)
        await serve(app, host=host, port=0, shutdown=at_once, task_status=task_status)

    async with anyio.create_task_group() as tasks:
        yield await tasks.start(run)
        tasks.cancel_scope.cancel()


def say(text: str) -> None:
    """Tell the test."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


async def _http(port: int) -> None:
    sample = Sample()

    async def drain() -> None:
        say("draining")
        await sample.drained()

    async def stop() -> None:
        say("stopping")

    async def run(*, task_status: Any) -> None:
        shutdown = Shutdown(drain=drain, stop=stop, drain_s=60)
        app = sample_app(sample)
        await serve(app, host="localhost", port=port, shutdown=shutdown, task_status=task_status)

    telemetry.configure("WARNING")
    async with anyio.create_task_group() as tasks:
        say(f"listening {await tasks.start(run)}")


async def _stdio(hello: str) -> None:
    opening = open_wire(*take_wire(), hello)
    telemetry.configure()

    async def on_eof() -> None:
        say("stopping")

    await serve_stdio(Sample().server(), opening, clock=RealClock(), on_eof=on_eof)


if __name__ == "__main__":
    _, mode, argument = sys.argv
    if mode == "stdio":
        anyio.run(_stdio, argument)
    else:
        anyio.run(_http, int(argument))
