"""What becomes of words before they leave a backend: no secret, nothing unwritable or endless."""

import re
from collections.abc import Iterable
from typing import Final

LARGEST: Final = 4 << 20
"""Bytes of an answer that are kept."""

_SHORTEST: Final = 6  # a value like `1` is no secret, and hiding it would spoil every message
_KEY_LIKE: Final = re.compile(r"\b(?:fk|sk|pk|api)[-_][\w-]{6,}|(?i:bearer)\s+\S+")
_UNWRITABLE: Final = re.compile("[\0\ud800-\udfff]")


def writable(text: str) -> str:
    """The text with NUL and lone surrogates replaced, which neither JSON nor a store can take."""
    return _UNWRITABLE.sub("\ufffd", text)


def hide(text: str, secrets: Iterable[str]) -> str:
    """The text without any of the secrets, and without what looks like a key."""
    for value in sorted(secrets, key=len, reverse=True):
        if len(value) >= _SHORTEST:
            text = text.replace(value, "[REDACTED]")
    return _KEY_LIKE.sub("[REDACTED]", text)


def cut(text: str) -> tuple[str, list[str]]:
    """An answer in at most `LARGEST` bytes, and the warning if it had more."""
    data = text.encode()
    if len(data) <= LARGEST:
        return text, []
    kept = data[:LARGEST].decode(errors="ignore")
    return kept, [f"partial: the answer had {len(data)} bytes; the first {LARGEST} are kept"]
