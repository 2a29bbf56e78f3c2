"""Whether the key ring at hand opens what a backup has brought."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from factory_mcp.domain.seal_errors import KeyMissing, KeyRingUnusable, SealBroken
from factory_mcp.ports import Sealer
from factory_mcp.stores.backup_file import Header
from factory_mcp.stores.sql.backup import KEPT, Found, index_of
from factory_mcp.stores.sql.sealed import SEALED

_KEY: Final = slice(1, 5)
"""Where a sealed value names its key."""
_SEALED: Final = {sealed.table.name: sealed for sealed in SEALED}


class Opening:
    """One value of each tenant, column and key is opened, and all are counted.

    Args:
        sealer: Has the ring.
    """

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer
        self._values: Counter[str] = Counter()
        self._tried: set[tuple[str, ...]] = set()
        self._missing: set[str] = set()
        self._other: dict[str, None] = {}  # an ordered set

    def look(self, found: Found) -> None:
        """Some rows that are there now."""
        table, sealed = KEPT[found.section.table], _SEALED.get(found.section.table)
        for name in sealed.columns if sealed else ():
            place = table.columns.index(name)
            for row in found.rows:
                if row[place] is not None:
                    self._see(found, name, row, row[place])

    def problems(self, header: Header) -> Sequence[str]:
        """What does not open, one sentence each."""
        keys = [
            f"The key {key} is missing in the key ring: {self._values[key]} values were sealed"
            " with it. Put it back, and they can be read."
            for key in sorted(self._missing)
        ]
        if header.index not in (None, index_of(self._sealer)):
            keys.append(
                "The key ring has another index key: what was there before is not found by its"
                " words, and repeated calls are not recognised. Put the old ring in its place."
            )
        return [*self._other, *keys]

    def _see(self, found: Found, name: str, row: Sequence[Any], value: bytes) -> None:
        key = value[_KEY].hex()
        self._values[key] += 1
        kind = found.tenant, found.section.table, name, key
        if kind in self._tried:
            return
        self._tried.add(kind)
        whole = KEPT[found.section.table].decoded(found.tenant, tuple(row))
        try:
            self._sealer.unseal(_SEALED[found.section.table].place(name, whole), value)
        except KeyMissing:
            self._missing.add(key)
        except (SealBroken, KeyRingUnusable) as error:
            self._other[error.message] = None
