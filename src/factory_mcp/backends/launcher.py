"""Start a program tied to our life and cut off from our secrets.

A program of its own, run as `python -I -S launcher.py ORDER PROGRAM ARGUMENT…`, where ORDER is
the JSON of an `Order`. It depends on the standard library only and ends in `exec`, so that its
process id is the program's. droid-sdk hands the whole of `os.environ` on; what does not belong
to the program ends here.
"""

import contextlib
import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypedDict

CANNOT_START = 127  # the exit status of a shell that finds no program

# The variables a droid may see. A name that ends in `*` stands for all that begin like it.
ALLOWED = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LC_*",
    "TERM",
    "TZ",
    "TMPDIR",
    "XDG_*",
    "DBUS_SESSION_BUS_ADDRESS",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
    "FACTORY_LOG_FILE",
    "FACTORY_DISABLE_KEYRING",
    "FACTORY_DROID_AUTO_UPDATE_ENABLED",
    "FACTORY_UPSTREAM_CLIENT_TYPE",
    "FACTORY_UPSTREAM_SDK",
)

_PR_SET_PDEATHSIG = 1

Execute = Callable[[str, list[str], dict[str, str]], object]


class Order(TypedDict):
    """What the launcher is told.

    `parent` is the process whose death ends the program's; `keep` names variables to hand on
    besides `ALLOWED`, `drop` such as are not to be handed on after all, `assign` is set last.
    """

    parent: int
    pid_file: str
    keep: list[str]
    drop: list[str]
    assign: dict[str, str]


def cut(environment: Mapping[str, str], order: Order) -> dict[str, str]:
    """The variables of `environment` that the program may see."""
    names = [*ALLOWED, *order["keep"]]
    kept = {
        name: value
        for name, value in environment.items()
        if _matches(name, names) and not _matches(name, order["drop"])
    }
    return kept | order["assign"]


def _matches(name: str, patterns: Sequence[str]) -> bool:
    prefixes = tuple(pattern[:-1] for pattern in patterns if pattern.endswith("*"))
    return name in patterns or name.startswith(prefixes)


def _die_with(parent: int) -> None:
    """Ask the kernel to kill us when the parent dies, and check that it has not died before.

    The kernel means the thread that started us: the one of the event loop.
    """
    with contextlib.suppress(AttributeError):  # only Linux has it
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(CANNOT_START)


def main(arguments: Sequence[str], execute: Execute = os.execve) -> None:
    """Carry the order out; returns only if `execute` does."""
    order: Order = json.loads(arguments[0])
    command = list(arguments[1:])
    os.setsid()
    _die_with(order["parent"])
    Path(order["pid_file"]).write_text(f"{os.getpid()}\n", encoding="ascii")
    try:
        execute(command[0], command, cut(os.environ, order))
    except OSError as error:
        sys.stderr.write(f"cannot start {command[0]}: {error.strerror}\n")
        sys.exit(CANNOT_START)


if __name__ == "__main__":
    main(sys.argv[1:])
