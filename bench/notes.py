"""Notes to write and to look for: random words, common ones more often than rare ones."""

import random
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

from tokenizers import Tokenizer

from factory_mcp.domain.model import ContextNode
from factory_mcp.stores.embed import BUNDLED

WORKSPACES: Final = 4
TENANT: Final = "local"


def texts(count: int, least: int, most: int, *, seed: int) -> list[list[str]]:
    """So many lists of words, common words more often than rare ones, the same each time."""
    vocabulary = Tokenizer.from_file(str(BUNDLED / "tokenizer.json")).get_vocab()
    words = [w for w in sorted(vocabulary, key=vocabulary.__getitem__) if w.isalpha() and w[2:]]
    weights = list(accumulate(1 / (rank + 10) for rank in range(len(words))))
    rng = random.Random(seed)  # noqa: S311 — repeatable on purpose
    return [
        rng.choices(words, cum_weights=weights, k=rng.randint(least, most)) for _ in range(count)
    ]


def node(number: int, words: Sequence[str]) -> ContextNode:
    """A stored note, the root of a chain of its own."""
    name = f"ctx_{number:026}"
    return ContextNode(
        id=name,
        tenant=TENANT,
        chain_id=name,
        parent_id=None,
        revision=1,
        droid="architect_droid",
        run_id=None,
        summary=" ".join(words),
        data={f"key {number}": number},
        workspace_key=f"w{number % WORKSPACES}",
        created_at=float(number),
    )
