"""Where the real droid program is, and a place for it to work that no account knows.

The program is Factory's (proprietary); `scripts/fetch_droid.sh` installs it. Tests drive it with
documented bring-your-own-key models only: a `FakeModel` on 127.0.0.1, a HOME of its own, and a
dead proxy for everything else.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from factory_mcp.backends.droid_cli import DroidCli
from factory_mcp.domain.model import Autonomy, Effects, Outcome, Progress, Workspace
from factory_mcp.domain.spec import DroidSpec
from factory_mcp.ports import Work
from tests.real.fake_model import FakeModel, Tool

MODEL = "custom:fake"
KEY = "not-a-real-key-0123456789"
GUARD_S = 60  # a hanging test is a failing test


def droid_binary() -> Path:
    """The program, from FACTORY_MCP_DROID_BIN.

    Without it the test fails, unless FACTORY_MCP_TEST_DROID=0 says to do without.
    """
    path = os.environ.get("FACTORY_MCP_DROID_BIN")
    if path:
        return Path(path)
    if os.environ.get("FACTORY_MCP_TEST_DROID") == "0":
        reason = "NOT TESTED: the real droid program (FACTORY_MCP_TEST_DROID=0)"
        sys.stderr.write(f"\n{reason}\n")
        pytest.skip(reason)
    pytest.fail(
        "FACTORY_MCP_DROID_BIN names no droid program: run scripts/fetch_droid.sh and set it to "
        "the path that it prints, or set FACTORY_MCP_TEST_DROID=0 to do without"
    )


class RealClock:
    """Real time."""

    def now(self) -> float:
        return datetime.now(UTC).timestamp()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class DroidSetup:
    """A droid that knows one model, for `backend` here, or for a process of ours elsewhere.

    `environ` lets such a process find the same program, model and HOME by itself; its config has
    to name `droid_env: [FAKE_MODEL_KEY]`.
    """

    home: Path
    workspace: Path
    run_dir: Path
    program: Path
    env: dict[str, str] = field(repr=False)

    @property
    def environ(self) -> dict[str, str]:
        """Variables for a process of ours, to be added to its environment."""
        return {**self.env, "HOME": str(self.home), "FACTORY_MCP_DROID_BIN": str(self.program)}

    @property
    def left_behind(self) -> list[str]:
        """What is in the folder of process ids and scratch folders."""
        return sorted(path.name for path in self.run_dir.iterdir())

    def backend(self, **changes: Any) -> DroidCli:
        """The backend, with any of its fields changed."""
        usual = DroidCli(
            clock=RealClock(),
            run_dir=self.run_dir,
            program=self.program,
            home=self.home,
            env=self.env,
        )
        return replace(usual, **changes)

    async def run(self, *args: Any, **changes: Any) -> Outcome:
        """One run in the workspace; the arguments are those of `work` after the folder."""
        with anyio.fail_after(GUARD_S):
            return await self.backend().run(work(self.workspace, *args, **changes), Reports())


def custom_model(model: FakeModel, name: str = "fake") -> dict[str, Any]:
    """The entry of `customModels` that makes `model` known as `custom:<name>`."""
    return {
        "model": name,
        "displayName": name,
        "baseUrl": model.url,
        "apiKey": "${FAKE_MODEL_KEY}",
        "provider": "generic-chat-completion-api",
        "maxOutputTokens": 4096,
    }


def droid_setup(folder: Path, model: FakeModel) -> DroidSetup:
    """A HOME whose default model is `model` (also `custom:fake`), and an empty workspace."""
    program = droid_binary()
    folder.mkdir(parents=True, exist_ok=True)
    folder = folder.resolve()
    home, workspace = folder / "home", folder / "workspace"
    (home / ".factory").mkdir(parents=True)
    workspace.mkdir()
    settings = {"cloudSessionSync": False, "model": MODEL, "customModels": [custom_model(model)]}
    (home / ".factory" / "settings.json").write_text(json.dumps(settings))
    env = {
        "FAKE_MODEL_KEY": KEY,
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9"),
        **dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9"),
        **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost"),
    }
    return DroidSetup(
        home=home, workspace=workspace, run_dir=folder / "run", program=program, env=env
    )


def spec(**changes: Any) -> DroidSpec:
    """A droid that may do everything, on the fake model."""
    known: dict[str, Any] = {
        "name": "code",
        "description": "writes code",
        "prompt": "You write code.",
        "model": MODEL,
        "effects": Effects.UNSAFE,
        "autonomy": Autonomy.HIGH,
        "deadline_s": 60,
        "idle_s": 60,
    }
    return DroidSpec(**(known | changes))


def work(folder: Path | None, droid: DroidSpec | None = None, **changes: Any) -> Work:
    """Work for that droid in a folder."""
    place = None if folder is None else Workspace(path=str(folder), key=str(folder))
    known: dict[str, Any] = {
        "run_id": f"run_{os.urandom(8).hex()}",
        "droid": droid or spec(),
        "prompt": "do it",
        "request": {},
        "workspace": place,
        "autonomy": Autonomy.HIGH,
        "deadline": float("inf"),
    }
    return Work(**(known | changes))


def execute(command: str, risk: str = "low") -> Tool:
    """The droid's Execute tool."""
    details = {"riskLevel": risk, "riskLevelReason": "a test", "timeout": 600, "summary": "a test"}
    return Tool("Execute", {"command": command, **details})


def create(path: Path) -> Tool:
    """The droid's Create tool."""
    return Tool("Create", {"file_path": str(path), "content": "made\n"})


@dataclass(slots=True)
class Reports:
    """A `report` that remembers, and calls `on` with each."""

    seen: list[Progress] = field(default_factory=list[Progress])
    on: Callable[[Progress], None] = lambda _: None

    def __call__(self, progress: Progress) -> None:
        self.seen.append(progress)
        self.on(progress)


async def gather(jobs: Mapping[str, Callable[[], Awaitable[Any]]]) -> dict[str, Any]:
    """The results of jobs that run at once, by name."""
    results: dict[str, Any] = {}

    async def one(name: str) -> None:
        results[name] = await jobs[name]()

    async with anyio.create_task_group() as tasks:
        for name in jobs:
            tasks.start_soon(one, name)
    return results


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is true of the machine, which sends no event about it."""
    while not await anyio.to_thread.run_sync(condition):  # noqa: ASYNC110 — see above
        await anyio.sleep(0.05)


def sleepers(mark: str) -> list[str]:
    """The live `sleep` commands that a test can tell by `mark`."""
    return [command for command in processes_with(mark) if command.startswith("sleep")]


def processes_with(mark: str) -> Iterator[str]:
    """The command lines of live processes that contain `mark`."""
    ps = shutil.which("ps") or "/bin/ps"
    lines = subprocess.run([ps, "-eo", "stat=,args="], capture_output=True, text=True, check=True)
    for line in lines.stdout.splitlines():
        state, command = line.split(maxsplit=1)
        if mark in command and not state.startswith("Z"):
            yield command
