"""One collection of Weaviate, a shard for each tenant: written and asked through its client.

Only imported once a question is asked: the client takes half a second.
"""

import logging
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, cast
from urllib.parse import urlsplit
from uuid import NAMESPACE_OID, uuid5

import anyio
import httpx
import numpy as np
import weaviate
from anyio.to_thread import run_sync
from grpc import ssl_channel_credentials
from weaviate import WeaviateAsyncClient
from weaviate.classes.config import Configure, DataType, Property, Tokenization, VectorDistances
from weaviate.classes.data import DataObject
from weaviate.classes.init import AdditionalConfig, Auth, Timeout
from weaviate.classes.query import Filter, MetadataQuery
from weaviate.config import GrpcConfig
from weaviate.exceptions import (
    UnexpectedStatusCodeError,
    WeaviateDeleteManyError,
    WeaviateInsertManyAllFailedError,
    WeaviateQueryError,
)

from factory_mcp.domain.search_errors import IndexUnavailable, IndexUnfit
from factory_mcp.ports.index import Candidate, Entry, Query
from factory_mcp.stores.weaviate.address import Address

SCOPES: Final = ("droid", "author", "chain", "workspace")
"""Blind names that a search can be narrowed to."""

LEAST: Final = 30
"""Candidates of each kind, at least: what is near is seldom best by words, and both count."""
EXPLORED: Final = 300
"""Nodes that a search by vector looks at: of the ten nearest of 100,000 it finds nine."""
FLAT: Final = 10_000
"""Up to so many nodes in its scope a search looks at all of them."""
LIBRARY_S: Final = 60
"""The library's own time-outs: never reached, for each question has its own."""

_SCALE: Final = 2.2
"""Weaviate leaves the factor k1 + 1 out of BM25."""
_K1, _B = 1.2, 0.75  # as in domain/keywords.py
_EVER: Final = Filter.by_property("created_at").greater_or_equal(0)
"""With a filter, even one that all pass, Weaviate looks at each entry where they are few (FLAT)."""
_NEVER_WRITTEN: Final = ("tenant not found", "could not find class")
_WRONG_SIZE: Final = ("vector lengths don't match", "vector dimensions", "vector with length")
_MADE_MEANWHILE: Final = "already exists"
_UNPROCESSABLE: Final = 422
_BY_ID: Final[Any] = cast("Any", Filter).by_id()

# It writes what it could not store into the log.
logging.getLogger("weaviate-client").setLevel(logging.CRITICAL)


