"""What a droid wants remembered: the last fenced block of its answer that is marked `context`."""

import json
import re
from typing import Any, Final, cast

from factory_mcp.domain.model import Json

_BLOCK: Final = re.compile(r"^```context[ \t]*\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
SUMMARY: Final = 1200


def learnt(text: str) -> tuple[Json, str | None]:
    """The facts an answer wants remembered, and what is wrong with them if anything is.

    Returns:
        The JSON object of the last `context` block ({} if there is none), and a warning or None.
    """
    blocks = _BLOCK.findall(text)
    if not blocks:
        return {}, None
    try:
        value: Any = json.loads(blocks[-1], parse_constant=_refuse)
    except (ValueError, RecursionError):
        return {}, "The droid's context block was not valid JSON; only its summary was remembered."
    if not isinstance(value, dict):
        return {}, "The droid's context block was no object; only its summary was remembered."
    return cast("Json", value), None


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def summary(text: str) -> str:
    """The answer without its context block, cut to what later prompts can carry."""
    plain = _BLOCK.sub("", text).strip()
    return plain if len(plain) <= SUMMARY else f"{plain[:SUMMARY].rstrip()} …"
