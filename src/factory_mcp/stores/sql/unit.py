"""A transaction in the making: rows that nobody asks for before it ends are written together.

A statement costs its way to the database and back, and what SQLAlchemy does for it. Of callers
that share a transaction each appends rows to the same few tables, and moves the same few heads:
so these are kept until somebody reads, or until the end, and then written in one go per table.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    JSON,
    Dialect,
    Executable,
    Insert,
    Table,
    Update,
    bindparam,
    column,
    func,
    insert,
    select,
)
from sqlalchemy.engine import CursorResult
from sqlalchemy.ext.asyncio import AsyncConnection

from factory_mcp.domain.model import Json
from factory_mcp.stores.sql.tables import AnyText, metadata, node_tokens

Entering = Callable[[AsyncConnection, str], Awaitable[None]]

_INSERTS: Final = {table: insert(table) for table in metadata.sorted_tables}
"""In an order in which no row comes before the one it refers to."""

_TEXT: Final = AnyText()
_GIVEN: Final = (
    func.json_to_recordset(bindparam("rows", type_=JSON))
    .table_valued(*(column(each.name, each.type) for each in node_tokens.c))
    .render_derived(with_types=True)
)
_WORDS: Final = insert(node_tokens).from_select(list(node_tokens.c.keys()), select(_GIVEN))
"""A node has many words, and Postgres takes a statement for each row: so it is given one value."""


class Unit:
    """One transaction, for one tenant after the other.

    Args:
        connection: One that has begun.
        entering: Called when another tenant's work begins.
        feeds: Whether projections are fed from this database, so that it keeps an outbox.
    """

    def __init__(
        self,
        connection: AsyncConnection,
        *,
        entering: Entering | None = None,
        feeds: bool = False,
    ) -> None:
        self.connection, self.feeds = connection, feeds
        self.known: dict[tuple[str, ...], Any] = {}
        """What this transaction has locked and read of the tenant, as it stands by now."""
        self._entering, self._tenant = entering, None
        self._rows: defaultdict[Table, list[Json]] = defaultdict(list)
        self._moves: dict[Update, dict[tuple[Any, ...], Json]] = {}

    async def enter(self, tenant: str) -> None:
        """What follows is this tenant's."""
        if tenant != self._tenant:
            await self.flush()
            self.known.clear()
            if self._entering:
                await self._entering(self.connection, tenant)
            self._tenant: str | None = tenant

    def put(self, table: Table, rows: Sequence[Json]) -> None:
        """Insert rows at the latest when the transaction ends; all name the same columns."""
        if rows:
            self._rows[table] += rows

    def move(self, statement: Update, row: tuple[Any, ...], values: Json) -> None:
        """Update one row likewise; of several updates of a row the last one counts."""
        self._moves.setdefault(statement, {})[row] = values

    async def execute(
        self, statement: Executable, parameters: Mapping[str, Any] | Sequence[Json] | None = None
    ) -> CursorResult[Any]:
        """Run a statement that sees all that was done before."""
        await self.flush()
        return await self.connection.execute(statement, parameters)

    async def peek(self, statement: Executable, parameters: Mapping[str, Any]) -> CursorResult[Any]:
        """Run a statement that needs to see nothing of what was put and moved."""
        return await self.connection.execute(statement, parameters)

    async def flush(self) -> None:
        """Write what was put and moved."""
        if self._rows:
            rows, self._rows = self._rows, defaultdict(list)
            for table, statement in _INSERTS.items():
                if table in rows:
                    await self._insert(statement, rows[table])
        if self._moves:
            moves, self._moves = self._moves, {}
            for update, values in moves.items():
                await self.connection.execute(update, list(values.values()))

    async def _insert(self, statement: Insert, rows: list[Json]) -> None:
        dialect = self.connection.dialect
        if dialect.name == "postgresql" and statement.table is node_tokens:
            given = [{name: _stored(value, dialect) for name, value in row.items()} for row in rows]
            await self.connection.execute(_WORDS, {"rows": given})
        else:
            await self.connection.execute(statement, rows)


def _stored(value: Any, dialect: Dialect) -> Any:
    """A value as its column would have it stored."""
    return _TEXT.process_bind_param(value, dialect) if isinstance(value, str) else value
