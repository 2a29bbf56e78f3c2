"""What was used last stays: a mapping with a limit of entries and of their sizes."""

from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Lru(Generic[K, V]):
    """Drops what was unused the longest once it holds too much.

    Args:
        entries: How many it holds at most.
        size: How much they measure together at most; what is larger by itself is not kept.
    """

    def __init__(self, *, entries: int, size: int) -> None:
        self._entries, self._room = entries, size
        self._kept: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self.size = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: K) -> V | None:
        """What was put there, which is now used last."""
        found = self._kept.get(key)
        if found is None:
            return None
        self._kept.move_to_end(key)
        return found[0]

    def put(self, key: K, value: V, size: int = 0) -> None:
        """Keep a value, in the place of another of that key."""
        self.drop(key)
        if size > self._room:
            return
        self._kept[key] = value, size
        self.size += size
        while len(self._kept) > self._entries or self.size > self._room:
            _, (_, freed) = self._kept.popitem(last=False)
            self.size -= freed

    def drop(self, key: K) -> None:
        """Forget a key, if it is there."""
        found = self._kept.pop(key, None)
        if found is not None:
            self.size -= found[1]

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()
        self.size = 0
