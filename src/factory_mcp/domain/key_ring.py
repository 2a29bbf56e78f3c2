"""The key ring as text: the keys that seal the store, and the one that blinds its index.

    # a comment
    index:1f0a77c2:<32 bytes in base64url>
    key:93ab44d0:<32 bytes>        the oldest
    key:5e21c8f7:<32 bytes>        the newest, which seals
    next:08d3c61e:<32 bytes>       opens already, and seals once every replica has it

On one line the entries are separated by spaces or commas. The second part follows from the third,
so that a damaged or half-pasted key is found at once.
"""

import hashlib
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any, Final

from factory_mcp.domain.seal_errors import KeyRingUnusable

KEY_BYTES: Final = 32
ID_BYTES: Final = 4

_HEAD: Final = (
    "# The key ring of factory-mcp, oldest key first. Nothing in the store can be read without it:"
    "\n# keep a copy of it, apart from the copies of the store.\n"
)
_COMMENT: Final = re.compile(r"^\s*#.*$", re.MULTILINE)
_ENTRY: Final = re.compile(r"(index|key|next):([0-9a-f]{8}):([\w-]{43}=?)", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRing:
    """`keys` by id, oldest first; all of them open.

    `index` never changes, for the index would lose its words. `next` is the id of the key that
    does not seal yet, the last of them; None without one.
    """

    index: bytes = field(repr=False)
    keys: dict[str, bytes] = field(repr=False)
    next: str | None = None

    @property
    def newest(self) -> str:
        """The id of the key that seals."""
        return [i for i in self.keys if i != self.next][-1]

    def plus(self, key: bytes, *, waits: bool = False) -> "KeyRing":
        """The ring with one more key, the newest from now on; or one that waits to seal."""
        added = key_id(key)
        return replace(self, keys={**self.keys, added: key}, next=added if waits else None)

    def activated(self) -> "KeyRing":
        """The ring whose last key seals."""
        return replace(self, next=None)

    def minus(self, ids: Collection[str]) -> "KeyRing":
        """The ring without these keys."""
        kept = {i: key for i, key in self.keys.items() if i not in ids}
        return replace(self, keys=kept, next=None if self.next in ids else self.next)

    def text(self) -> str:
        """What a file holds."""
        return _HEAD + "".join(f"{entry}\n" for entry in self._entries())

    def line(self) -> str:
        """The same for an environment variable."""
        return ",".join(self._entries())

    def _entries(self) -> list[str]:
        kinds = {self.next: "next"}
        keys = (_entry(kinds.get(i, "key"), key) for i, key in self.keys.items())
        return [_entry("index", self.index), *keys]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewrapped:
    """How many values have a new seal, what could not be opened and why, and where to go on.

    `after` is what the next batch is asked for with; () when there is none.
    """

    values: int = 0
    broken: tuple[str, ...] = ()
    after: tuple[Any, ...] = ()


def key_id(key: bytes) -> str:
    """The name of a key, 8 hex digits; it says nothing of the key."""
    return hashlib.sha256(b"factory-mcp key id" + key).digest()[:ID_BYTES].hex()


def parse(text: str, where: str) -> KeyRing:
    """The ring that a text stands for.

    Args:
        text: As above.
        where: Where it comes from, for the message.

    Raises:
        KeyRingUnusable: It is none; the message shows nothing of a key.
    """
    found: dict[str, dict[str, bytes]] = {"index": {}, "key": {}, "next": {}}
    for number, entry in enumerate(re.split(r"[\s,]+", _COMMENT.sub("", text).strip()), 1):
        parts = _ENTRY.fullmatch(entry)
        key = urlsafe_b64decode(f"{parts[3].rstrip('=')}=") if parts else b""
        if parts is None or parts[2] != key_id(key):
            raise _unusable(where, f"entry {number} is damaged")
        if parts[2] in found[parts[1]]:
            raise _unusable(where, f"the key {parts[2]} is there twice")
        found[parts[1]][parts[2]] = key
    if len(found["index"]) != 1 or not found["key"]:
        raise _unusable(where, "it must hold one `index` and at least one `key`")
    if len(found["next"]) > 1 or found["next"].keys() & found["key"].keys():
        raise _unusable(where, "it may hold one `next`, which is no `key` besides")
    return KeyRing(
        index=next(iter(found["index"].values())),
        keys=found["key"] | found["next"],
        next=next(iter(found["next"]), None),
    )


def _entry(kind: str, key: bytes) -> str:
    return f"{kind}:{key_id(key)}:{urlsafe_b64encode(key).decode()}"


def _unusable(where: str, why: str) -> KeyRingUnusable:
    return KeyRingUnusable(f"The key ring {where} cannot be used: {why}.")
