"""What `doctor` says of the droid program: green or red, and if red how to mend it."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import anyio

from factory_mcp.ports import Check

TESTED = ("0.215.0", "0.225.2")
INSTALL = (
    "Install it: `npm install -g @factory/cli-linux-x64@0.225.2` "
    "or `npm install -g droid@0.215.0`; or set FACTORY_MCP_DROID_BIN to its path."
)

_LOGINS = (
    "auth.v2.file",
    "auth.v2.keyring",
    "auth.v2.loginkeychain",
    "auth.encrypted",
    "auth.json",
)
_VARIABLE = re.compile(r"\$\{(\w+)\}")


def missing(program: Path | None) -> Check:
    """The program is not there."""
    where = f"{program} is no program" if program else "no `droid` on PATH"
    return Check(name="droid program", ok=False, detail=where, fix=INSTALL)


async def version(command: Sequence[str], folder: Path, within_s: float = 20) -> str | None:
    """What the program says its version is, None if it says none."""
    try:
        with anyio.fail_after(within_s):
            done = await anyio.run_process(
                command, stdin=subprocess.DEVNULL, cwd=folder, check=False
            )
    except (OSError, TimeoutError):
        return None
    found = re.search(rb"\d+\.\d+\.\d+", done.stdout)
    return found.group().decode() if found and done.returncode == 0 else None


def program(path: Path, found: str | None) -> Check:
    """Its version; outside the tested range is worth a word, not a failure."""
    if found is None:
        detail = f"{path} does not say its version"
        return Check(name="droid program", ok=False, detail=detail, fix=INSTALL)
    oldest, newest = map(_order, TESTED)
    note = ""
    if not oldest <= _order(found) <= newest:
        note = f" (outside the tested range {TESTED[0]} to {TESTED[1]})"
    return Check(name="droid program", ok=True, detail=f"{path}, version {found}{note}")


def process_list() -> Check:
    """Whether there is `ps`: without it the droid ends each command that it runs with SIGKILL."""
    found = shutil.which("ps")
    if found is None:
        detail = "there is no ps: the droid kills every command that it runs"
        fix = "Debian, Ubuntu: apt-get install procps"
        return Check(name="ps", ok=False, detail=detail, fix=fix)
    return Check(name="ps", ok=True, detail=found)


def home(path: Path, private: Path | None) -> Check:
    """Whose HOME the droid works with."""
    whose = "a private one" if private else "the user's own"
    return Check(name="droid home", ok=True, detail=f"{path} ({whose})")


def access(path: Path, settings: Path | None, handed_on: frozenset[str]) -> Check:
    """Whether there is a key, a login or a custom model, and whether its key reaches the droid."""
    folder = path / ".factory"
    files = [folder / "settings.json", folder / "settings.local.json", folder / "config.json"]
    models = [model for file in (*files, settings) if file for model in _custom_models(file)]
    lost = {name for model in models for name in _VARIABLE.findall(str(model))} - handed_on
    if lost:
        names = ", ".join(sorted(lost))
        return Check(
            name="droid access",
            ok=False,
            detail=f"custom models use variables that the droid does not get: {names}",
            fix=f"Set them, and add them to droid_env in config.yaml: [{names}]",
        )
    kinds = [
        "a Factory key" if "FACTORY_API_KEY" in handed_on else "",
        "a login" if any((folder / name).exists() for name in _LOGINS) else "",
        f"{len(models)} custom model(s)" if models else "",
    ]
    found = ", ".join(filter(None, kinds))
    if found:
        return Check(name="droid access", ok=True, detail=found)
    return Check(
        name="droid access",
        ok=False,
        detail=f"no Factory key, no login and no custom model in {folder}",
        fix="Set FACTORY_AI_API_KEY, log in with `droid`, or add customModels to "
        f"{folder / 'settings.json'}.",
    )


def _custom_models(path: Path) -> Iterator[Any]:
    try:
        settings: Any = json.loads(path.read_bytes())
        for key in ("customModels", "custom_models"):
            yield from settings.get(key) or ()
    except (OSError, ValueError, AttributeError, TypeError):
        return


def _order(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))
