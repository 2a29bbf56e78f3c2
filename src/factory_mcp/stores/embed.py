"""The embedder that ships with the program: a table of word vectors, whose mean is a text's vector.

It needs no network and no model of anybody's. What it is derived from is said in its NOTICE.
"""

import os
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from factory_mcp.domain.search_errors import EmbedderUnusable
from factory_mcp.ports import Check

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BUNDLED: Final = Path(__file__).parents[1] / "embedder" / "static-minilm-256"

_TABLE: Final = "84adac5c908598b9bf72e37a5ec7712f13286c9e486cc0ce4a7178dc669a99f7"
_FILES: Final[Mapping[str, str]] = {
    "config.json": "78f117ff0287650054a2a596313e72fe2e3dec4e4cc0d6348985a6e50cc19028",
    "model.safetensors": _TABLE,
    "tokenizer.json": "8eaf4ececd6958a93ca0de23cbf00d5037eb958d9e4b8541387f42be339649ff",
}
"""What it needs, by SHA-256: from a damaged table would come vectors that look like good ones."""


class StaticEmbedder:
    """The port Embedder over a table in model2vec's format; loaded when it is first used.

    Args:
        folder: Where the table is.
    """

    id = f"static-minilm-256@{_TABLE[:8]}"
    dimensions = 256

    def __init__(self, folder: Path = BUNDLED) -> None:
        self._folder = folder
        self._loading = Lock()
        self._model: Any = None

    def embed(self, texts: Sequence[str]) -> "NDArray[np.float32]":
        """A row of float32 for each text, of unit length; zero where no word is known.

        Raises:
            EmbedderUnusable: Its files are missing or damaged.
        """
        with self._loading:
            if self._model is None:
                self._model = self._load()
        whole = [text.encode("utf-8", "replace").decode() for text in texts]  # no lone surrogates
        return self._model.encode(whole, use_multiprocessing=False)

    def check(self) -> Check:
        """Whether it could be used, for `doctor`; nothing is loaded."""
        try:
            self._verify()
        except EmbedderUnusable as error:
            return Check(name="embedder", ok=False, detail=error.message, fix=error.remedy)
        detail = f"{self.id}, {self.dimensions} dimensions, English, offline"
        return Check(name="embedder", ok=True, detail=detail)

    def _load(self) -> Any:
        self._verify()
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when it is imported
        from model2vec import StaticModel  # noqa: PLC0415 — takes 0.4 s with numpy

        return StaticModel.from_pretrained(self._folder)

    def _verify(self) -> None:
        for name, expected in _FILES.items():
            path = self._folder / name
            try:
                found = sha256(path.read_bytes()).hexdigest()
            except OSError as error:
                raise EmbedderUnusable(f"{path} cannot be read: {error.strerror}.") from error
            if found != expected:
                raise EmbedderUnusable(f"{path} is damaged.")
