"""What can go wrong with search by meaning; a branch of the tree in `errors.py`.

Refused
└── EmbedderUnusable        embedder_unusable          503
"""

from factory_mcp.domain.errors import Refused


class EmbedderUnusable(Refused):
    """Texts cannot be made into vectors: searches go by keywords, and say `partial`."""

    code = "embedder_unusable"
    http = 503
    remedy = "Install factory-mcp again; until then searches go by keywords alone."
