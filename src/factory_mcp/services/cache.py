"""Context chains, cached in this process and, sealed, in a cache that replicas share.

The path to a node never changes: it may be kept anywhere. A chain's head moves: it is kept in this
process alone, and forgotten as soon as anybody says on the bus that he has written. While nobody
could say so, it is believed for five seconds.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Final

from factory_mcp.domain.errors import FactoryError
from factory_mcp.domain.lru import Lru
from factory_mcp.domain.model import ContextNode, Owner, Run
from factory_mcp.domain.seal_errors import error_of
from factory_mcp.ports import (
    Appended,
    Beat,
    Claim,
    Clock,
    Contexts,
    NewNode,
    Opened,
    Place,
    RunBook,
    Seal,
    Sealer,
)
from factory_mcp.ports.fast import Bus, Cache
from factory_mcp.services.single_flight import SingleFlight
from factory_mcp.services.watching import CHANGES
from factory_mcp.telemetry import log

HEADS_MOVED: Final = "contexts"
"""The bus's topic: `process tenant chain`, the tenant blind."""
PATHS: Final = 4096
PATHS_SIZE: Final = 64 * 1024 * 1024
PATH_S: Final = 3600.0
"""What was purged, or restored to what it was, may be seen for so long."""
HEADS: Final = 16_384
HEADS_SIZE: Final = 16 * 1024 * 1024
HEAD_S: Final = 30.0
"""A head is looked up again after so long even if nobody has said that it moved."""
HEAD_ALONE_S: Final = 5.0
"""And after so long while nobody could say it."""
SHARED_SIZE: Final = 1024 * 1024
"""What is longer is not worth sending to and fro."""
LEASE_S: Final = 1.0
LOOKS_S: Final = (0.02, 0.05, 0.1)
"""How another replica, which reads the same from the store, is waited for."""
TENANTS: Final = 10_000

_FIELDS: Final = tuple(field.name for field in fields(ContextNode) if field.name != "unreadable")

