"""The processes of one attempt, found and ended: its group, and whatever has left the group.

A droid gives each command a session of its own, and a command can detach itself further; what
they all keep is the variable that names the run.
"""

import contextlib
import os
import signal
from collections.abc import Iterable
from pathlib import Path

RUN_VARIABLE = "FACTORY_MCP_RUN"


def members(group: int, run_id: str) -> set[int]:
    """The live processes of the group, or with the run's mark; () where there is no /proc."""
    mark = f"{RUN_VARIABLE}={run_id}\0".encode()
    return {
        int(folder.name)
        for folder in Path("/proc").glob("[0-9]*")
        if _is_member(folder, group, mark)
    }


def _is_member(folder: Path, group: int, mark: bytes) -> bool:
    try:
        # pid (name) state parent group …; the name may hold anything, parentheses too
        state, _, its_group = (folder / "stat").read_bytes().rpartition(b")")[2].split()[:3]
        if state == b"Z":
            return False
        return int(its_group) == group or mark in (folder / "environ").read_bytes()
    except (OSError, ValueError):  # gone meanwhile, or another user's
        return False


def send(number: signal.Signals, group: int, pids: Iterable[int]) -> None:
    """Send a signal to a group and to single processes; those that are gone do not matter."""
    with contextlib.suppress(OSError):
        os.killpg(group, number)
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, number)
