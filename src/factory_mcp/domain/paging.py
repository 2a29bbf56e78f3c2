"""How long a text is on the wire, and how much of it fits."""

import json
from typing import Any


def wire_length(value: Any) -> int:
    """Characters of a value as JSON, escapes included."""
    return len(json.dumps(value))


def fitting(text: str, room: int, start: int = 0) -> int:
    """The end of the longest piece of the text from `start` whose JSON fits into `room`.

    At least one character fits, so that pages always end.
    """
    low, high = start, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if wire_length(text[start:middle]) <= room else (low, middle - 1)
    return max(low, min(start + 1, len(text)))