Path = tuple[ContextNode, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheStats:
    """Where answers came from, and what is kept; `size` in bytes of JSON."""

    hits: int
    shared_hits: int
    misses: int
    entries: int
    size: int


class _Load:
    """A head that is being read, and the chains that moved meanwhile."""

    def __init__(self) -> None:
        self.moved: set[tuple[str, str]] = set()
        self.all_moved = False


class CachedContexts:
    """The port Contexts over another one. This process always sees its own writes.

    What does not open is never kept.

    Args:
        truth: Where the chains are.
        bus: Where processes say what they have written.
        sealer: Seals what goes into the shared cache.
        clock: Time.
        me: This process among those on the bus.
        shared: The cache of all replicas, if there is one.
    """

    def __init__(
        self,
        truth: Contexts,
        bus: Bus,
        sealer: Sealer,
        clock: Clock,
        *,
        me: str,
        shared: Cache | None = None,
    ) -> None:
        self._truth, self._bus, self._sealer = truth, bus, sealer
        self._clock, self._me, self._shared = clock, me, shared
        self._paths: Lru[tuple[str, str], tuple[Path, float]] = Lru(entries=PATHS, size=PATHS_SIZE)
        self._chains: Lru[tuple[str, str, str], str] = Lru(entries=2 * HEADS, size=HEADS_SIZE)
        self._heads: Lru[tuple[str, str], tuple[ContextNode, float]]
        self._heads = Lru(entries=HEADS, size=HEADS_SIZE)
        self._path_flights: SingleFlight[tuple[str, str], Path] = SingleFlight()
        self._head_flights: SingleFlight[tuple[str, str, str], ContextNode | None] = SingleFlight()
        self._loads: set[_Load] = set()
        self._words: dict[str, str] = {}
        self._tenants: dict[str, str] = {}
        self._hits = self._shared_hits = self._misses = 0
        bus.listen(HEADS_MOVED, self._heard)

    def stats(self) -> CacheStats:
        """What the cache was good for."""
        return CacheStats(
            hits=self._hits,
            shared_hits=self._shared_hits,
            misses=self._misses,
            entries=len(self._paths) + len(self._heads),
            size=self._paths.size + self._heads.size,
        )

    # ------------------------------------------------------------------------- writing

    async def append(self, node: NewNode) -> Appended:
        """Append a node by compare-and-set on the chain's head; one audit row with it.

        Raises:
            UnknownContext: There is no such chain or base in the tenant.
            RevisionConflict: The head is not at the expected revision.
        """
        chain = self.chain_of(node)
        try:
            appended = await self._truth.append(node)
            chain = appended.node.chain_id
        finally:
            self.wrote(node.tenant, chain)  # refused or cancelled: its head may have moved as well
        return appended

    def chain_of(self, node: NewNode) -> str | None:
        """The chain that a node will be appended to, as far as it is known before."""
        return node.chain_id or self._chains.get(
            ("workspace", node.tenant, node.workspace_key or "")
        )

    def wrote(self, tenant: str, chain: str | None) -> None:
        """Forget a chain's head, and tell the others: of the chain, and that there is news."""
        if chain is not None:
            self._forget(tenant, chain)
            try:
                self._bus.publish(HEADS_MOVED, f"{self._me} {self._word(tenant)} {chain}")
            except FactoryError as error:  # it is written: no reason to fail
                log.warning("cache.untold", code=error.code)
        self._bus.publish(CHANGES, "")

    # ------------------------------------------------------------------------- reading

    async def head(self, tenant: str, id: str) -> ContextNode | None:  # noqa: A002
        """The newest node of the chain that `id` (any of its nodes) names."""
        return await self._head(("node", tenant, id), self._truth.head)

    async def standing(self, tenant: str, workspace_key: str) -> ContextNode | None:
        """The head of the standing chain of a workspace."""
        return await self._head(("workspace", tenant, workspace_key), self._truth.standing)

    async def path(
        self, tenant: str, id: str, *, lenient: bool = False  # noqa: A002
    ) -> list[ContextNode]:
        """The nodes from the root to `id`, parents first; [] when absent.

        Raises:
            ContextDamaged: They lead to no root.
            SealBroken: One of them is `unreadable`; KeyMissing likewise; unless it is `lenient`.
        """
        found = self._paths.get((tenant, id))
        if found is not None and self._clock.monotonic() < found[1]:
            self._hits += 1
            return list(found[0])
        work = partial(self._load_path, tenant, id)
        path = await self._path_flights.do((tenant, id), work)
        unreadable = next((node.unreadable for node in path if node.unreadable), None)
        if unreadable is not None and not lenient:
            raise error_of(unreadable)
        return list(path)

    # --------------------------------------------------------------------------- heads

    async def _head(
        self,
        name: tuple[str, str, str],
        read: Callable[[str, str], Awaitable[ContextNode | None]],
    ) -> ContextNode | None:
        chain = self._chains.get(name)
        found = self._heads.get((name[1], chain)) if chain is not None else None
        if found is not None:
            life_s = HEAD_S if self._bus.up else HEAD_ALONE_S
            if self._clock.monotonic() - found[1] < life_s:
                self._hits += 1
                return found[0]
        return await self._head_flights.do(name, partial(self._load_head, name, read))

    async def _load_head(
        self,
        name: tuple[str, str, str],
        read: Callable[[str, str], Awaitable[ContextNode | None]],
    ) -> ContextNode | None:
        self._misses += 1
        _, tenant, named = name
        self._word(tenant)  # so that what is said of it meanwhile is understood
        load, at = _Load(), self._clock.monotonic()
        self._loads.add(load)
        try:
            node = await read(tenant, named)
        finally:
            self._loads.discard(load)
        if node is not None and not node.unreadable:
            self._chains.put(name, node.chain_id, len(named) + len(node.chain_id))
            its = (tenant, node.chain_id)
            if not load.all_moved and its not in load.moved:
                self._heads.put(its, (node, at), len(_to_json((node,))))
        return node

    def _heard(self, message: str | None) -> None:
        """Another process has moved a head, or may have moved any."""
        if message is None:
            self._empty()
            return
        process, word, chain = message.split(" ", 2)
        tenant = self._tenants.get(word)
        if process != self._me and tenant is not None:
            self._forget(tenant, chain)

    def _forget(self, tenant: str, chain: str) -> None:
        self._heads.drop((tenant, chain))
        self._head_flights.detach()
        for load in self._loads:
            load.moved.add((tenant, chain))

    def _empty(self) -> None:
        self._paths.clear()
        self._heads.clear()
        self._head_flights.detach()
        for load in self._loads:
            load.all_moved = True

    def _word(self, tenant: str) -> str:
        """What the tenant is called on the bus."""
        word = self._words.get(tenant)
        if word is None:
            word = self._sealer.blind(tenant, "tenant")
            if len(self._words) >= TENANTS:
                self._words.clear()
                self._tenants.clear()
                self._empty()  # nobody could be understood who speaks of them
            self._words[tenant], self._tenants[word] = word, tenant
        return word

    # --------------------------------------------------------------------------- paths

    async def _load_path(self, tenant: str, id: str) -> Path:  # noqa: A002
        if self._shared is None:
            return await self._from_truth(tenant, id)
        place = Place(
            tenant=tenant, table="cache", id=f"path:{self._sealer.blind(tenant, f'path {id}')}"
        )
        path = await self._from_shared(self._shared, place, id)
        if path is None:
            path = await self._in_turn(self._shared, place, id)
        return path

    async def _from_truth(self, tenant: str, id: str) -> Path:  # noqa: A002
        self._misses += 1
        path = tuple(await self._truth.path(tenant, id, lenient=True))
        if _is_whole(path):
            self._keep(tenant, id, path, len(_to_json(path)))
        return path

    async def _from_shared(self, shared: Cache, place: Place, id: str) -> Path | None:  # noqa: A002
        """What a replica has put there; None if there is nothing that can be read."""
        sealed = await shared.get(place.id)
        if sealed is None:
            return None
        try:
            plain = self._sealer.unseal(place, sealed)
            path = tuple(ContextNode(**row) for row in json.loads(plain))
        except (FactoryError, ValueError, TypeError) as error:  # by another key, or version
            log.info("cache.unreadable", cause=type(error).__name__)
            return None
        self._shared_hits += 1
        self._keep(place.tenant, id, path, len(plain))
        return path

    async def _in_turn(self, shared: Cache, place: Place, id: str) -> Path:  # noqa: A002
        """Read it from the truth, unless another replica is at it and is done soon."""
        lease = f"{place.id}:lease"
        if not await shared.lease(lease, LEASE_S):
            for seconds in LOOKS_S:
                await self._clock.sleep(seconds)
                path = await self._from_shared(shared, place, id)
                if path is not None:
                    return path
            return await self._from_truth(place.tenant, id)
        try:
            path = await self._from_truth(place.tenant, id)
            plain = _to_json(path)
            if _is_whole(path) and len(plain) <= SHARED_SIZE:
                await shared.put(place.id, self._sealer.seal(place, plain), PATH_S)
        finally:
            await shared.drop(lease)
        return path

    def _keep(self, tenant: str, id: str, path: Path, size: int) -> None:  # noqa: A002
        self._paths.put((tenant, id), (path, self._clock.monotonic() + PATH_S), size)


class CachedBook:
    """The port RunBook over another one: a closing appends to a chain, and is news."""

    def __init__(self, book: RunBook, contexts: CachedContexts) -> None:
        self._book, self._contexts = book, contexts

    async def open(self, run: Run, claim: Claim) -> Opened:
        """Open a run or attach to one."""
        return await self._book.open(run, claim)

    async def save(self, run: Run) -> bool:
        """Write an open run's progress."""
        return await self._book.save(run)

    async def close(self, run: Run, node: NewNode | None, seal: Seal) -> Run | None:
        """Close a run for good."""
        chain = self._contexts.chain_of(node) if node is not None else None

        def noted(appended: Appended | None) -> Any:
            nonlocal chain
            chain = appended.node.chain_id if appended is not None else chain
            return seal(appended)

        try:
            return await self._book.close(run, node, noted)
        finally:
            self._contexts.wrote(run.tenant, chain)

    async def beat(self, owner: Owner, lease_until: float) -> Beat:
        """Renew the leases of `owner`'s open runs."""
        return await self._book.beat(owner, lease_until)


def _is_whole(path: Path) -> bool:
    return bool(path) and not any(node.unreadable for node in path)


def _to_json(path: Path) -> bytes:
    rows = [{name: getattr(node, name) for name in _FIELDS} for node in path]
    return json.dumps(rows, separators=(",", ":")).encode()
