"""A backend whose droid program plays a scenario."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from factory_mcp.backends.droid_cli import DroidCli
from factory_mcp.domain.errors import BackendError
from factory_mcp.domain.model import Autonomy, Outcome, Progress, Workspace
from factory_mcp.domain.spec import DroidSpec
from factory_mcp.ports import Work
from tests.fakes import FakeClock

STUB = Path(__file__).with_name("stub_droid.py")
GUARD_S = 30  # a hanging test is a failing test

SAID = {
    "type": "create_message",
    "message": {"id": "m", "role": "assistant", "content": [{"type": "text", "text": "hello"}]},
}
COMPLETED = {"type": "agent_turn_completed", "reason": "completed"}
THINKING = {"type": "droid_working_state_changed", "newState": "thinking"}
RETRY = {"type": "llm_retry", "attempt": 1, "reason": "overloaded"}
SPEC = DroidSpec(name="code", description="", prompt="You write code.", deadline_s=60)


class Stub:
    """A backend whose program plays a scenario."""

    def __init__(self, folder: Path, clock: FakeClock, scenario: dict[str, Any]) -> None:
        (folder / "scenario.json").write_text(json.dumps(scenario))
        program = folder / "droid"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {STUB} {folder}/scenario.json "$@"\n')
        program.chmod(0o700)
        self.folder, self.clock = folder, clock
        self.cli = DroidCli(clock=clock, run_dir=folder / "run", program=program, api_key="fk-mine")
        self.seen: list[Progress] = []

    def work(self, spec: DroidSpec = SPEC, **changes: Any) -> Work:
        known: dict[str, Any] = {
            "run_id": f"run_{os.urandom(8).hex()}",
            "droid": spec,
            "prompt": "do it",
            "request": {},
            "workspace": Workspace(path=str(self.folder), key="k"),
            "autonomy": Autonomy.LOW,
            "deadline": 1e9,
        }
        return Work(**(known | changes))

    async def until_thinking(self) -> None:
        """Wait until the program said so."""
        while not self.seen or self.seen[-1].state != "thinking":  # noqa: ASYNC110 — its doing
            await anyio.sleep(0.01)

    async def run(self, spec: DroidSpec = SPEC, **changes: Any) -> Outcome:
        with anyio.fail_after(GUARD_S):
            return await self.cli.run(self.work(spec, **changes), self.seen.append)

    async def error(self, spec: DroidSpec = SPEC, **changes: Any) -> BackendError:
        with pytest.raises(BackendError) as caught:
            await self.run(spec, **changes)
        return caught.value
