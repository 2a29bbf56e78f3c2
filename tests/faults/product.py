"""The product as processes: `factory-mcp serve` with stores of a run's own, and its commands."""

import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio
from anyio.to_thread import run_sync

from tests.keys import RING
from tests.servers.process import HOST, LoggingServer, ServerFailed, free_port

LONG: Final = os.environ.get("FAULTS") == "long"
TIMES: Final = 10 if LONG else 1
"""How much longer the long versions are."""
COMMAND: Final = (sys.executable, "-m", "factory_mcp")
COMMAND_S: Final = 120.0


@dataclass(slots=True, kw_only=True)
class Replica(LoggingServer):
    """One `factory-mcp serve`; what it says goes to its log."""

    @property
    def url(self) -> str:
        """Where it serves."""
        return f"http://{HOST}:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What its commands are run with."""
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder), **self.env}

    def run(self, *words: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """One of its commands, to the end."""
        done = subprocess.run(
            [*COMMAND, *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_S,
        )
        if check and done.returncode:
            raise ServerFailed(f"{' '.join(words)}:\n{done.stderr[-2000:]}")
        return done

    @property
    def ring(self) -> str:
        """The text of its key ring."""
        return (self.folder / "ring").read_text(encoding="ascii")

    def write_ring(self, text: str) -> None:
        """Put a key ring in the place of the one it has, whole."""
        draft = self.folder / "ring.new"
        draft.touch(0o600)
        draft.write_text(text, encoding="ascii")
        draft.replace(self.folder / "ring")


def replica(home: Path, name: str, **env: str) -> Replica:
    """A replica with a data folder, a key ring and a port of its own; not started.

    It has no droid program: calls of droids end as handoffs, and are recorded all the same.
    """
    folder, workspace = home / name, home / "workspace"
    for path in (folder, workspace):
        path.mkdir(exist_ok=True)
    port = free_port()
    made = Replica(
        name=name,
        folder=folder,
        command=[*COMMAND, "serve", "--port", str(port)],
        port=port,
        ready="factory-mcp serves",
        env={
            "FACTORY_MCP_DATA": str(folder / "data"),
            "FACTORY_MCP_ROOTS": str(workspace),
            "FACTORY_MCP_DROID_BIN": str(home / "no-droid"),
            "FACTORY_MCP_MAX_PARALLEL": "16",
            "FACTORY_MCP_KEYRING": str(folder / "ring"),
            **env,
        },
    )
    made.write_ring(RING.text())
    return made


@asynccontextmanager
async def serving(*replicas: Replica) -> AsyncGenerator[None]:
    """The replicas, started together; ended at the end."""
    try:
        async with anyio.create_task_group() as tasks:
            for one in replicas:
                tasks.start_soon(run_sync, one.start)
        yield
    finally:
        with anyio.CancelScope(shield=True):
            for one in replicas:
                await run_sync(one.stop)


@contextmanager
def many(
    count: int, *command: str, env: dict[str, str]
) -> Generator[list["subprocess.Popen[str]"]]:
    """So many processes of a command that begins once its stdin is closed; killed at the end."""
    made: list[subprocess.Popen[str]] = []
    try:
        for _ in range(count):
            process = subprocess.Popen(
                command,
                env=env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            made.append(process)
        yield made
    finally:
        for process in made:
            process.kill()
            process.wait()
