"""A real server as a child process: started, frozen, killed, started again, and surely ended."""

import os
import pwd
import secrets
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypedDict, TypeVar

HOST: Final = "127.0.0.1"
PORTS: Final = range(15_000, 32_000)
"""Below the range that the kernel gives to outgoing connections: a port can be taken again."""
START_S: Final = 60.0
STOP_S: Final = 20.0
POLL_S: Final = 0.02

AnyServer = TypeVar("AnyServer", bound="Server")

# Outlives us. End of file on its input without a word before it means that we died.
GUARD: Final = (
    'trap "" INT TERM HUP; '
    'read -r _ || { kill -CONT "$1"; kill -KILL "$1"; rm -rf "$2"; } 2>/dev/null'
)


class MissingServer(Exception):
    """A server program that the tests need is not installed; the message says how to."""


class ServerFailed(Exception):
    """A server ended, or did not answer in time; the message has the end of its log."""


def free_port(count: int = 1) -> int:
    """The first of `count` free ports in a row."""
    while True:
        first = PORTS.start + secrets.randbelow(len(PORTS) - count)
        if all(_is_free(port) for port in range(first, first + count)):
            return first


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):
            probe.bind(("", port))
            return True
    return False


class Account(TypedDict, total=False):
    """Who runs a program, in the words of `subprocess`; empty for ourselves."""

    user: int
    group: int
    extra_groups: list[int]


def unprivileged() -> Account:
    """Somebody who is not root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def give(path: Path, owner: Account) -> None:
    """Let the file or folder belong to that account."""
    os.chown(path, owner.get("user", -1), owner.get("group", -1))


@contextmanager
def folder(name: str, *, owner: Account | None = None) -> Generator[Path]:
    """A temporary folder of a server's own, removed with all that is in it."""
    path = Path(tempfile.mkdtemp(prefix=f"factory-mcp-{name}-"))
    if owner:
        give(path, owner)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@dataclass(slots=True, kw_only=True)
class Server:
    """One server program on loopback; the same command, data and port at each start."""

    name: str
    folder: Path
    command: Sequence[str | Path]
    port: int
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    runs_as: Account = field(default_factory=Account)
    stop_signal: signal.Signals = signal.SIGTERM
    _process: "subprocess.Popen[bytes] | None" = None
    _guard: "subprocess.Popen[bytes] | None" = None

    @property
    def pid(self) -> int:
        """The running program's, which is our own child."""
        if self._process is None or self._process.poll() is not None:
            raise ServerFailed(f"{self.name} is not running:\n{self.log()}")
        return self._process.pid

    def log(self) -> str:
        """What it has said since its last start; the end of it."""
        with suppress(FileNotFoundError):
            return self._log_file.read_text(encoding="utf-8", errors="replace")[-4000:]
        return ""

    def answers(self) -> bool:
        """Whether it is ready for clients."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it, and return once it answers."""
        environment = {
            "PATH": os.environ["PATH"],
            "LC_ALL": "C.UTF-8",
            "HOME": str(self.folder),
            **self.env,
        }
        with self._log_file.open("wb") as log:
            process: subprocess.Popen[bytes] = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self.runs_as,
            )
        self._process = process
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", GUARD, "sh", str(process.pid), str(self.folder)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        self._until_it_answers(process)

    def stop(self) -> None:
        """End it as its operator would; kill it if it does not go."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            self.thaw()
            process.send_signal(self.stop_signal)
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)
        if process.poll() is None:
            self.kill()
        self._gone()

    def kill(self) -> None:
        """End it and its children at once with SIGKILL, as a power cut would."""
        self.freeze()  # so that it starts no more of them
        pid, *children = self._family()
        handles = [handle for child in children if (handle := _handle(child)) is not None]
        try:
            self._signal(signal.SIGKILL, children)
            for handle in handles:
                select.select([handle], [], [], STOP_S)
        finally:
            for handle in handles:
                os.close(handle)
        self._signal(signal.SIGKILL, [pid])
        if self._process is not None:
            self._process.wait(STOP_S)
        self._gone()

    def freeze(self) -> None:
        """Stop it and its children where they are: connections stay open, nothing answers."""
        self._signal(signal.SIGSTOP, [self.pid])
        self._signal(signal.SIGSTOP, self._family())

    def thaw(self) -> None:
        """Let what is frozen go on."""
        self._signal(signal.SIGCONT, self._family())

    @property
    def _log_file(self) -> Path:
        return self.folder / "server.log"

    def _until_it_answers(self, process: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + START_S
        while not self.answers():
            with suppress(subprocess.TimeoutExpired):
                process.wait(POLL_S)
            if process.poll() is not None or time.monotonic() > deadline:
                said = self.log()
                self.stop()
                raise ServerFailed(f"{self.name} did not start:\n{said}")

    def _family(self) -> list[int]:
        """The program and its children: Postgres has one for each connection."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text(encoding="ascii")
        return [self.pid, *map(int, children.split())]

    def _signal(self, number: signal.Signals, pids: Sequence[int]) -> None:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _gone(self) -> None:
        self._process = None
        if self._guard is not None and self._guard.stdin is not None:
            self._guard.stdin.write(b"done\n")
            self._guard.stdin.close()
            self._guard.wait(STOP_S)
        self._guard = None


@dataclass(slots=True, kw_only=True)
class LoggingServer(Server):
    """A server whose log says when it is ready."""

    ready: str

    def answers(self) -> bool:
        return self.ready in self._log_file.read_text(encoding="utf-8", errors="replace")


def _handle(pid: int) -> int | None:
    """A file descriptor that is readable once that process has ended."""
    with suppress(ProcessLookupError):
        return os.pidfd_open(pid)
    return None


@contextmanager
def running(server: AnyServer) -> Generator[AnyServer]:
    """The server, started; stopped at the end."""
    try:
        server.start()
        yield server
    finally:
        server.stop()
