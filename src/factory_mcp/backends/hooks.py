"""What a repository would do by itself under a droid: its `.factory` folders, judged unread.

A droid reads the `.factory` folder of its working directory and of every folder above it up to
the git root. Tried with 0.225.2 on read-only sessions: hooks and MCP servers start programs;
enabled plugins, from a marketplace inside the repository, bring hooks; custom models send the
prompt and expanded variables (`${FACTORY_API_KEY}`) to an address of the repository's choice;
`commandAllowlist` runs commands that the session's autonomy forbids. The other keys widen a
session's rights by what its settings schema says of them.
"""

import json
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

_LARGEST = 1 << 20  # bytes; a settings file beyond it cannot be judged

_SETTINGS = (
    "hooks",
    "enabledPlugins",
    "extraKnownMarketplaces",
    "customModels",
    "custom_models",
    "commandAllowlist",
    "permissionRules",
    "builtInToolAutonomyOverrides",
    "mcpAutonomyOverrides",
    "mcpAutonomyUrlOverrides",
    "mcpServers",
    "env",
)
# file -> the keys that make it dangerous; () is any key at all
_FILES: Mapping[str, tuple[str, ...]] = {
    "settings.json": _SETTINGS,
    "settings.local.json": _SETTINGS,
    "config.json": _SETTINGS,
    "hooks.json": (),
    "hooks/hooks.json": (),
    "mcp.json": ("mcpServers",),
}


def dangers(folders: Iterable[Path]) -> list[str]:
    """The files under `folders` that would act by themselves, each with what is in it."""
    found: list[str] = []
    for folder in folders:
        for name, keys in _FILES.items():
            path = folder / ".factory" / name
            reason = _judge(path, keys)
            if reason:
                found.append(f"{path} ({reason})")
    return found


def _judge(path: Path, keys: tuple[str, ...]) -> str | None:
    try:
        text = read_file(path)
        settings: Any = None if text is None else json.loads(text)
    except (OSError, ValueError, RecursionError):
        return "cannot be judged"
    if text is None:
        return None
    if not isinstance(settings, dict):
        return "cannot be judged"
    values = cast("dict[str, Any]", settings)
    return ", ".join(key for key in keys or values if values.get(key)) or None


def read_file(path: Path) -> str | None:
    """The text of a regular file, None if there is none.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no regular file, too large, or not UTF-8.
    """
    try:
        # A pipe in the place of a file must not make us wait for a writer.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ValueError("not a regular file")
        data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise ValueError("too large")
    return data.decode()
