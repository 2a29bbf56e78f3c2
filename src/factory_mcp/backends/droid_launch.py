"""How the droid program is started for one attempt, and what of it must never be shown."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_SHORTEST = 6  # a value like `1` is no secret, and hiding it would spoil every message
_KEY_LIKE = re.compile(r"\b(?:fk|sk|pk|api)[-_][\w-]{6,}|(?i:bearer)\s+\S+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How to start the program. `secrets` are handed over in the environment, never in argv."""

    command: Sequence[str]
    folder: Path
    pid_file: Path
    secrets: Mapping[str, str] = field(repr=False)

    def hide(self, text: str) -> str:
        """The text without any of the secrets, and without what looks like a key."""
        for value in sorted(self.secrets.values(), key=len, reverse=True):
            if len(value) >= _SHORTEST:
                text = text.replace(value, "[REDACTED]")
        return _KEY_LIKE.sub("[REDACTED]", text)
