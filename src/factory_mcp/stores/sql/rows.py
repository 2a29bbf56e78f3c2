"""Rows as they are stored, the same in every SQL database: nothing decoded, nothing opened."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from sqlalchemy import LargeBinary, Table, TableClause, Text, column, func, select, table, tuple_
from sqlalchemy.engine.default import DefaultDialect

from factory_mcp.domain.model import Json
from factory_mcp.stores.sql.tables import AnyText, JsonText
from factory_mcp.stores.sql.unit import Unit

MOST: Final = 500
"""Rows of a page."""
FIRST: Final = 50
"""Those of the first page, as long as nobody knows how long they are."""
ROOM: Final = 4 * 1024 * 1024
"""Bytes of a page, about."""

_DIALECT: Final = DefaultDialect()
_NAMES: Final = AnyText()

Stored = tuple[Any, ...]


def stored_name(name: str) -> str:
    """A tenant's name as the rows have it."""
    return _NAMES.process_bind_param(name, _DIALECT) or ""


def name_of(stored: str) -> str:
    """A tenant's name as it is."""
    return _NAMES.process_result_value(stored, _DIALECT) or ""


@dataclass(frozen=True, kw_only=True)
class StoredTable:
    """A table whose columns give what is stored in them."""

    table: Table

    @cached_property
    def raw(self) -> TableClause:
        """The table, its texts as they are."""
        return table(
            self.table.name,
            *(
                column(c.name, Text() if isinstance(c.type, AnyText | JsonText) else c.type)
                for c in self.table.columns
            ),
        )

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """All but the tenant."""
        return tuple(c.name for c in self.table.columns if c.name != "tenant")

    @cached_property
    def binary(self) -> tuple[str, ...]:
        """Those that hold bytes."""
        return tuple(c.name for c in self.table.columns if isinstance(c.type, LargeBinary))

    @cached_property
    def key(self) -> tuple[str, ...]:
        """What tells a tenant's rows apart."""
        return tuple(c.name for c in self.table.primary_key.columns if c.name != "tenant")

    async def count(self, unit: Unit, tenant: str) -> int:
        """How many rows a tenant has."""
        query = select(func.count()).select_from(self.raw)
        query = query.where(self.raw.c.tenant == stored_name(tenant))
        return (await unit.execute(query)).scalar_one()

    async def pages(self, unit: Unit, tenant: str) -> AsyncGenerator[Sequence[Stored]]:
        """A tenant's rows in the order of their keys, some at a time."""
        keys = [self.raw.c[name] for name in self.key]
        query = select(*(self.raw.c[name] for name in self.columns)).order_by(*keys)
        query = query.where(self.raw.c.tenant == stored_name(tenant))
        places, limit, page = [self.columns.index(name) for name in self.key], FIRST, query
        while rows := (await unit.execute(page.limit(limit))).all():
            yield [tuple(row) for row in rows]
            if len(rows) < limit or not keys:
                return
            page = query.where(tuple_(*keys) > tuple_(*(rows[-1][place] for place in places)))
            limit = max(1, min(MOST, len(rows) * ROOM // (_size(rows) or 1)))

    def decoded(self, tenant: str, row: Stored) -> Json:
        """A row as the rest of the program knows it.

        Raises:
            ValueError: It holds what nobody writes; TypeError likewise.
        """
        values: Json = {"tenant": tenant}
        for name, value in zip(self.columns, row, strict=True):
            kind = self.table.c[name].type
            if isinstance(kind, AnyText | JsonText):
                values[name] = kind.process_result_value(value, _DIALECT)
            else:
                values[name] = value
        return values


def _size(rows: Sequence[Any]) -> int:
    return sum(len(value) for row in rows for value in row if isinstance(value, bytes | str))
