"""A result as one client can use it: text first, not longer than it shows, the rest by URI."""

from typing import Final

from factory_mcp.domain.envelope import to_json
from factory_mcp.domain.model import Envelope, Json
from factory_mcp.domain.paging import fitting, wire_length

LEAST: Final = 1000
"""Characters of text that a result keeps, however much the rest of it takes."""


def shaped(envelope: Envelope, characters: int) -> Json:
    """The envelope as JSON whose whole length, escapes included, stays within the limit.

    Text that is cut ends with where the whole can be read. `text` is the first key.
    """
    whole = to_json(envelope)
    room = characters - wire_length({**whole, "text": ""}) + 2
    if wire_length(envelope.text) <= room:
        return whole
    uri = envelope.output_uri
    where = f"the whole is at {uri} (context_read with that uri)." if uri else ""
    end = f"\n… cut here; {where}".rstrip("; ") + "\n"
    cut = fitting(envelope.text, max(LEAST, room) - wire_length(end))
    return {**whole, "text": envelope.text[:cut] + end}
