"""What a search asks of the tables."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A query, its words as the index has them (blind), and where to look."""

    tenant: str
    text: str
    words: Sequence[str]
    limit: int
    droid: str | None = None
    workspace_key: str | None = None
