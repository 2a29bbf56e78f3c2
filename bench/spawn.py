"""How long a client waits: spawn to first answer, import times, a warm call; beside the bare SDK.

    python bench/spawn.py

One raw pipe client, this file, drives both servers: no SDK on the client's side. `factory-mcp`
runs in an empty folder with no droid program to be found, so that a call is a handoff and what is
measured is the server's own share, the committed history row included. Each call has a task of
its own: nothing is attached to or answered from a cache.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import IO, Any, cast

HERE = Path(__file__).parent
SPAWNS = 5
IMPORTS = 3
WARM_UP = 10
CALLS = 200
CALLS_S = 10.0
"""No measurement of calls goes on for longer, however slow the machine."""

HANDSHAKE: dict[str, Any] = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "bench/spawn.py", "version": "1"},
}


class Client:
    """A server's two pipes."""

    def __init__(self, to_server: IO[bytes], from_server: IO[bytes], started: float) -> None:
        self._to_server = to_server
        self._from_server = from_server
        self._started = started
        self._ids = count(1)

    def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """One request, one result; notifications between them are passed over."""
        request_id = next(self._ids)
        self._write({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params})
        for line in self._from_server:
            message = json.loads(line)
            if message.get("id") == request_id:
                return message["result"]
        raise EOFError(method)

    def initialized(self) -> None:
        """The end of the handshake."""
        self._write({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def age_ms(self) -> float:
        """Milliseconds since the server was spawned."""
        return 1e3 * (time.perf_counter() - self._started)

    def _write(self, message: dict[str, Any]) -> None:
        self._to_server.write(json.dumps(message).encode() + b"\n")
        self._to_server.flush()


@contextmanager
def spawned(command: list[str]) -> Generator[Client]:
    """A server in an empty environment; it ends with its stdin."""
    with tempfile.TemporaryDirectory() as folder:
        env = {"PATH": folder, "HOME": folder, "FACTORY_MCP_DATA": f"{folder}/data"}
        started = time.perf_counter()
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=env,
            cwd=folder,
        ) as process:
            to_server = cast("IO[bytes]", process.stdin)
            yield Client(to_server, cast("IO[bytes]", process.stdout), started)
            to_server.close()
            process.wait(timeout=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spawn:
    """Milliseconds from spawn to the end of an answer."""

    initialize: float
    tools: float


def measure_spawn(command: list[str]) -> Spawn:
    """One spawn, to both answers."""
    with spawned(command) as client:
        client.ask("initialize", HANDSHAKE)
        initialize = client.age_ms()
        client.initialized()
        client.ask("tools/list", {})
        return Spawn(initialize=initialize, tools=client.age_ms())


def measure_calls(command: list[str]) -> list[float]:
    """Milliseconds of each warm call."""
    taken: list[float] = []
    with spawned(command) as client:
        client.ask("initialize", HANDSHAKE)
        client.initialized()
        for number in range(WARM_UP):
            client.ask(*task(f"warm-up {number}"))
        end = time.perf_counter() + CALLS_S
        while len(taken) < CALLS and time.perf_counter() < end:
            started = time.perf_counter()
            client.ask(*task(f"number {len(taken)}"))
            taken.append(1e3 * (time.perf_counter() - started))
    return taken


def task(name: str) -> tuple[str, dict[str, Any]]:
    """A call with a task of its own."""
    arguments = {"task": f"Design the queue {name}."}
    return "tools/call", {"name": "architect_droid", "arguments": arguments}


def measure_import(statement: str) -> float:
    """Milliseconds of an interpreter that runs one statement."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return 1e3 * (time.perf_counter() - started)


def tools_file(command: list[str], folder: str) -> str:
    """What `factory-mcp` lists, for the bare SDK to list too."""
    path = Path(folder) / "tools.json"
    with spawned(command) as client:
        client.ask("initialize", HANDSHAKE)
        client.initialized()
        path.write_text(json.dumps(client.ask("tools/list", {})), encoding="utf-8")
    return str(path)


def row(name: str, ours: list[float], theirs: list[float]) -> None:
    """Smallest and median of both, and the ratio of the medians."""
    middle, other = statistics.median(ours), statistics.median(theirs)
    print(
        f"{name:22} {min(ours):9.1f} {middle:9.1f}   {min(theirs):9.1f} {other:9.1f}"
        f"   {middle / other:6.2f}"
    )


def percentiles(values: list[float]) -> tuple[float, float]:
    """p50 and p95."""
    cuts = statistics.quantiles(values, n=20)
    return statistics.median(values), cuts[18]


def print_spawns(ours: list[str], theirs: list[str]) -> None:
    """The servers in turn."""
    pairs = [(measure_spawn(ours), measure_spawn(theirs)) for _ in range(SPAWNS)]
    print(f"\nspawn to answer, ms, {SPAWNS} spawns each, in turn")
    print(f"{'':22} {'factory-mcp':>19}   {'bare SDK':>19}")
    print(f"{'':22} {'min':>9} {'median':>9}   {'min':>9} {'median':>9}   {'ratio':>6}")
    row("initialize", [a.initialize for a, _ in pairs], [b.initialize for _, b in pairs])
    row("tools/list after it", [a.tools for a, _ in pairs], [b.tools for _, b in pairs])


def print_imports() -> None:
    """What a name costs to import."""
    bare = statistics.median(measure_import("pass") for _ in range(IMPORTS))
    print(f"\nimport, ms over a bare interpreter ({bare:.0f} ms), median of {IMPORTS}")
    for module in ("factory_mcp", "factory_mcp.__main__", "mcp", "sqlalchemy"):
        taken = statistics.median(measure_import(f"import {module}") for _ in range(IMPORTS))
        print(f"{module:22} {taken - bare:9.1f}")


def print_calls(ours: list[str], theirs: list[str]) -> None:
    """One call at a time."""
    results = {"factory-mcp, handoff": measure_calls(ours), "bare SDK, echo": measure_calls(theirs)}
    print("\nwarm tools/call, one at a time, ms")
    print(f"{'':22} {'p50':>9} {'p95':>9} {'calls':>9}")
    for name, taken in results.items():
        middle, high = percentiles(taken)
        print(f"{name:22} {middle:9.2f} {high:9.2f} {len(taken):9}")
    a, b = (percentiles(taken) for taken in results.values())
    print(f"{'ratio':22} {a[0] / b[0]:9.2f} {a[1] / b[1]:9.2f}")


def main() -> None:
    """Print the three tables."""
    python = sys.version.split()[0]
    print(f"server  factory-mcp {version('factory-mcp')} beside the low-level Server of mcp")
    print(f"client  {HANDSHAKE['clientInfo']['name']}, protocol {HANDSHAKE['protocolVersion']}")
    print(f"with    mcp {version('mcp')}, Python {python}, {os.cpu_count()} CPUs")
    ours = [sys.executable, "-m", "factory_mcp", "stdio"]
    with tempfile.TemporaryDirectory() as folder:
        theirs = [sys.executable, str(HERE / "bare_sdk.py"), tools_file(ours, folder)]
        print_spawns(ours, theirs)
        print_imports()
        print_calls(ours, theirs)


if __name__ == "__main__":
    main()
