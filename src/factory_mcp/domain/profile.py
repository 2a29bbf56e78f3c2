"""What the client on the other side can bear: how long it waits, how much it shows."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """`wait_s`: how long a call may stay silent; `characters`: how long a result may be.

    `progress_extends`: progress notifications keep the client waiting beyond its own limit.
    """

    name: str = "default"
    wait_s: float = 45
    characters: int = 8000
    progress_extends: bool = False


DEFAULT: Final = Profile()
_BY_NAME: Final = {
    "kilo": Profile(name="kilo", wait_s=25, progress_extends=True),
    "opencode": Profile(name="opencode", wait_s=25, progress_extends=True),
    "cline": Profile(name="cline", characters=3900),
}


def profile_for(client: str | None) -> Profile:
    """The profile of a client by the name it gives itself, or the default one."""
    name = (client or "").casefold()
    return next((p for key, p in _BY_NAME.items() if key in name), DEFAULT)


def patience(profile: Profile, *, wait_s: float | None, has_progress: bool) -> float:
    """How many seconds a call waits before it answers `running`."""
    if wait_s is not None:
        return wait_s
    return DEFAULT.wait_s if has_progress and profile.progress_extends else profile.wait_s
