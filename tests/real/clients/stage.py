"""A machine of its own for one client: HOME, a workspace, factory-mcp and the droid.

Nothing is told to the server but what a user's machine would tell it: it finds the droid on PATH,
and the droid finds its model in HOME. factory-mcp is installed into an environment of the stage's
own, so that `factory-mcp install` names the program there; that one writes its log to a file,
because every client does something else with it.
"""

import json
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import DEVNULL, STDOUT
from typing import Any

import anyio

from tests.real.droid_program import KEY, droid_binary

GUARD_S = 240  # a client that hangs is a failing test
DEAD = "http://127.0.0.1:9"
OFFLINE = {
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), DEAD),
    **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost"),
}
PROGRAM = """#!{python}
import os, sys
os.environ.update({environment!r})
if sys.argv[1] in ("stdio", "serve"):
    os.dup2(os.open({log!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), 2)
from factory_mcp.__main__ import main
sys.exit(main())
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a program ended, and what it wrote."""

    code: int
    output: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """The folders of one run."""

    folder: Path
    env: dict[str, str] = field(repr=False)

    @property
    def home(self) -> Path:
        """HOME of the client, and so of the server it starts."""
        return self.folder / "home"

    @property
    def workspace(self) -> Path:
        """The folder the client is started in, a git repository."""
        return self.folder / "shop"

    @property
    def program(self) -> Path:
        """`factory-mcp`."""
        return self.folder / "venv" / "bin" / "factory-mcp"

    @property
    def droid(self) -> Path:
        """The droid on the server's PATH; without this link there is none."""
        return self.folder / "bin" / "droid"

    @property
    def log(self) -> Path:
        """What servers of this stage logged."""
        return self.folder / "server.log"

    def put(self, path: str | Path, value: Any) -> Path:
        """Write a file below HOME, JSON unless it is text."""
        target = self.home / path
        target.parent.mkdir(parents=True, exist_ok=True)
        text = value if isinstance(value, str) else json.dumps(value, indent=1)
        target.write_text(text, encoding="utf-8")
        return target

    async def run(
        self, command: Sequence[str | Path], env: Mapping[str, str | None] | None = None
    ) -> Ended:
        """Run a program in the workspace to its end; what it leaves behind is ended too.

        Args:
            command: The program and its arguments.
            env: Variables that are set besides, or with None are not.
        """
        known = {**self.env, **(env or {})}
        environment = {name: value for name, value in known.items() if value is not None}
        output = self.folder / "output.txt"
        with anyio.fail_after(GUARD_S), output.open("wb") as file:
            async with await anyio.open_process(
                list(map(str, command)),
                cwd=self.workspace,
                env=environment,
                stdin=DEVNULL,
                stdout=file,
                stderr=STDOUT,
                start_new_session=True,
            ) as process:
                try:
                    code = await process.wait()
                finally:
                    _end_all_with(f"HOME={self.home}")
        return Ended(code=code, output=output.read_text(encoding="utf-8", errors="replace"))

    async def factory_mcp(self, *arguments: str) -> str:
        """What a command of ours prints."""
        ended = await self.run([self.program, *arguments])
        assert 0 == ended.code, ended.output
        return ended.output

    async def history(self) -> list[dict[str, Any]]:
        """The runs there were, the newest first."""
        return json.loads(await self.factory_mcp("history", "--json"))

    def calls(self) -> list[dict[str, Any]]:
        """Which tools were called, by whom, in which version of the protocol."""
        lines = self.log.read_text(encoding="utf-8").splitlines()
        events = [json.loads(line) for line in lines if line.startswith("{")]
        return [event for event in events if event["event"] == "tool.called"]

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[str]:
        """`factory-mcp serve`, as another user of the machine; yields its base URL."""
        env = {"HOME": str(self.folder / "host"), "FACTORY_MCP_ROOTS": str(self.workspace)}
        async with await anyio.open_process(
            [str(self.program), "serve", "--port", "0"],
            cwd=self.workspace,
            env={**self.env, **env},
            stdin=DEVNULL,
            stderr=None,
        ) as process:
            assert process.stdout is not None
            try:
                with anyio.fail_after(60):
                    first = (await process.stdout.receive()).decode()
                yield re.findall(r"http://[^/ ]+", first)[0]
            finally:
                process.send_signal(signal.SIGTERM)
                with anyio.move_on_after(30, shield=True):
                    await process.wait()


def _end_all_with(variable: str) -> None:
    """Kill whatever has this variable in its environment: the daemons of a client too."""
    mark = f"{variable}\0".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (process / "environ").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)


def droid_settings(url: str, name: str) -> dict[str, Any]:
    """A droid's settings: the model at this base URL is `custom:<name>`, and the default."""
    model = {"model": name, "displayName": name, "baseUrl": url, "apiKey": KEY}
    known = {**model, "provider": "generic-chat-completion-api", "maxOutputTokens": 4096}
    return {"cloudSessionSync": False, "model": f"custom:{name}", "customModels": [known]}


def make_stage(folder: Path, model: str) -> Stage:
    """Set the stage; the droid behind the server thinks with the model at this base URL."""
    node = Path(os.environ["FACTORY_MCP_NODE"])
    path = os.pathsep.join((str(node.parent), "/usr/bin", "/bin"))
    env = {"HOME": str(folder / "home"), "PATH": path, "CI": "1", "NO_COLOR": "1", "TERM": "dumb"}
    stage = Stage(folder=folder, env={**env, "LANG": "C.UTF-8", **OFFLINE})
    settings = droid_settings(model, "fake")
    stage.put(".factory/settings.json", settings)
    data = folder / "data"
    stage.put(data / "home/.factory/settings.json", settings)  # the HOME of `serve`'s droids
    stage.droid.parent.mkdir()
    stage.droid.symlink_to(droid_binary())
    _install_ours(stage, data)
    for empty in ("objects", "refs"):  # a git repository, which also works where there is no git
        (stage.workspace / ".git" / empty).mkdir(parents=True)
    (stage.workspace / ".git" / "HEAD").write_text("ref: refs/heads/main\n", encoding="ascii")
    return stage


def _install_ours(stage: Stage, data: Path) -> None:
    """An environment whose packages are those of this one, and our program in it."""
    there, here = stage.program.parents[1], Path(sys.prefix)
    stage.program.parent.mkdir(parents=True)
    shutil.copy(here / "pyvenv.cfg", there)
    (there / "lib").symlink_to(here / "lib")
    python = stage.program.with_name("python")
    python.symlink_to(sys.executable)
    search = os.pathsep.join((str(stage.droid.parent), "/usr/bin", "/bin"))
    environment = {"PATH": search, "FACTORY_MCP_DATA": str(data), **OFFLINE}
    text = PROGRAM.format(python=python, environment=environment, log=str(stage.log))
    stage.program.write_text(text, encoding="utf-8")
    stage.program.chmod(0o755)
