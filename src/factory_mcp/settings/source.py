"""The environment as settings are read from it, secret files included."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from factory_mcp.domain.errors import InvalidSetting
from factory_mcp.domain.transit import Link

PREFIX: Final = "FACTORY_MCP_"
ENCODE: Final = "In a URL the characters @ : / ? # % of a password are percent-encoded."


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one group of settings comes to.

    `fields` are those of Settings, `links` lead out of this process, `warnings` are for the user.
    """

    fields: Mapping[str, Any]
    links: tuple[Link, ...] = ()
    warnings: tuple[str, ...] = ()


class Source:
    """The environment, with `NAME_FILE` standing in for `NAME`."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env

    def text(self, name: str) -> str | None:
        """The value itself, or what its `_FILE` holds."""
        value = self._env.get(name, "").strip()
        path = self._env.get(f"{name}_FILE", "").strip()
        if value or not path:
            return value or None
        try:
            return Path(path).read_text(encoding="utf-8").strip() or None
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidSetting(f"{name}_FILE: {path} cannot be read ({error}).") from error

    def plain(self, name: str) -> str | None:
        """The value itself; no file stands in for it."""
        return self._env.get(name, "").strip() or None

    def number(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number from `low` to `high`."""
        value = self.text(name)
        if value is None:
            return default
        if not value.isdecimal() or not low <= int(value) <= high:
            raise InvalidSetting(f"{name} must be a number from {low} to {high}, not {value!r}.")
        return int(value)

    def choice(self, name: str, default: str, known: tuple[str, ...]) -> str:
        """One of the known words."""
        value = self.text(name) or default
        if value not in known:
            raise InvalidSetting(f"{name} must be one of {', '.join(known)}, not {value!r}.")
        return value

    def choices(self, name: str, known: tuple[str, ...]) -> tuple[str, ...]:
        """Some of the known words, separated by commas; all of them if none is named."""
        named = (part.strip() for part in (self.text(name) or "").split(","))
        chosen = tuple(part for part in named if part)
        for part in chosen:
            if part not in known:
                raise InvalidSetting(f"{name}: {part!r} is none of {', '.join(known)}.")
        return chosen or known

    def bearer(self, name: str) -> str | None:
        """A key that goes into an HTTP header."""
        value = self.text(name)
        if value is not None and not re.fullmatch(r"[!-~]+", value):
            raise InvalidSetting(f"{name} holds a character that no HTTP header can carry.")
        return value

    def folder(self, *names: str) -> Path | None:
        """The absolute path in the first of these that is set."""
        value = next(filter(None, map(self.text, names)), None)
        return Path(value).expanduser().absolute() if value else None

    def folders(self, name: str) -> tuple[Path, ...]:
        """Absolute paths, separated as those of PATH are."""
        parts = (self.text(name) or "").split(os.pathsep)
        return tuple(Path(part).expanduser().absolute() for part in parts if part)


def web_address(name: str, url: str, key: str) -> SplitResult:
    """The parts of an http or https address that holds nothing secret; `key` is where that goes.

    Raises:
        InvalidSetting: It is another kind of address, or none. It is not repeated.
    """
    try:
        parts = urlsplit(url)
        sound = is_host(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        parts, sound = urlsplit(""), False
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise InvalidSetting(
            f"{name} must hold no user, password, query or fragment.",
            remedy=f"Put the key into {key}.",
        )
    if not sound or parts.scheme not in ("http", "https"):
        raise InvalidSetting(f"{name} must be an http or https address, such as https://host/v1.")
    return parts


def is_host(name: str | None) -> bool:
    """Whether it can be a host; what is none may be half of a password, and is never shown."""
    return bool(name and re.fullmatch(r"[\w.:%-]+", name))
