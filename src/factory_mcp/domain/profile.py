"""What the client on the other side can bear: how long it waits, how much it shows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """`wait_s`: how long a call may stay silent; `characters`: how long a result may be.

    `progress_extends`: progress notifications keep the client waiting beyond its own limit.
    `shows`: what of a result its model sees: text, structured or both.
    """

    name: str = "default"
    wait_s: float = 45
    characters: int = 8000
    progress_extends: bool = False
    shows: str = "both"


DEFAULT: Final = Profile()


def profile_for(client: str | None, known: Mapping[str, Profile]) -> Profile:
    """The profile of a client, or the default one.

    Args:
        client: The name it gives itself, or our own name of it.
        known: Profiles by parts of such names, in lower case.
    """
    name = (client or "").casefold()
    exact = known.get(name)
    return exact or next((p for part, p in known.items() if part in name), DEFAULT)


def patience(profile: Profile, *, wait_s: float | None, has_progress: bool) -> float:
    """How many seconds a call waits before it answers `running`."""
    if wait_s is not None:
        return wait_s
    return DEFAULT.wait_s if has_progress and profile.progress_extends else profile.wait_s
