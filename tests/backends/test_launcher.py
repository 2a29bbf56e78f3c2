"""The launcher: what it hands on, and what its program is tied to."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from factory_mcp.backends import launcher

# Stands for the program: says what it was given, then ends.
REPORT = """
import json, os, sys
print(json.dumps([sys.argv[1:], dict(os.environ), os.getpid(), os.getpgid(0), os.getsid(0)]))
"""


def order(tmp_path: Path, **changes: Any) -> str:
    known: dict[str, Any] = {
        "parent": os.getpid(),
        "pid_file": str(tmp_path / "pid"),
        "keep": [],
        "drop": [],
        "assign": {},
    }
    return json.dumps(known | changes)


def launch(arguments: list[str], **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", "-S", launcher.__file__, *arguments],
        env={"PATH": os.environ["PATH"], **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.requirement("DROID-11")
def test_the_program_gets_its_arguments_and_the_allowed_variables(tmp_path: Path) -> None:
    """It is the leader of a session of its own, and its id is where we look for it."""
    given = order(tmp_path, keep=["MY_KEY", "SET_*"], drop=["XDG_*"], assign={"HOME": "/h"})

    done = launch(
        [given, sys.executable, "-c", REPORT, "--", "a b", "\n"],
        HOME="/mine",
        LC_ALL="C",
        MY_KEY="1",
        SET_ONE="2",
        MY_KEY_TOO="3",
        XDG_DATA_HOME="/x",
        FACTORY_MCP_KEYRING="secret",
        FACTORY_API_KEY="secret",
    )

    arguments, environ, pid, group, session = json.loads(done.stdout)
    environ.pop("LC_CTYPE", None)  # Python's own doing in the C locale
    assert ["--", "a b", "\n"] == arguments
    assert {
        "PATH": os.environ["PATH"],
        "LC_ALL": "C",
        "HOME": "/h",
        "MY_KEY": "1",
        "SET_ONE": "2",
    } == environ
    assert pid == group == session == int((tmp_path / "pid").read_text())


def test_a_program_that_cannot_start_has_a_status_of_its_own(tmp_path: Path) -> None:
    """The reason is on stderr, where droid-sdk finds it."""
    no_program = tmp_path / "text"
    no_program.write_text("not a program")

    done = launch([order(tmp_path), str(no_program)])

    assert launcher.CANNOT_START == done.returncode
    assert f"cannot start {no_program}: Permission denied\n" == done.stderr


@pytest.mark.requirement("DROID-8")
def test_it_starts_nothing_for_a_parent_that_is_gone(tmp_path: Path) -> None:
    """The parent may have died before it could be watched."""
    done = launch([order(tmp_path, parent=1), sys.executable, "-c", REPORT])

    assert (launcher.CANNOT_START, "") == (done.returncode, done.stdout)


@pytest.mark.parametrize(
    ("parent", "failure", "status"),
    [
        ("own", "", 0),
        ("own", 'raise OSError(8, "Exec format error")', launcher.CANNOT_START),
        ("gone", "", launcher.CANNOT_START),
    ],
)
def test_it_ends_in_exec(tmp_path: Path, parent: str, failure: str, status: int) -> None:
    """The same as above, in a process whose lines are counted."""
    code = f"""
import sys
from factory_mcp.backends.launcher import main
def execute(*given):
    {failure or "print(given)"}
main(sys.argv[1:], execute)
"""
    given = order(tmp_path, parent=os.getpid() if parent == "own" else 1, assign={"HOME": "/h"})

    done = subprocess.run(
        [sys.executable, "-c", code, given, "/bin/program", "x"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert status == done.returncode
    assert (status == 0) == done.stdout.startswith("('/bin/program', ['/bin/program', 'x'], {")


def test_it_imports_nothing_of_ours_and_nothing_slow() -> None:
    """It runs without site-packages before every droid."""
    code = f"import runpy, sys; runpy.run_path({launcher.__file__!r}); print(*sys.modules)"

    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )

    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"factory_mcp", "asyncio", "socket", "subprocess", "anyio", "droid_sdk"}
