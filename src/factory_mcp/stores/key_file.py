"""Where the key ring is kept: a file for this user's eyes only, or the environment."""

import os
import stat
import tempfile
from collections.abc import Generator, Hashable
from contextlib import contextmanager, suppress
from pathlib import Path

from factory_mcp.domain.seal_errors import KeyRingUnusable


class KeyText:
    """A ring that was handed over as text, and that nobody can change from here."""

    def __init__(self, text: str, where: str) -> None:
        self._text, self.where = text, where

    def version(self) -> Hashable:
        """Always the same."""
        return 0

    def read(self) -> str:
        """The text."""
        return self._text

    def write(self, text: str, *, new: bool = False) -> bool:  # noqa: ARG002 — no room for either
        """Nothing can be written."""
        return False


class KeyFile:
    """A file of mode 0600.

    Args:
        path: Its place.
        make: Whether it may be made; a file that somebody named must be there.
    """

    def __init__(self, path: Path, *, make: bool) -> None:
        self._path, self._make = path, make
        self.where = str(path)

    def version(self) -> Hashable:
        """Changes with the file; a ring that is gone is not remembered.

        Raises:
            KeyRingUnusable: There is no file.
        """
        with self._translated():
            found = self._path.stat()
        return found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode

    def read(self) -> str:
        """The text.

        Raises:
            KeyRingUnusable: It cannot be read, or others can read it too.
        """
        with self._translated():
            if stat.S_IMODE(self._path.stat().st_mode) & 0o077:
                raise KeyRingUnusable(
                    f"The key ring {self._path} can be read by others.",
                    remedy=f"Run: chmod 600 {self._path}",
                )
            return self._path.read_text(encoding="ascii", errors="replace")

    def write(self, text: str, *, new: bool = False) -> bool:
        """Keep the text, on disk before its name leads to it.

        Args:
            text: The whole ring.
            new: Only if there is no file yet.

        Raises:
            KeyRingUnusable: The folder cannot be written.
        """
        if new and (self._path.exists() or not self._make):
            return False
        with self._translated("Make its folder writable for the user who runs this."):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft = self._draft(text)
            if new:
                with suppress(FileExistsError):
                    self._path.hardlink_to(draft)
                draft.unlink()
            else:
                draft.replace(self._path)
            _flush(self._path.parent)
        return True

    def _draft(self, text: str) -> Path:
        handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=f"{self._path.name}.")
        with os.fdopen(handle, "w", encoding="ascii") as file:  # mkstemp's mode is 0600
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        return Path(name)

    @contextmanager
    def _translated(self, remedy: str | None = None) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise KeyRingUnusable(
                f"The key ring {self._path} cannot be used: {error.strerror}.", remedy=remedy
            ) from error


def _flush(folder: Path) -> None:
    """Make a name in the folder last."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
