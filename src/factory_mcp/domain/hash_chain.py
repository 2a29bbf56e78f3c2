"""Rows that carry the hash of the row before them, so that a change to any of them shows.

What a chain cannot show is that its tail was cut off: compare its last hash with one kept
elsewhere.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

GENESIS: Final = "0" * 64
"""What the first row of a chain carries as `prev`."""


def canonical(value: Any) -> str:
    """The one JSON text of a value: keys sorted, no spaces, ASCII only."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def link(prev: str, row: Mapping[str, Any]) -> str:
    """The hash of a row: SHA-256, in hex, over its content and the hash of the row before it.

    Args:
        prev: The previous row's hash, or GENESIS.
        row: The row's content, without `prev` and `hash`.
    """
    return hashlib.sha256(canonical([prev, dict(row)]).encode("ascii")).hexdigest()


def verify(rows: Iterable[Mapping[str, Any]], prev: str = GENESIS) -> int | None:
    """The index of the first row that was changed, moved, added or left out; None if none was.

    Args:
        rows: Whole rows in order, `prev` and `hash` among their keys.
        prev: The hash of the row before the first one.
    """
    for index, row in enumerate(rows):
        content = {key: value for key, value in row.items() if key not in ("prev", "hash")}
        if row["prev"] != prev or row["hash"] != link(prev, content):
            return index
        prev = row["hash"]
    return None
