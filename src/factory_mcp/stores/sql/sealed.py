"""The tables with sealed columns, and their rows as they are inside and outside of the store."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Table

from factory_mcp.domain.model import Json, Unreadable
from factory_mcp.domain.seal_errors import KeyMissing, SealBroken, error_of
from factory_mcp.ports import Place, Sealer
from factory_mcp.stores.sql.tables import history, nodes, rotations, runs, vectors


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedTable:
    """Which columns of a table are sealed, and which say where a row stands.

    A sealed column holds JSON text, or NULL for None; those `needed` are never None.
    """

    table: Table
    columns: tuple[str, ...]
    needed: tuple[str, ...] = ()
    id: str = "id"
    revision: str | None = None

    def place(self, column: str, row: Mapping[Any, Any]) -> Place:
        """Where a value of the row stands."""
        return Place(
            tenant=row["tenant"],
            table=f"{self.table.name}.{column}",
            id=row[self.id],
            revision=row[self.revision] if self.revision else 0,
        )

    def close(self, sealer: Sealer, values: Json, row: Mapping[Any, Any]) -> Json:
        """The values as they are stored.

        Args:
            sealer: Seals them.
            values: By column; those of other columns stay as they are.
            row: Where they belong: tenant, id and revision.
        """
        sealed = {
            name: sealer.seal(self.place(name, row), _to_bytes(values[name]))
            for name in self.columns
            if values.get(name) is not None
        }
        return {**values, **sealed}

    def open(self, sealer: Sealer, row: Mapping[Any, Any]) -> Json:
        """The row in the clear.

        Raises:
            SealBroken: A value was damaged or changed.
            KeyMissing: The key of a value is gone.
        """
        values, why = self.try_to_open(sealer, row)
        if why is not None:
            raise error_of(why)
        return values

    def try_to_open(self, sealer: Sealer, row: Mapping[Any, Any]) -> tuple[Json, Unreadable | None]:
        """The row in the clear, what does not open as None; and why the first of it did not.

        Raises:
            KeyRingUnusable: Nothing can be opened now.
        """
        values, unreadable = dict(row), None
        for name in self.columns:
            if values.get(name) is None and name not in self.needed:
                continue
            try:
                values[name] = self._opened(sealer, row, name)
            except (SealBroken, KeyMissing) as why:
                values[name] = None
                unreadable = unreadable or Unreadable(code=why.code, message=why.message)
        return values, unreadable

    def _opened(self, sealer: Sealer, row: Mapping[Any, Any], name: str) -> Any:
        sealed = row[name] or b""  # a needed value that is gone is as broken as an empty one
        return _from_bytes(sealer.unseal(self.place(name, row), sealed))


RUNS: Final = SealedTable(
    table=runs,
    columns=("request", "workspace", "progress", "cancel_reason", "envelope", "output"),
    needed=("request",),
)
REASONS: Final = SealedTable(table=runs, columns=("cancel_reason",))
"""Only why a run was cancelled, for rows without the rest."""
HISTORY: Final = SealedTable(
    table=history, columns=("envelope",), needed=("envelope",), id="run_id", revision="seq"
)
NODES: Final = SealedTable(
    table=nodes, columns=("summary", "data"), needed=("summary", "data"), revision="revision"
)
VECTORS: Final = SealedTable(
    table=vectors, columns=("vector",), id="node_id", revision="generation"
)
ROTATIONS: Final = SealedTable(
    table=rotations, columns=("matrix",), needed=("matrix",), id="tenant", revision="generation"
)
"""Both hold numbers, and not JSON: only their places are of use."""

SEALED: Final = (RUNS, HISTORY, NODES, VECTORS, ROTATIONS)
"""All there are: what is not among them is not sealed anew when keys are rotated."""


def blind_word(sealer: Sealer, tenant: str, word: str) -> str:
    """A word of the keyword index."""
    return sealer.blind(tenant, f"word {word}")


def blind_key(sealer: Sealer, tenant: str, key: str) -> str:
    """A client's key of a call."""
    return sealer.blind(tenant, f"key {key}")


def _to_bytes(value: Any) -> bytes:
    # Not as ASCII escapes: those join two lone halves of a surrogate pair when they are read.
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass")


def _from_bytes(plain: bytes) -> Any:
    return json.loads(plain.decode("utf-8", "surrogatepass"))
