"""Where Weaviate is."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where Weaviate is.

    Both ways are encrypted if `url` is https; then `authorities` is a PEM file of those whose
    certificates are believed, None the usual ones.
    """

    url: str
    grpc: tuple[str, int]
    key: str | None = field(default=None, repr=False)
    authorities: Path | None = None

    def __str__(self) -> str:
        return self.url.rstrip("/")
