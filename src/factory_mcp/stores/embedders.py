"""Which embedder it is: the bundled one, a folder's, or one behind an address."""

from pathlib import Path

from factory_mcp.ports import Clock, Rng
from factory_mcp.stores.embed import StaticEmbedder
from factory_mcp.stores.embed_endpoint import EndpointEmbedder
from factory_mcp.stores.embed_folder import FolderEmbedder


def embedder_of(
    where: Path | str | None,
    *,
    clock: Clock,
    rng: Rng,
    model: str = "",
    key: str | None = None,
    authorities: Path | None = None,
) -> StaticEmbedder | FolderEmbedder | EndpointEmbedder:
    """The embedder that was named; each has a `check` for `doctor`, which may block.

    Args:
        where: A folder, or an OpenAI-compatible address; None is the bundled one.
        clock: For an address: when to ask it again after it failed.
        rng: For an address: so that not all processes ask it at once.
        model: For an address: the model's name there.
        key: For an address: its bearer.
        authorities: For an address: a PEM file of those whose certificates are believed.
    """
    match where:
        case None:
            return StaticEmbedder()
        case Path():
            return FolderEmbedder(where)
        case str():
            return EndpointEmbedder(
                where, model, key, clock=clock, rng=rng, authorities=authorities
            )
