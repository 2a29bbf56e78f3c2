"""The words of a text as the search index knows them, and how well they match (BM25)."""

import math
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final, cast

from factory_mcp.domain.model import Json

WORD_LIMIT: Final = 64
"""Characters of a word that count; what is longer is a blob, not a word."""

_K1: Final = 1.2
_B: Final = 0.75

_WHOLE: Final = re.compile(r"\w+(?:[./\\:@+-]+\w+)*")
_SEAM: Final = re.compile(r"[\W_]+|(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_DOUBLED: Final = re.compile(r"([bdfgmnprt])\1$")
_VOWEL: Final = re.compile(r"[aeiouy]")


def tokens(text: str) -> list[str]:
    """The words of a text, in order and as often as they occur.

    Words are casefolded and reduced to their stem. A name such as `snake_case`, `camelCase` or
    `a/path.py` gives itself and its parts.
    """
    return [word for whole in _WHOLE.findall(text) for word in _words(whole)]


@lru_cache(maxsize=1 << 14)
def _words(whole: str) -> tuple[str, ...]:
    """What one word or name gives; most of a text are words that were met before."""
    parts = [part.casefold() for part in _SEAM.split(whole) if part]
    name = () if parts == [whole.casefold()] else (whole.casefold()[:WORD_LIMIT],)
    return (*name, *(_stem(part)[:WORD_LIMIT] for part in parts))


def telling(words: list[str]) -> list[str]:
    """The words of a query without those that are in every text; all of them if nothing is left."""
    return [word for word in words if word not in FILLERS] or words


def texts_in(value: Any) -> Iterator[str]:
    """What can be read in a JSON value: its keys, texts and numbers."""
    match value:
        case dict():
            for key, inner in cast("Json", value).items():
                yield key
                yield from texts_in(inner)
        case list():
            for inner in cast("list[Any]", value):
                yield from texts_in(inner)
        case str() | int() | float():
            yield str(value)
        case _:
            return


def rarity(documents: int, holding: int) -> float:
    """How much a word tells: the more, the fewer of the documents hold it; above zero."""
    return math.log(1 + (documents - holding + 0.5) / (holding + 0.5))


def bm25(count: Any, length: Any, average: Any, weight: Any) -> Any:
    """What one word adds to a document's score; of numbers, or of SQL expressions.

    Args:
        count: How often the document has the word.
        length: How many words the document has.
        average: How many words a document has on average.
        weight: The word's rarity.
    """
    return weight * count * (_K1 + 1) / (count + _K1 * (1 - _B + _B * length / average))


def _stem(word: str) -> str:
    """The word without the commonest endings: caches, cached and caching are one."""
    if len(word) <= 3:  # noqa: PLR2004 — red, bed, his: nothing to take off
        return word
    if word.endswith(("ies", "ied")):
        return f"{word[:-3]}y"
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    stem = word.removesuffix("ing").removesuffix("ed")
    if stem != word and len(stem) > 2 and _VOWEL.search(stem):  # noqa: PLR2004 — need, used
        word = _DOUBLED.sub(r"\1", stem)
    return word.removesuffix("e") if len(word) > 3 else word  # noqa: PLR2004 — use


FILLERS: Final = frozenset(
    tokens(
        "a about after all also an and any are as at be because been before being but by can could"
        " did do does doing done each for from had has have he her here him his how i if in into is"
        " it its just may me might must my no nor not now of on once only or other our over own she"
        " should so some such than that the their them then there these they this those through to"
        " too until up us was we were what when where which while who whose why will with would you"
        " your"
    )
)
"""English words that say nothing about a text, as `tokens` gives them."""
