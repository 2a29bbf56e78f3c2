"""An embedder of the user's own: a folder in model2vec's format, as its `save_pretrained` makes it.

Nothing is fetched: what is not in the folder is missing.
"""

import json
import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from factory_mcp.domain.search_errors import EmbedderUnusable
from factory_mcp.ports import Check

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FILES: Final = ("config.json", "model.safetensors", "tokenizer.json")
"""What a folder must have; the embedder's id follows from what is in them."""

_REMEDY: Final = (
    "FACTORY_MCP_EMBEDDER must name a model2vec folder, whole: "
    + ", ".join(FILES)
    + "; or unset it."
)


class FolderEmbedder:
    """The port Embedder over a folder; loaded when it is first used.

    Args:
        folder: Where the model is.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loading = Lock()
        self._id: str | None = None
        self._model: Any = None

    @property
    def id(self) -> str:
        """The folder's name and what is in its files; read when it is first asked for.

        Raises:
            EmbedderUnusable: They cannot be read.
        """
        if self._id is None:
            self._id = f"{self._folder.name}@{self._digest()[:12]}"
        return self._id

    def embed(self, texts: Sequence[str]) -> "NDArray[np.float32]":
        """A row of float32 for each text, of unit length; zero where no word is known.

        Raises:
            EmbedderUnusable: The folder does not hold a model that can be used.
        """
        with self._loading:
            if self._model is None:
                self._model = self._load()
        whole = [text.encode("utf-8", "replace").decode() for text in texts]  # no lone surrogates
        return _unit(self._model.encode(whole, use_multiprocessing=False))

    def check(self) -> Check:
        """Whether it could be used, for `doctor`; it is loaded and tried."""
        try:
            dimensions = self.embed(["a word"]).shape[1]
        except EmbedderUnusable as error:
            return Check(name="embedder", ok=False, detail=error.message, fix=error.remedy)
        detail = f"{self.id}, {dimensions} dimensions, from {self._folder}"
        return Check(name="embedder", ok=True, detail=detail)

    def _digest(self) -> str:
        found = sha256()
        for name in FILES:
            try:
                found.update(sha256((self._folder / name).read_bytes()).digest())
            except OSError as error:
                raise self._unusable(f"{name} cannot be read: {error.strerror}") from error
        return found.hexdigest()

    def _load(self) -> Any:
        _ = self.id  # so that it is known, and that the files are there: else it would be fetched
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when it is imported
        try:
            json.loads((self._folder / FILES[0]).read_bytes())
            from model2vec import StaticModel  # noqa: PLC0415 — takes 0.4 s with numpy

            model = StaticModel.from_pretrained(self._folder)
            self._try(model.encode(["a word"], use_multiprocessing=False))
        except EmbedderUnusable:
            raise
        except Exception as error:  # its parts written in Rust raise nothing narrower
            cause = " ".join(str(error).split())[:100]
            raise self._unusable(f"it does not load: {type(error).__name__}: {cause}") from error
        return model

    def _try(self, made: Any) -> None:
        import numpy as np  # noqa: PLC0415 — likewise

        if made.ndim != 2 or not made.shape[1] or not np.isfinite(made).all():  # noqa: PLR2004
            raise self._unusable("it makes no vectors")

    def _unusable(self, why: str) -> EmbedderUnusable:
        return EmbedderUnusable(f"The model in {self._folder}: {why}.", remedy=_REMEDY)


def _unit(made: Any) -> "NDArray[np.float32]":
    """Rows of unit length, whatever the model says of its own; zero where they are zero."""
    import numpy as np  # noqa: PLC0415 — likewise

    rows = made.astype(np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1)
