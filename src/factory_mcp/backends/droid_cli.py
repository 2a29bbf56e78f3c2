"""The backend that runs a droid with Factory's own program on this machine."""

import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from factory_mcp.backends import droid_check, launcher
from factory_mcp.backends.droid_launch import Launch
from factory_mcp.backends.processes import RUN_VARIABLE
from factory_mcp.domain.errors import BackendMissing
from factory_mcp.domain.model import Outcome
from factory_mcp.ports import Check, Clock, Report, Work

if TYPE_CHECKING:
    from factory_mcp.backends.droid_session import Attempt

_PROTOCOL = ("exec", "--input-format", "stream-jsonrpc", "--output-format", "stream-jsonrpc")


@dataclass(frozen=True, slots=True, kw_only=True)
class DroidCli:
    """Factory's droid as a process of its own for every attempt.

    `program` None finds `droid` on PATH. `home` None is the user's own HOME, with their login
    and custom models. `extra_env` names variables of ours that the droid may see, such as the
    keys of custom models; `env` sets more. `settings_file` is handed to the program. `run_dir`
    holds process ids and scratch folders. `depth` is how many droids we run under already.
    """

    clock: Clock
    run_dir: Path
    program: Path | None = None
    api_key: str | None = field(default=None, repr=False)
    home: Path | None = None
    extra_env: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    settings_file: Path | None = None
    depth: int = 0
    tick_s: float = 10

    @property
    def name(self) -> str:
        """As attempts, breakers and specs spell it."""
        return "droid_cli"

    @property
    def sees_workspace(self) -> bool:
        """It works in the caller's folder."""
        return True

    async def run(self, work: Work, report: Report) -> Outcome:
        """Run the droid in the workspace, or in an empty folder that is removed afterwards.

        Raises:
            BackendError: See `droid_events` for what becomes which.
        """
        program = await anyio.to_thread.run_sync(self._find)
        if program is None:
            raise BackendMissing(
                f"the droid program is not there ({self.program or 'droid on PATH'})",
                remedy=droid_check.INSTALL,
            )
        attempt = await anyio.to_thread.run_sync(_load_attempt)
        async with self._folder(work) as folder:
            launch = self._launch(work.run_id, program, folder)
            return await attempt(work, launch, report, self.clock).run(self.tick_s)

    async def check(self) -> Sequence[Check]:
        """The program and its version, `ps`, the HOME in use, and whether there is any model."""
        program = await anyio.to_thread.run_sync(self._find)
        if program is None:
            return [droid_check.missing(self.program)]
        home = self.home or Path.home()
        with tempfile.TemporaryDirectory(prefix="droid-") as scratch:
            launch = self._order("check", program, Path(scratch) / "pid")
            version = await droid_check.version([*launch, "--version"], Path(scratch))
        access = await anyio.to_thread.run_sync(
            droid_check.access, home, self.settings_file, frozenset(self._secrets())
        )
        return [
            droid_check.program(program, version),
            droid_check.process_list(),
            droid_check.home(home, self.home),
            access,
        ]

    def _find(self) -> Path | None:
        found = shutil.which(self.program or "droid")
        return Path(found).absolute() if found else None

    @contextlib.asynccontextmanager
    async def _folder(self, work: Work) -> AsyncGenerator[Path]:
        if work.workspace is not None:
            self.run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            yield Path(work.workspace.path)
            return
        scratch = await anyio.to_thread.run_sync(self._make_scratch)
        try:
            yield scratch
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(lambda: shutil.rmtree(scratch, ignore_errors=True))

    def _make_scratch(self) -> Path:
        self.run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        return Path(tempfile.mkdtemp(prefix="scratch-", dir=self.run_dir)).resolve()

    def _launch(self, run_id: str, program: Path, folder: Path) -> Launch:
        pid_file = self.run_dir / f"{run_id}.pid"
        settings = ("--settings", str(self.settings_file)) if self.settings_file else ()
        return Launch(
            command=[*self._order(run_id, program, pid_file), *_PROTOCOL, *settings],
            folder=folder,
            pid_file=pid_file,
            secrets=self._secrets(),
        )

    def _order(self, run_id: str, program: Path, pid_file: Path) -> list[str]:
        """The command that starts the program through the launcher."""
        home = {} if self.home is None else {"HOME": str(self.home)}
        order: launcher.Order = {
            "parent": os.getpid(),
            "pid_file": str(pid_file),
            "keep": list(self._secrets()),
            "drop": [] if self.home is None else ["XDG_*"],
            "assign": {
                **home,
                RUN_VARIABLE: run_id,
                "FACTORY_MCP_DEPTH": str(self.depth + 1),
                "FACTORY_DROID_AUTO_UPDATE_ENABLED": "false",
            },
        }
        return [sys.executable, "-I", "-S", launcher.__file__, json.dumps(order), str(program)]

    def _secrets(self) -> dict[str, str]:
        """What the droid may see besides the allow-list; all of it is kept out of messages."""
        named = [name for name in self.extra_env if not name.startswith("FACTORY_MCP_")]
        ours = {name: os.environ[name] for name in named if name in os.environ}
        key = {} if self.api_key is None else {"FACTORY_API_KEY": self.api_key}
        return {**ours, **self.env, **key}


def _load_attempt() -> "type[Attempt]":
    """Import droid-sdk, which takes a second, outside the event loop and only when it is used."""
    from factory_mcp.backends.droid_session import Attempt  # noqa: PLC0415 — see above

    return Attempt
