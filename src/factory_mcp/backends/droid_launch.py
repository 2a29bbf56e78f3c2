"""How the droid program is started for one attempt, and what of it must never be shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from factory_mcp.backends import texts


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How to start the program. `secrets` are handed over in the environment, never in argv."""

    command: Sequence[str]
    folder: Path
    pid_file: Path
    secrets: Mapping[str, str] = field(repr=False)

    def hide(self, text: str) -> str:
        """The text without any of the secrets, and without what looks like a key."""
        return texts.hide(text, self.secrets.values())
