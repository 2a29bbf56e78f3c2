"""The keys of the ring: how much each has sealed, a new one, new seals, an old one dropped."""

import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from factory_mcp.domain.errors import FactoryError
from factory_mcp.domain.key_ring import KEY_BYTES, KeyRing, Rewrapped, key_id
from factory_mcp.domain.seal_errors import KeyInUse, KeyMissing
from factory_mcp.ports import Check
from factory_mcp.services.sealing import KeyStore, Sealing

T = TypeVar("T")

BATCH: Final = 200
"""Rows that get new seals in one transaction; others write between two of them."""


class SealedRows(Protocol):
    """All that is sealed in a store, of every tenant."""

    async def used(self) -> Mapping[str, int]:
        """How many values each key has sealed, by its id."""
        ...

    async def rewrap(self, newest: str, after: tuple[Any, ...], limit: int) -> Rewrapped:
        """Seal at most `limit` rows anew that other keys than the newest have sealed.

        Args:
            newest: The key that seals now.
            after: (), then what the batch before gave, until that is () again.
            limit: Rows in one transaction.
        """
        ...

    async def alone(self, keys: Collection[str], act: Callable[[int], T]) -> T:
        """Call `act`, maybe twice, while nobody writes, with how much these keys have sealed."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUse:
    """A key and how many values it has sealed; `state` is newest, next, old or missing."""

    key: str
    state: str
    values: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A key that came or went; `ring` is the new ring where it has to be kept by hand.

    `seals` is whether it is the key that seals now.
    """

    key: str
    ring: str | None = field(default=None, repr=False)
    seals: bool = False


class SealKeys:
    """What `factory-mcp seal` does.

    Args:
        sealing: Has the ring.
        store: Keeps it.
        rows: All that is sealed.
        shared: Whether other machines, each with a ring of its own, use the same store.
    """

    def __init__(
        self, sealing: Sealing, store: KeyStore, rows: SealedRows, *, shared: bool = False
    ) -> None:
        self._sealing, self._store, self._rows = sealing, store, rows
        self._shared = shared

    async def status(self) -> list[KeyUse]:
        """The keys of the ring, oldest first, then those that values are sealed with besides."""
        ring, used = self._sealing.ring(), await self._rows.used()
        states = dict.fromkeys(ring.keys, "old") | {ring.newest: "newest"}
        states |= {ring.next: "next"} if ring.next else {}
        states |= {key: "missing" for key in used if key not in ring.keys}
        return [
            KeyUse(key=key, state=state, values=used.get(key, 0)) for key, state in states.items()
        ]

    async def rotate(self) -> Changed:
        """Append a new key, which seals from now on; the old ones still open.

        In a shared store it only opens until `activate`: a replica that does not have it yet
        could not read what another one has sealed with it.

        Raises:
            KeyInUse: A key waits to seal already.
        """
        key = secrets.token_bytes(KEY_BYTES)
        ring = await self._rows.alone((), lambda _: self._append(key))
        return Changed(key=key_id(key), ring=ring, seals=not self._shared)

    async def activate(self) -> Changed:
        """Let the key that waits seal from now on.

        Raises:
            KeyMissing: None waits.
        """
        waiting = self._sealing.ring().next
        if waiting is None:
            raise KeyMissing(
                "No key of the ring waits to seal.", remedy="`factory-mcp seal rotate` makes one."
            )
        ring = await self._rows.alone((), lambda _: self._keep(self._sealing.ring().activated()))
        return Changed(key=waiting, ring=ring, seals=True)

    async def rewrap(self, told: Callable[[int], None]) -> Rewrapped:
        """Seal anew all that older keys have sealed; stopped and begun again it goes on.

        Args:
            told: Hears how many values are done.
        """
        newest = self._sealing.ring().newest
        done = Rewrapped(after=())
        while True:
            batch = await self._rows.rewrap(newest, done.after, BATCH)
            done = Rewrapped(
                values=done.values + batch.values,
                broken=done.broken + batch.broken,
                after=batch.after,
            )
            told(done.values)
            if not done.after:
                return done

    async def drop(self, key: str) -> Changed:
        """Take an old key out of the ring.

        Raises:
            KeyMissing: The ring does not have it.
            KeyInUse: It is the newest one, or has sealed what is still stored.
        """
        ring = await self._rows.alone((key,), partial(self._drop, key))
        return Changed(key=key, ring=ring)

    def check(self) -> Check:
        """Whether the ring can be used, for `doctor`."""
        try:
            ring = self._sealing.ring()
        except FactoryError as error:
            return Check(name="key ring", ok=False, detail=error.message, fix=error.remedy)
        keys = f"{len(ring.keys)} key{'s' * (len(ring.keys) != 1)}"
        waits = f", {ring.next} waits" if ring.next else ""
        detail = f"{self._store.where}, {keys}, {ring.newest} seals{waits}; keep a copy elsewhere"
        return Check(name="key ring", ok=True, detail=detail)

    def _append(self, key: bytes) -> str | None:
        ring = self._sealing.ring()
        if ring.next is not None:
            raise KeyInUse(
                f"The key {ring.next} waits to seal already.",
                remedy="Once every replica has the ring: `factory-mcp seal rotate --activate`.",
            )
        return self._keep(ring.plus(key, waits=self._shared))

    def _drop(self, key: str, values: int) -> str | None:
        ring = self._sealing.ring()
        if key == ring.newest:
            raise KeyInUse(f"The key {key} is the newest: it seals what is written now.")
        if values:
            raise KeyInUse(f"The key {key} has sealed {values} values that are stored.")
        if key not in ring.keys:
            raise KeyMissing(
                f"The ring has no key {key!r}.", remedy="`factory-mcp seal status` lists its keys."
            )
        return self._keep(ring.minus((key,)))

    def _keep(self, ring: KeyRing) -> str | None:
        """Write the ring down; as a line where that cannot be done from here."""
        return None if self._store.write(ring.text()) else ring.line()
