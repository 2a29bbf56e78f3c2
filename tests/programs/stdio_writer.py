"""A client of `factory-mcp stdio` that keeps many `context_write` calls in flight."""

import json
import sys
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from factory_mcp.domain.model import Json
from tests.transports.messages import HANDSHAKE, INITIALIZED, message

IN_FLIGHT: Final = 64
MAX_LINE: Final = 1 << 20


@dataclass
class Writer:
    """One server process and what it answered: the envelope of each write, by its summary."""

    process: Process
    answers: dict[str, Json] = field(default_factory=dict[str, Json])

    def __post_init__(self) -> None:
        assert self.process.stdout is not None
        self._lines = BufferedByteReceiveStream(self.process.stdout)

    async def open(self) -> None:
        """The handshake."""
        await self._send(message(0, "initialize", HANDSHAKE))
        await self._receive()
        await self._send(INITIALIZED)

    async def write(
        self, notes: Iterable[Json], progress: Callable[[int], object] = lambda _: None
    ) -> None:
        """Write every note, the arguments of a call each; until all are answered.

        Raises:
            anyio.EndOfStream: The process has ended.
            anyio.BrokenResourceError: Likewise.
        """
        calls = enumerate(notes, start=1)
        asked: dict[int, str] = {}

        async def ask() -> None:
            for number, note in calls:
                asked[number] = note["summary"]
                params = {"name": "context_write", "arguments": note}
                await self._send(message(number, "tools/call", params))
                return

        for _ in range(IN_FLIGHT):
            await ask()
        while asked:
            answer = await self._receive()
            if "id" in answer:
                self.answers[asked.pop(answer["id"])] = answer["result"]["structuredContent"]
                progress(len(self.answers))
                await ask()

    async def close(self) -> None:
        """End its stdin, and wait for it to end."""
        assert self.process.stdin is not None
        await self.process.stdin.aclose()
        assert 0 == await self.process.wait()

    async def _send(self, line: Json) -> None:
        assert self.process.stdin is not None
        await self.process.stdin.send(json.dumps(line).encode() + b"\n")

    async def _receive(self) -> dict[str, Any]:
        return json.loads(await self._lines.receive_until(b"\n", MAX_LINE))


@asynccontextmanager
async def stdio_writer(folder: Path) -> AsyncGenerator[Writer]:
    """A server on the store in `folder/data`; killed at the end if it still runs."""
    home = str(folder)
    env = {"PATH": home, "HOME": home, "FACTORY_MCP_DATA": f"{home}/data"}
    command = [sys.executable, "-m", "factory_mcp", "stdio"]
    with (folder / "stderr").open("ab") as log:
        process = await anyio.open_process(command, cwd=folder, env=env, stderr=log)
    async with process:
        try:
            writer = Writer(process)
            await writer.open()
            yield writer
        finally:
            if process.returncode is None:
                process.kill()
