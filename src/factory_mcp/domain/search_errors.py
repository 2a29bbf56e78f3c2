"""What can go wrong with search by meaning; a branch of the tree in `errors.py`.

Refused
├── EmbedderUnusable        embedder_unusable          503
└── IndexUnavailable        index_unavailable          503
    ├── IndexUnauthorized       index_unauthorized         503
    ├── IndexBroken             index_broken               503
    └── IndexUnfit              index_unfit                503
"""

from factory_mcp.domain.errors import Refused


class EmbedderUnusable(Refused):
    """Texts cannot be made into vectors: searches go by keywords, and say `partial`."""

    code = "embedder_unusable"
    http = 503
    remedy = "Install factory-mcp again; until then searches go by keywords alone."


class IndexUnavailable(Refused):
    """The vector index is away, silent or overloaded: searches go by keywords, in SQL."""

    code = "index_unavailable"
    http = 503
    remedy = "Start Weaviate, or correct WEAVIATE_URL; it is asked again by itself."


class IndexUnauthorized(IndexUnavailable):
    """The vector index does not accept our key, or the key may not do what we need."""

    code = "index_unauthorized"
    remedy = "Set WEAVIATE_API_KEY to a key that may read and write the collection."


class IndexBroken(IndexUnavailable):
    """The vector index answers what is no answer: something else listens there, or it is ill."""

    code = "index_broken"
    remedy = "Check that WEAVIATE_URL leads to Weaviate, and look at Weaviate's log."


class IndexUnfit(IndexUnavailable):
    """The vector index is well, but holds what was not made for us or by this embedder."""

    code = "index_unfit"
    remedy = "Run `factory-mcp sync --rebuild`: it makes the index again from the store."
