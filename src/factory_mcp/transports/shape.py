"""A result as one client can use it: text first, not longer than it shows, the rest by URI."""

import json
from typing import Any, Final

from factory_mcp.domain.envelope import to_json
from factory_mcp.domain.model import Envelope, Json
from factory_mcp.domain.paging import fitting, wire_length

LEAST: Final = 1000
"""Characters of text that a result keeps, however much the rest of it takes."""
SHOWN: Final = 200
"""Characters of a conflict's value in a result that would be too long with the whole of it."""


def shaped(envelope: Envelope, characters: int) -> Json:
    """The envelope as JSON whose whole length, escapes included, stays within the limit.

    Text that is cut ends with where the whole can be read. `text` is the first key.
    """
    whole = to_json(envelope)
    if "conflicts" in whole and wire_length(whole) > characters:
        whole["conflicts"] = _fitted(whole["conflicts"], characters // 2)
    room = characters - wire_length({**whole, "text": ""}) + 2
    if wire_length(envelope.text) <= room:
        return whole
    uri = envelope.output_uri
    where = f"the whole is at {uri} (context_read with that uri)." if uri else ""
    end = f"\n… cut here; {where}".rstrip("; ") + "\n"
    cut = fitting(envelope.text, max(LEAST, room) - wire_length(end))
    return {**whole, "text": envelope.text[:cut] + end}


def _fitted(conflicts: list[Json], room: int) -> list[Json]:
    """As many conflicts as there is room for, long values cut; settling these shows the next."""
    fitted = [
        {
            **conflict,
            "base": _cut(conflict["base"]),
            "ours": {**conflict["ours"], "value": _cut(conflict["ours"]["value"])},
            "theirs": {**conflict["theirs"], "value": _cut(conflict["theirs"]["value"])},
        }
        for conflict in conflicts
    ]
    while fitted and wire_length(fitted) > room:
        fitted.pop()
    return fitted


def _cut(value: Any) -> Any:
    text = json.dumps(value, ensure_ascii=False)
    return value if len(text) <= SHOWN else f"{text[:SHOWN]} …"
