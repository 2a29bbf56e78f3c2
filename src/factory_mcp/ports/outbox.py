"""The seams of feeding copies: the outbox that says what was written, and the sinks that want it.

A row of the outbox comes to be in the transaction that it speaks of. Each sink follows it by
itself, tenant by tenant, one process at a time, from a position that only ever stands before what
the sink has not seen: so it may be told twice, and is never not told.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A row of the outbox: a node was written (`node`, in the chain `chain_id`) or a run closed."""

    seq: int
    kind: str
    id: str
    chain_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to feed a sink with what a tenant writes.

    `seq` is the sink's position, `built_with` what its copy was made with: "" is that it must be
    made from the truth.
    """

    sink: str
    tenant: str
    owner: str
    seq: int
    built_with: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Parked:
    """What a sink refused for good, and why."""

    kind: str
    id: str
    reason: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far a sink has come with a tenant.

    `position` None is not begun; `built` whether its copy was ever whole. It is `rows` behind, the
    oldest of which has waited for `seconds`.
    """

    sink: str
    tenant: str
    position: int | None
    built: bool
    rows: int
    seconds: float
    parked: tuple[Parked, ...] = ()


class Outbox(Protocol):
    """The outbox, the sinks' positions and leases, and what they refused.

    Leases are on the database's clock. What needs a lease answers None or False once it is lost,
    and then changes nothing.
    """

    async def tenants(self) -> list[str]:
        """All tenants that have ever written."""
        ...

    async def waiting(self, sink: str) -> list[str]:
        """Tenants with something to do for a sink, and followed by nobody.

        Those that are longest without being followed come first, and before those that must be
        built.
        """
        ...

    async def built(self, sink: str) -> Mapping[str, str]:
        """What a sink's copies are made with, by tenant."""
        ...

    async def lease(self, sink: str, tenant: str, owner: str, for_s: float) -> Lease | None:
        """Ask to feed a sink with a tenant; a tenant not begun begins with all there is."""
        ...

    async def renew(self, lease: Lease, for_s: float) -> bool:
        """Keep a lease for so long from now."""
        ...

    async def release(self, lease: Lease) -> None:
        """Give a lease back."""
        ...

    async def read(self, lease: Lease, limit: int) -> list[Change]:
        """What comes after the position, in order: about `limit` rows, and all those of a seq."""
        ...

    async def move(
        self, lease: Lease, changes: Sequence[Change], poisoned: Mapping[str, str]
    ) -> Lease | None:
        """Put the position behind what was read; with it park those refused, by id with why."""
        ...

    async def restart(self, lease: Lease) -> Lease | None:
        """Begin to make a copy anew: whatever is written from now on is behind the position."""
        ...

    async def completed(
        self, lease: Lease, built_with: str, poisoned: Mapping[str, str]
    ) -> Lease | None:
        """Say what the copy was made with; parked is what was refused this time, and no more."""
        ...

    async def void(self, sink: str, tenant: str) -> None:
        """Say that a copy cannot be relied on: it must be made anew, and all leases are lost."""
        ...

    async def trim(self) -> int:
        """Delete rows that nobody waits for, and those that have waited too long; how many.

        A sink that was behind those has no position any more.
        """
        ...

    async def standing(self, sinks: Sequence[str]) -> list[Standing]:
        """How far these sinks, and all others with a position, have come with each tenant."""
        ...


Progress = Callable[[int, int], None]
"""Hears how many nodes are done, and of how many."""


class Sink(Protocol):
    """A copy, or whoever else wants to know what was written.

    What it is told twice it minds not. Where it cannot take anything now, it raises a FactoryError;
    what it will never take, it returns by id, with the reason.
    """

    @property
    def name(self) -> str:
        """As positions and parked rows have it; the same for ever."""
        ...

    async def built_with(self, tenant: str) -> str:
        """What its copy would be made with now; never "". With another one it is made anew."""
        ...

    async def apply(self, tenant: str, changes: Sequence[Change]) -> Mapping[str, str]:
        """Take what was written, in order."""
        ...

    async def rebuild(self, tenant: str, progress: Progress) -> Mapping[str, str]:
        """Make the tenant's copy from the truth; what is written meanwhile may be left out."""
        ...
