"""A key ring that is the same in every test, and sealers that use it."""

from typing import Final

from factory_mcp.domain.key_ring import KeyRing
from factory_mcp.services.sealing import Sealing
from factory_mcp.stores.key_file import KeyText

OLD, NEW = b"o" * 32, b"n" * 32
RING: Final = KeyRing(index=b"i" * 32, keys={}).plus(OLD)
TWO: Final = RING.plus(NEW)


def sealing(ring: KeyRing = RING) -> Sealing:
    """The real sealer over a ring."""
    return Sealing(KeyText(ring.text(), "the test's ring"))
