"""Who wants to know of which resource, and telling them: each era in its own way."""

from collections.abc import Hashable
from typing import Final

import anyio
import mcp_types as t
from mcp import MCPError
from mcp.server.connection import Connection
from mcp.server.session import ServerSession
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ListenHandler,
    ResourcesListChanged,
    ResourceUpdated,
)

from factory_mcp.domain.errors import Refused
from factory_mcp.domain.model import LOCAL
from factory_mcp.services.watching import Watching
from factory_mcp.transports.resources import LIST, Resources
from factory_mcp.transports.tables import Context, plainly

MOST: Final = 1000
"""Resources that one client may subscribe to."""
TELL_S: Final = 5
"""A client that does not take a notification for so long does not get it."""


class Subscriptions:
    """Subscriptions to resources.

    2025: `resources/subscribe`, answered by notifications on the connection. 2026:
    `subscriptions/listen`, whose response is the stream; the SDK's handler filters it.
    """

    def __init__(self, resources: Resources, watching: Watching) -> None:
        self._resources, self._watching = resources, watching
        self._bus = InMemorySubscriptionBus()
        self._listen = ListenHandler(self._bus)
        self._held: dict[Hashable, set[str]] = {}  # URIs by connection, or by listen request
        self._sessions: dict[Hashable, ServerSession] = {}  # 2025
        self._versions: dict[str, object] = {}  # what was told of a URI last

    # ----------------------------------------------------------------------------- handlers

    async def subscribe(self, ctx: Context, params: t.SubscribeRequestParams) -> t.EmptyResult:
        """2025: tell this connection of one more resource."""
        uri, connection = str(params.uri), _connection(ctx)
        with plainly(uri=uri):
            version = await self._resources.version(LOCAL, uri)
        if connection not in self._held:
            self._held[connection] = set()
            self._sessions[connection] = ctx.session
            connection.exit_stack.callback(self._forget, connection)
        uris = self._held[connection]
        _check_number(len(uris | {uri}))
        uris.add(uri)
        self._versions.setdefault(uri, version)
        self._adjust()
        return t.EmptyResult()

    async def unsubscribe(self, ctx: Context, params: t.UnsubscribeRequestParams) -> t.EmptyResult:
        """2025: and of that one no longer; no error if it was not subscribed to."""
        self._held.get(_connection(ctx), set()).discard(str(params.uri))
        self._adjust()
        return t.EmptyResult()

    async def listen(
        self, ctx: Context, params: t.SubscriptionsListenRequestParams
    ) -> t.SubscriptionsListenResult:
        """2026: one stream of notifications, until its client goes away."""
        # Tools and prompts stay as they are while we run: the acknowledgement does not name them.
        never = {"tools_list_changed": None, "prompts_list_changed": None}
        wanted = params.notifications.model_copy(update=never)
        params = params.model_copy(update={"notifications": wanted})
        uris = set(wanted.resource_subscriptions or ())
        if wanted.resources_list_changed:
            uris.add(LIST)
        _check_number(len(uris))
        versions = {uri: await self._version(uri) for uri in uris}
        stream = object()
        self._held[stream] = uris
        self._versions = versions | self._versions
        self._adjust()
        try:
            return await self._listen(ctx, params)
        finally:
            self._forget(stream)

    def close(self) -> None:
        """End every stream with its last word, so that its client knows it was meant."""
        self._listen.close()

    # ------------------------------------------------------------------------------- telling

    def _forget(self, holder: Hashable) -> None:
        self._held.pop(holder, None)
        self._sessions.pop(holder, None)
        self._adjust()

    def _adjust(self) -> None:
        """Watch the store if there is anything to watch it for."""
        wanted = self._wanted()
        self._versions = {uri: known for uri, known in self._versions.items() if uri in wanted}
        if wanted:
            self._watching.start(self._changed)
        else:
            self._watching.stop()

    def _wanted(self) -> set[str]:
        return {uri for uris in self._held.values() for uri in uris}

    async def _changed(self) -> None:
        """Something in the store has: find out what, and tell who asked for it."""
        for uri in self._wanted():
            version = await self._version(uri)
            if version != self._versions.get(uri):
                self._versions[uri] = version
                await self._tell(uri)

    async def _version(self, uri: str) -> object:
        try:
            return await self._resources.version(LOCAL, uri)
        except Refused:  # not there, or not yet
            return None

    async def _tell(self, uri: str) -> None:
        event = ResourcesListChanged() if uri == LIST else ResourceUpdated(uri=uri)
        await self._bus.publish(event)
        for connection, session in list(self._sessions.items()):
            if uri in self._held.get(connection, ()):
                with anyio.move_on_after(TELL_S):
                    await session.send_resource_updated(uri)


def _connection(ctx: Context) -> Connection:
    """Its end is the end of its subscriptions; the SDK has no public way to it."""
    return ctx.session._connection  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def _check_number(uris: int) -> None:
    if uris > MOST:
        raise MCPError(t.INVALID_PARAMS, f"More than {MOST} resources; subscribe to fewer.")
