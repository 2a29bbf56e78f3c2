"""The clients' files on this machine: where they are, read whole, replaced whole."""

import os
import re
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from factory_mcp.clients.table import Client
from factory_mcp.domain.errors import InvalidSetting

UNTOUCHED: Final = "The file was not touched: correct it and run this again."
_VARIABLE: Final = re.compile(r"\$\{(\w+):-([^}]*)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One file as it is (None: not there) and as it should be."""

    path: Path
    before: str | None
    after: str

    @property
    def needed(self) -> bool:
        """Whether anything differs."""
        return self.before != self.after


def places(
    client: Client,
    *,
    project: Path | None,
    env: Mapping[str, str],
    platform: str = sys.platform,
) -> list[Path]:
    """The files to change: those that are there, else the first that the client would read.

    Args:
        client: Whose.
        project: Its folder, for the files of a project; None for the user's.
        env: HOME and the variables that move files.
        platform: As `sys.platform`.
    """
    if project is not None and client.project:
        found = [project / name for name in client.project]
    else:
        found = [_place(name, env, platform) for name in client.user]
    return [path for path in found if path.exists()] or found[:1]


def _place(name: str, env: Mapping[str, str], platform: str) -> Path:
    home = env.get("HOME") or env.get("USERPROFILE") or str(Path.home())
    config = {"darwin": "~/Library/Application Support", "win32": "${APPDATA:-~/AppData/Roaming}"}
    name = name.replace("<config>", config.get(platform, "${XDG_CONFIG_HOME:-~/.config}"))
    name = _VARIABLE.sub(lambda found: env.get(found[1]) or found[2], name)
    return Path(home + name[1:] if name.startswith("~") else name)


def read_text(path: Path) -> str | None:
    """The text of a file, None if it is not there.

    Raises:
        InvalidSetting: It cannot be read, or is no UTF-8 text.
    """
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSetting(f"{path} cannot be read: {error}", remedy=UNTOUCHED) from error


def write(change: Change, *, private: bool = False) -> Path | None:
    """Replace the file in one step, its mode kept; the backup that was made, if one was.

    A symbolic link stays one: what it points to is replaced. A backup that is already there is
    older, and stays.

    Args:
        change: The file.
        private: It holds a secret: nobody else may read it.

    Raises:
        InvalidSetting: It cannot be written, or somebody changed it meanwhile.
    """
    path = change.path.resolve()
    if read_text(path) != change.before:
        raise InvalidSetting(f"{path} was changed just now.", remedy="Run it again.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = path.stat().st_mode & 0o7777 if change.before is not None else 0o644
        backup = _back_up(path, change.before, mode)
        _replace(path, change.after, 0o600 if private else mode)
    except OSError as error:
        raise InvalidSetting(f"{path} cannot be written: {error}", remedy=UNTOUCHED) from error
    return backup


def _back_up(path: Path, before: str | None, mode: int) -> Path | None:
    backup = path.with_name(path.name + ".bak")
    if before is None:
        return None
    with suppress(FileExistsError):
        descriptor = os.open(backup, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(before.encode())
        return backup
    return None


def _replace(path: Path, text: str, mode: int) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    fresh = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        fresh.chmod(mode)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
