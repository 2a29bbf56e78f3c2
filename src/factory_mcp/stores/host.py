"""This machine: its clock, its chance, its processes."""

import os
import random
import secrets
import time
from pathlib import Path

import anyio

from factory_mcp.domain.model import Owner


class SystemClock:
    """The time of this machine."""

    def now(self) -> float:
        """The wall clock, Unix seconds."""
        return time.time()  # noqa: TID251 — this is the Clock that everybody else takes

    def monotonic(self) -> float:
        """A clock that never goes backwards, seconds from an arbitrary start."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait; cancellable."""
        await anyio.sleep(seconds)


class SystemRng:
    """The chance of this machine; nobody can predict it."""

    def __init__(self) -> None:
        self._random = random.SystemRandom()

    def uniform(self, low: float, high: float) -> float:
        """A number in [low, high]."""
        return self._random.uniform(low, high)

    def token(self, size: int) -> bytes:
        """`size` unpredictable bytes."""
        return secrets.token_bytes(size)


class LinuxHost:
    """The processes of this machine, as /proc shows them.

    Where there is no /proc, nobody is ever declared dead. A process that has ended and was not
    yet waited for by its parent counts as gone: it can do nothing any more.
    """

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        pid = os.getpid()
        try:
            boot_id = (proc / "sys/kernel/random/boot_id").read_text().strip()
            pid_ns = str((proc / "self/ns/pid").readlink())
            started = _started(self._stat(pid))
        except OSError:
            boot_id = pid_ns = started = ""
        self._me = Owner(
            id=secrets.token_hex(8), boot_id=boot_id, pid_ns=pid_ns, pid=pid, started=started
        )

    def me(self) -> Owner:
        """This process; its id is a new one each time the program starts."""
        return self._me

    def is_dead(self, owner: Owner) -> bool:
        """Surely gone: same boot and pid namespace, and no process of that pid and start."""
        here = (owner.boot_id, owner.pid_ns) == (self._me.boot_id, self._me.pid_ns)
        return bool(self._me.boot_id) and here and self._is_gone(owner)

    def _is_gone(self, owner: Owner) -> bool:
        try:
            return _started(self._stat(owner.pid)) != owner.started
        except (FileNotFoundError, ProcessLookupError):
            return True
        except OSError:  # it could not be read, which says nothing of the process
            return False

    def _stat(self, pid: int) -> str:
        return (self._proc / str(pid) / "stat").read_text(errors="replace")


def _started(stat: str) -> str:
    """A living process's start in clock ticks since boot, field 22 of its stat; else nothing."""
    fields = stat.rpartition(")")[2].split()  # field 2, its name, may hold spaces and brackets
    return "" if fields[0] in ("Z", "X") else fields[19]
