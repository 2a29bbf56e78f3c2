"""Real MCP clients: the TypeScript SDK 1.x and the TypeScript client 2.x, driven from a test.

`make test` sets FACTORY_MCP_NODE (a Node.js >= 22) and FACTORY_MCP_TS (the folder whose
node_modules holds the packages of `ts/package-lock.json`). The programs and their steps are
described in `ts/run.mjs`.
"""

import json
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

Version = Literal["v1", "v2"]
MAX_LINE = 16 * 1024 * 1024


class TsClient:
    """One connection of a TypeScript client; steps are taken one after the other."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin = process.stdin
        self._lines = BufferedByteReceiveStream(process.stdout)

    async def step(self, op: str, *, deadline_s: float = 60, **fields: Any) -> dict[str, Any]:
        """Take one step and return its line: {op, ok, result | error, progress, ms}."""
        with anyio.fail_after(deadline_s):
            await self.send({"op": op, **fields})
            return json.loads(await self._lines.receive_until(b"\n", MAX_LINE))

    async def send(self, message: dict[str, Any]) -> None:
        """Write one line."""
        await self._stdin.send(json.dumps(message).encode() + b"\n")


@asynccontextmanager
async def ts_client(version: Version, program: dict[str, Any]) -> AsyncGenerator[TsClient]:
    """A client of the server that `program` names; leaving closes it as an editor would."""
    command = [_from_make("FACTORY_MCP_NODE"), str(Path(__file__).parent / "ts" / f"{version}.mjs")]
    environment = {**os.environ, "FACTORY_MCP_TS": _from_make("FACTORY_MCP_TS")}
    async with await anyio.open_process(
        command, env=environment, stderr=None, start_new_session=True
    ) as process:
        client = TsClient(process)
        try:
            await client.send({**program, "env": {**_coverage(), **program.get("env", {})}})
            yield client
            await _leave(process)
        finally:
            with suppress(ProcessLookupError):  # its server too, had it not ended by itself
                os.killpg(process.pid, signal.SIGKILL)


async def run_ts(
    version: Version, program: dict[str, Any], timeout_s: float = 60
) -> list[dict[str, Any]]:
    """Take all steps of `program["steps"]` on one connection and return their lines."""
    steps: list[dict[str, Any]] = program.get("steps", [])
    with anyio.fail_after(timeout_s):
        async with ts_client(version, {**program, "steps": []}) as client:
            return [await client.step(**step, deadline_s=timeout_s) for step in steps]


async def _leave(process: Process) -> None:
    assert process.stdin is not None
    await process.stdin.aclose()
    with anyio.fail_after(15):
        await process.wait()


def _coverage() -> dict[str, str]:
    """The SDKs hand on a short environment; a server of ours is measured all the same."""
    return {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}


def _from_make(name: str) -> str:
    value = os.environ.get(name)
    assert value, f"{name} is not set; `make test` sets it (see CONTRIBUTING.md)."
    return value
