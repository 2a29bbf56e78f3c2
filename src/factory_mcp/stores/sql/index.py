"""The nodes of one tenant in memory, scored against a query with numpy: exact, no neighbour missed.

Vectors lie here as the embedder made them. Before they are stored they are rotated, each tenant's
by a matrix of its own, which changes no distance between them and no longer lets words be read out
of them with the embedder's public table.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from factory_mcp.domain.fuse import NEAR, fused
from factory_mcp.domain.keywords import bm25, rarity

Vectors: TypeAlias = NDArray[np.float32]
Rows: TypeAlias = NDArray[np.intp]
Postings: TypeAlias = Sequence[tuple[str, int]]
"""Who holds a word, and how often."""

STORED: Final = np.dtype("<f2")
_GONE: Final = -1
_BLOCK: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a search can be narrowed by, and how many words the node has."""

    id: str
    droid: str | None
    workspace_key: str | None
    length: int


class TenantIndex:
    """All nodes that have been looked at; one without a vector has zeros.

    Not for two threads at once.
    """

    def __init__(self, dimensions: int) -> None:
        self.dimensions, self.seq = dimensions, 0
        self._ids: list[str] = []
        self._rows: dict[str, int] = {}
        self._codes: dict[str | None, int] = {}
        # A column for each node: so they are compared in half the time that rows take.
        self._vectors: Vectors = np.zeros((dimensions, 0), np.float32)
        self._about: NDArray[np.int32] = np.zeros((3, 0), np.int32)

    def put(self, facts: Sequence[Facts], vectors: Vectors) -> None:
        """Add nodes, or give those that are there new vectors."""
        rows = [self._row(fact.id) for fact in facts]
        self._make_room(len(self._ids))
        self._vectors[:, rows] = vectors.T
        self._about[:, rows] = (
            [self._code(fact.droid) for fact in facts],
            [self._code(fact.workspace_key) for fact in facts],
            [fact.length for fact in facts],
        )

    def drop(self, ids: Sequence[str]) -> None:
        """Forget nodes that were deleted."""
        rows = [self._rows.pop(node) for node in ids if node in self._rows]
        self._about[:, rows] = _GONE

    def cosines(self, query: Vectors) -> Vectors:
        """How alike the query each node is."""
        return query @ self._vectors[:, : len(self._ids)]

    def best(
        self,
        cosine: Vectors,
        words: Sequence[Postings],
        limit: int,
        *,
        droid: str | None = None,
        workspace_key: str | None = None,
    ) -> list[tuple[str, float]]:
        """The ids of the best nodes and their scores, best first, of equal ones the newest.

        Args:
            cosine: What `cosines` gave.
            words: The holders of each of its words.
            limit: How many nodes.
            droid: Only this droid's nodes.
            workspace_key: Only this workspace's.
        """
        if not self._ids:
            return []
        scope = self._scope(len(self._ids), droid, workspace_key)
        score = np.where(scope & (cosine >= NEAR), cosine, 0)
        keywords = self._keywords(words, scope)
        rows = np.flatnonzero(keywords)
        score[rows] = fused(np.maximum(cosine[rows], 0), keywords[rows])
        top = np.flatnonzero((score > 0) & (score >= _floor(score, limit)))
        found = [(self._ids[row], float(score[row])) for row in top]
        return sorted(found, key=lambda hit: (hit[1], hit[0]), reverse=True)[:limit]

    def _scope(self, size: int, droid: str | None, workspace_key: str | None) -> NDArray[np.bool_]:
        droids, workspaces, lengths = self._about[:, :size]
        scope = lengths != _GONE
        if droid is not None:
            scope &= droids == self._codes.get(droid, _GONE)
        if workspace_key is not None:
            scope &= workspaces == self._codes.get(workspace_key, _GONE)
        return scope

    def _keywords(self, words: Sequence[Postings], scope: NDArray[np.bool_]) -> NDArray[np.float64]:
        """BM25 of every node, as the database would work it out within the same scope."""
        score = np.zeros(len(scope))
        documents = int(np.count_nonzero(scope))
        lengths = self._about[2, : len(scope)]
        mean = float(lengths.sum(where=scope)) / max(documents, 1)
        for postings in words:
            size = len(postings)
            rows = np.fromiter((self._rows.get(node, -1) for node, _ in postings), np.intp, size)
            counts = np.fromiter((count for _, count in postings), np.intp, size)
            known = (rows >= 0) & scope[rows]
            rows, counts = rows[known], counts[known]
            if len(rows):
                score[rows] += bm25(counts, lengths[rows], mean, rarity(documents, len(rows)))
        return score

    def _row(self, id: str) -> int:  # noqa: A002
        row = self._rows.setdefault(id, len(self._ids))
        if row == len(self._ids):
            self._ids.append(id)
        return row

    def _code(self, name: str | None) -> int:
        return self._codes.setdefault(name, len(self._codes))

    def _make_room(self, size: int) -> None:
        room = self._vectors.shape[1]
        if size > room:
            more = (0, max(size, 2 * room) - room)
            self._vectors = np.pad(self._vectors, ((0, 0), more))
            self._about = np.pad(self._about, ((0, 0), more))


def _floor(score: Vectors, limit: int) -> float:
    """A score that at least so many nodes reach, and few more: faster than to sort them."""
    highest = np.maximum.reduceat(score, np.arange(0, len(score), _BLOCK))
    return float(np.partition(highest, -limit)[-limit]) if limit < len(highest) else 0.0


def drawn(dimensions: int) -> Vectors:
    """An orthogonal matrix, every one as likely as any other."""
    size = 2 * dimensions * dimensions
    one, two = np.frombuffer(secrets.token_bytes(8 * size), "<u8").reshape(2, -1) / 2.0**64
    normal = np.sqrt(-2 * np.log1p(-one)) * np.cos(2 * np.pi * two)
    q, r = np.linalg.qr(normal.reshape(dimensions, dimensions))
    return (q * np.sign(np.diag(r))).astype(np.float32)


def to_bytes(vectors: Vectors, matrix: Vectors) -> list[bytes]:
    """Vectors as they are stored, rotated; 2 bytes for each number."""
    return [row.tobytes() for row in (vectors @ matrix).astype(STORED)]


def from_bytes(stored: Sequence[bytes], matrix: Vectors) -> Vectors:
    """What `to_bytes` was given, as exactly as 2 bytes can say it."""
    return np.frombuffer(b"".join(stored), STORED).reshape(-1, len(matrix)) @ matrix.T


def matrix_to_bytes(matrix: Vectors) -> bytes:
    """A matrix as it is stored."""
    return matrix.astype("<f4").tobytes()


def matrix_from_bytes(stored: bytes) -> Vectors:
    """A stored matrix."""
    numbers = np.frombuffer(stored, "<f4")
    side = round(len(numbers) ** 0.5)
    return numbers.reshape(side, side)
