"""How much a note answers a query: alike in meaning, and a little for the very words.

Cosine plus a small share of the keyword score, because paraphrases get lost when both count alike
(by reciprocal ranks, say), and names and codes when the keywords do not count at all.
"""

from typing import Any, Final

NEAR: Final = 0.1
"""A cosine below it says nothing: such a note is found by its words, or not at all."""

_SHARE: Final = 0.1
_HALF: Final = 6.0


def fused(cosine: Any, keywords: Any) -> Any:
    """The score, from 0 to 1.1; of numbers, or of arrays.

    Args:
        cosine: From 0 to 1.
        keywords: BM25, from 0 on; at 6 it counts half of what it can.
    """
    return cosine + _SHARE * keywords / (keywords + _HALF)
