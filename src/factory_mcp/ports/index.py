"""The seam to a vector index: a copy of what nodes can be found by, and of nothing they say.

It is told ids, rotated vectors, blind words and times. Whoever reads all of it learns how many
notes there are, which are alike and which share words, but not one of the words.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from factory_mcp.ports import Check


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a node can be found by. All words and names are blind, see `Sealer.blind`.

    `vector` is rotated, of unit length; None where the node's words have no meaning. `words` has
    each word as often as the node says it.
    """

    id: str
    vector: Any
    words: Sequence[str]
    created_at: float
    droid: str | None = None
    author: str | None = None
    chain: str | None = None
    workspace: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is looked for, turned and blinded like the entries; it is narrowed by what is not None.

    `since` is the earliest time of creation.
    """

    vector: Any
    words: Sequence[str]
    limit: int
    droid: str | None = None
    author: str | None = None
    chain: str | None = None
    workspace: str | None = None
    since: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A node that may answer a query, and how well: cosine from -1 to 1, BM25 from 0 on."""

    id: str
    cosine: float
    keywords: float


class VectorIndex(Protocol):
    """Entries of many tenants, each tenant's apart; `tenant` is a blind name.

    Only a copy: it may be lost, and is made again. All but `check` raise IndexUnavailable where it
    cannot be asked, IndexUnauthorized where it does not know us, and IndexBroken where it answers
    what is no answer. It is soon known to be away: then they raise at once.
    """

    async def put(self, tenant: str, entries: Sequence[Entry]) -> Mapping[str, str]:
        """Add entries, or put others in their place; by id, why some were not taken."""
        ...

    async def remove(self, tenant: str, ids: Sequence[str]) -> None:
        """Forget entries; those that are not there are no error."""
        ...

    async def drop(self, tenant: str) -> None:
        """Forget all that a tenant has."""
        ...

    async def nearest(self, tenant: str, query: Query) -> list[Candidate] | None:
        """The likeliest candidates, in no order; None if nothing was ever put for the tenant.

        At least the `limit` nearest by cosine, and the `limit` best by keywords, as nearly as it
        can tell.
        """
        ...

    async def check(self) -> Sequence[Check]:
        """Whether it can be asked now, for `doctor` and readiness; never raises."""
        ...
