"""What is known about the clients: clients.toml, read when it is first needed."""

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from factory_mcp.domain import profile
from factory_mcp.domain.errors import InvalidSetting
from factory_mcp.domain.profile import Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the client bears by itself: seconds, characters; 0 where none is known.

    `unit` is that of a time-out in its file: s, ms or none.
    """

    call_s: float
    unit: str
    start_s: float
    text: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """One table of clients.toml, whose head describes each key."""

    id: str
    title: str
    names: tuple[str, ...]
    profile: Profile
    meta: tuple[str, ...]
    limits: Limits
    format: str
    keys: tuple[str, ...]
    user: tuple[str, ...]
    project: tuple[str, ...]
    variable: str
    kept: tuple[str, ...]
    after: str
    modes: Mapping[str, str] | None
    stdio: Mapping[str, Any]
    http: Mapping[str, Any]
    input: Mapping[str, Any] | None


@cache
def clients() -> Mapping[str, Client]:
    """All of them by name, in the order of the file."""
    text = files("factory_mcp").joinpath("clients.toml").read_text(encoding="utf-8")
    return {name: client_of(name, row) for name, row in tomllib.loads(text).items()}


def client_of(name: str, row: Mapping[str, Any]) -> Client:
    """One row of the table."""
    read = dict(row)
    shown = {key: read.pop(key) for key in ("wait_s", "characters", "progress_extends", "shows")}
    lists = {key: tuple(read.pop(key)) for key in ("names", "meta", "keys", "user", "project")}
    return Client(
        id=name,
        profile=Profile(name=name, **shown),
        limits=Limits(**read.pop("limits")),
        kept=tuple(read.pop("kept")),
        modes=read.pop("modes", None),
        input=read.pop("input", None),
        **lists,
        **read,
    )


def client(name: str) -> Client:
    """The client of that name.

    Raises:
        InvalidSetting: There is none; it says the nearest name.
    """
    found = clients().get(name.casefold())
    if found is None:
        near = difflib.get_close_matches(name.casefold(), clients(), n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else "it is none of the known ones."
        known = f"The clients are {', '.join(clients())}."
        raise InvalidSetting(f"There is no client {name!r}; {hint}", remedy=known)
    return found


@cache
def _profiles() -> Mapping[str, Profile]:
    """Profiles by every name a client may have."""
    table = clients().values()
    return {name: row.profile for row in table for name in (row.id, *row.names)}


def profile_for(name: str | None) -> Profile:
    """The profile of a client by the name it gives itself, or the default one."""
    return profile.profile_for(name, _profiles())