async def connect(address: Address, collection: str) -> "Shards":
    """A client that has reached the server.

    Weaviate's errors leave as they are; `faults` knows them.
    """
    parts = urlsplit(address.url)
    secure = parts.scheme == "https"
    roots = await run_sync(address.authorities.read_bytes) if address.authorities else None
    context = await run_sync(_context, secure, roots)
    client = weaviate.use_async_with_custom(
        http_host=parts.hostname or "",
        http_port=parts.port or (443 if secure else 80),
        http_secure=secure,
        grpc_host=address.grpc[0],
        grpc_port=address.grpc[1],
        grpc_secure=secure,
        auth_credentials=Auth.api_key(address.key) if address.key else None,
        skip_init_checks=True,  # they ask a package registry what is new
        additional_config=AdditionalConfig(
            timeout=Timeout(init=LIBRARY_S, query=LIBRARY_S, insert=LIBRARY_S),
            grpc_config=GrpcConfig(
                channel_options=[
                    ("grpc.enable_http_proxy", 0),
                    ("grpc.use_local_subchannel_pool", 1),  # or a new client waits with an old one
                ],
                credentials=ssl_channel_credentials(roots) if roots else None,
            ),
        ),
    )
    inner: Any = client._connection  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    # The library knows no way to say which authorities are believed.

    def rest(_: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(headers=inner._headers, verify=context)  # noqa: SLF001

    inner._make_client = rest  # noqa: SLF001
    try:
        await client.connect()
    except BaseException:
        with anyio.CancelScope(shield=True):
            await client.close()
        raise
    return Shards(client, collection)


class Shards:
    """What is asked of one collection.

    Args:
        client: One that is connected.
        collection: The collection's name.
    """

    def __init__(self, client: WeaviateAsyncClient, collection: str) -> None:
        self._client, self._name, self._looked_at = client, collection, False
        self._any: Any = client

    async def close(self) -> None:
        """Let go of the server."""
        await self._client.close()

    async def version(self) -> str:
        """What the server says that it is, once both ways to it were gone with our key."""
        await self.nearest("nobody", Query(vector=None, words=("nothing",), limit=1))
        meta: Any = await self._any.get_meta()
        return meta["version"]

    async def put(self, tenant: str, entries: Sequence[Entry]) -> dict[str, str]:
        """Write entries; by id, why some were not taken."""
        await self._make_collection()
        objects = await run_sync(lambda: [_object(entry) for entry in entries])
        try:
            done = await self._tenant(tenant).data.insert_many(objects)
        except WeaviateInsertManyAllFailedError as error:
            return {entry.id: _poison(error.message) for entry in entries}
        refused: dict[int, Any] = done.errors
        return {entries[at].id: _poison(error.message) for at, error in refused.items()}

    async def remove(self, tenant: str, ids: Sequence[str]) -> None:
        """Remove entries."""
        these = _these(ids)
        try:
            await self._tenant(tenant).data.delete_many(these)
        except WeaviateDeleteManyError as error:
            if not _says(error, _NEVER_WRITTEN):
                raise

    async def drop(self, tenant: str) -> None:
        """Remove the shard."""
        if await self._client.collections.exists(self._name):
            await self._collection().tenants.remove([tenant])

    async def nearest(self, tenant: str, query: Query) -> list[Candidate] | None:
        """The candidates of both kinds; None if there is no such shard."""
        if query.vector is None and not query.words:
            return await self._whether_there(tenant)
        found: dict[str, Candidate] = {}
        ways = [self._by_vector] if query.vector is not None else []
        ways += [self._by_words] if query.words else []
        try:
            # By words last: whoever is found both ways is given both scores there.
            for candidates in await _all([lambda w=way: w(tenant, query) for way in ways]):
                found |= {one.id: _joined(found.get(one.id), one) for one in candidates}
            if silent := [one.id for one in found.values() if query.words and not one.keywords]:
                for one in await self._by_words(tenant, query, silent):
                    found[one.id] = _joined(found[one.id], one)
        except WeaviateQueryError as error:
            if _says(error, _NEVER_WRITTEN):
                return None
            if _says(error, _WRONG_SIZE):
                raise _of_another_size() from error
            raise
        return list(found.values())

    async def _whether_there(self, tenant: str) -> list[Candidate] | None:
        there = await self._client.collections.exists(self._name)
        there = there and await self._collection().tenants.exists(tenant)
        return [] if there else None

    async def _by_vector(self, tenant: str, query: Query) -> list[Candidate]:
        found = await self._tenant(tenant).query.near_vector(
            query.vector.tolist(),
            limit=_room(query),
            filters=_narrowed(query) or _EVER,
            return_metadata=MetadataQuery(distance=True),
            return_properties=["node"],
        )
        return [
            Candidate(
                id=str(one.properties["node"]), cosine=1 - (one.metadata.distance or 0), keywords=0
            )
            for one in found.objects
        ]

    async def _by_words(
        self, tenant: str, query: Query, among: Sequence[str] = ()
    ) -> list[Candidate]:
        """The best, with their vectors: so their cosines are known; or all of those `among` some.

        The nearest may have words that are common, and so not be among the best: without these
        the scores of both kinds would not add up as they do in SQL.
        """
        found = await self._tenant(tenant).query.bm25(
            " ".join(query.words),
            limit=len(among) or _room(query),
            filters=_these(among) if among else _narrowed(query),
            return_metadata=MetadataQuery(score=True),
            include_vector=query.vector is not None and not among,
            return_properties=["node"],
        )
        return [
            Candidate(
                id=str(one.properties["node"]),
                cosine=_cosine(query.vector, one.vector),
                keywords=_SCALE * (one.metadata.score or 0),
            )
            for one in found.objects
        ]

    def _collection(self) -> Any:
        return self._client.collections.use(self._name)

    def _tenant(self, tenant: str) -> Any:
        return self._collection().with_tenant(tenant)

    async def _make_collection(self) -> None:
        """See that the collection is there: for want of one Weaviate would make one of its own."""
        if await self._client.collections.exists(self._name):
            if not self._looked_at:
                await self._look_at_collection()
        else:
            try:
                await _create(self._client, self._name)
            except UnexpectedStatusCodeError as error:
                if error.status_code != _UNPROCESSABLE or _MADE_MEANWHILE not in str(error):
                    raise
        self._looked_at = True

    async def _look_at_collection(self) -> None:
        its = await self._collection().config.get()
        names = {one.name for one in its.properties}
        if not its.multi_tenancy_config.enabled or not {"node", "tokens", *SCOPES} <= names:
            raise IndexUnfit(
                f"The collection {self._name} was made by something else.",
                remedy="Remove it from Weaviate, or use another Weaviate.",
            )


async def _create(client: WeaviateAsyncClient, name: str) -> None:
    text, blind = DataType.TEXT, Tokenization.FIELD
    await client.collections.create(
        name,
        multi_tenancy_config=Configure.multi_tenancy(
            auto_tenant_creation=True, auto_tenant_activation=True
        ),
        inverted_index_config=Configure.inverted_index(bm25_b=_B, bm25_k1=_K1),
        vector_config=Configure.Vectors.self_provided(
            vector_index_config=Configure.VectorIndex.hnsw(
                distance_metric=VectorDistances.COSINE,
                ef=EXPLORED,
                flat_search_cutoff=FLAT,
                quantizer=Configure.VectorIndex.Quantizer.none(),
            )
        ),
        properties=[
            Property(
                name="node",
                data_type=text,
                tokenization=blind,
                index_searchable=False,
                index_filterable=False,
            ),
            Property(
                name="tokens",
                data_type=text,
                tokenization=Tokenization.WHITESPACE,
                index_filterable=False,
            ),
            *(
                Property(name=scope, data_type=text, tokenization=blind, index_searchable=False)
                for scope in SCOPES
            ),
            Property(
                name="created_at",
                data_type=DataType.NUMBER,
                index_filterable=False,
                index_range_filters=True,
            ),
        ],
    )


def _these(ids: Sequence[str]) -> Any:
    return _BY_ID.contains_any([uuid5(NAMESPACE_OID, name) for name in ids])


def _object(entry: Entry) -> Any:
    scopes = {scope: getattr(entry, scope) for scope in SCOPES}
    return DataObject(
        uuid=uuid5(NAMESPACE_OID, entry.id),
        properties={
            "node": entry.id,
            "tokens": " ".join(entry.words),
            "created_at": entry.created_at,
            **{scope: name for scope, name in scopes.items() if name is not None},
        },
        vector=None if entry.vector is None else entry.vector.tolist(),
    )


def _narrowed(query: Query) -> Any:
    """The filter of a query; None if it has none."""
    scopes = ((scope, getattr(query, scope)) for scope in SCOPES)
    parts: list[Any] = [
        Filter.by_property(scope).equal(name) for scope, name in scopes if name is not None
    ]
    if query.since is not None:
        parts.append(Filter.by_property("created_at").greater_or_equal(query.since))
    return Filter.all_of(parts) if parts else None


def _room(query: Query) -> int:
    return max(2 * query.limit, LEAST)


def _cosine(wanted: Any, vector: Any) -> float:
    """Of an entry as Weaviate gives it back; both are of unit length."""
    if wanted is None or "default" not in vector:
        return 0.0
    its = np.asarray(vector["default"], np.float32)
    if its.shape != wanted.shape:
        raise _of_another_size()
    return float(np.dot(wanted, its))


def _joined(near: Candidate | None, found: Candidate) -> Candidate:
    if near is None:
        return found
    return Candidate(id=near.id, cosine=near.cosine, keywords=found.keywords)


async def _all(
    works: Sequence[Callable[[], Awaitable[list[Candidate]]]],
) -> list[list[Candidate]]:
    """What the works give, done at the same time, in their order; or the first error."""
    given: dict[int, list[Candidate]] = {}

    async def one(number: int, work: Callable[[], Awaitable[list[Candidate]]]) -> None:
        given[number] = await work()

    try:
        async with anyio.create_task_group() as tasks:
            for number, work in enumerate(works):
                tasks.start_soon(one, number, work)
    except ExceptionGroup as group:
        raise group.exceptions[0] from group
    return [given[number] for number in range(len(works))]


def _poison(message: str) -> str:
    """Why an entry is refused for good; whatever else it is may pass, and is an error."""
    if any(words in message for words in _WRONG_SIZE):
        return f"Weaviate refused it: {message[:200]}"
    raise IndexUnavailable(f"Weaviate did not store it: {message[:200]}")


def _of_another_size() -> IndexUnfit:
    return IndexUnfit("The vectors in Weaviate are of another size.")


def _says(error: Exception, words: Sequence[str]) -> bool:
    return any(word in str(error) for word in words)


def _context(secure: bool, roots: bytes | None) -> ssl.SSLContext:
    if not secure:
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if roots:
        return ssl.create_default_context(cadata=roots.decode())
    return httpx.create_ssl_context(trust_env=False)
