"""Every error of SQLAlchemy, SQLite and the file system, as one of ours that says what to do."""

import errno
import sqlite3
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy.exc import SQLAlchemyError, StatementError

from factory_mcp.domain.errors import Refused, StoreFull, StoreUnavailable, TooLarge


class Collision(StoreUnavailable):
    """A unique index refused a row: another writer was faster, and doing it again finds its row."""


class Held(StoreUnavailable):
    """Another process writes and does not come to an end: nobody of this one could write now."""


_HELD: Final = "Another process holds the store; end it, or wait and call again."
_RIGHTS: Final = "Make the data folder and the files in it writable for the user who runs this."
_PLACE: Final = "FACTORY_MCP_DATA must name a folder that this user can write to."
_DAMAGED: Final = "Move the file away to start with an empty store, or put a backup in its place."
_DEVICE: Final = "The disk or the memory failed; the system's log says how."
_DOCTOR: Final = StoreUnavailable.remedy

MEANING: Final[Mapping[int, tuple[type[Refused], str]]] = {
    sqlite3.SQLITE_ERROR: (StoreUnavailable, _DOCTOR),
    sqlite3.SQLITE_INTERNAL: (StoreUnavailable, _DOCTOR),
    sqlite3.SQLITE_PERM: (StoreUnavailable, _RIGHTS),
    sqlite3.SQLITE_ABORT: (StoreUnavailable, _DOCTOR),
    sqlite3.SQLITE_BUSY: (Held, _HELD),
    sqlite3.SQLITE_LOCKED: (Held, _HELD),
    sqlite3.SQLITE_NOMEM: (StoreUnavailable, _DEVICE),
    sqlite3.SQLITE_READONLY: (StoreUnavailable, _RIGHTS),
    sqlite3.SQLITE_INTERRUPT: (StoreUnavailable, _DOCTOR),
    sqlite3.SQLITE_IOERR: (StoreUnavailable, _DEVICE),
    sqlite3.SQLITE_CORRUPT: (StoreUnavailable, _DAMAGED),
    sqlite3.SQLITE_NOTFOUND: (StoreUnavailable, _DOCTOR),
    sqlite3.SQLITE_FULL: (StoreFull, StoreFull.remedy),
    sqlite3.SQLITE_CANTOPEN: (StoreUnavailable, _PLACE),
    sqlite3.SQLITE_PROTOCOL: (Held, _HELD),
    sqlite3.SQLITE_EMPTY: (StoreUnavailable, _DOCTOR),
    sqlite3.SQLITE_SCHEMA: (StoreUnavailable, _DOCTOR),
    sqlite3.SQLITE_TOOBIG: (TooLarge, TooLarge.remedy),
    sqlite3.SQLITE_CONSTRAINT: (Collision, _DOCTOR),
    sqlite3.SQLITE_MISMATCH: (StoreUnavailable, _DOCTOR),
    sqlite3.SQLITE_MISUSE: (StoreUnavailable, _DOCTOR),
    sqlite3.SQLITE_NOLFS: (StoreUnavailable, _DEVICE),
    sqlite3.SQLITE_AUTH: (StoreUnavailable, _RIGHTS),
    sqlite3.SQLITE_FORMAT: (StoreUnavailable, _DAMAGED),
    sqlite3.SQLITE_RANGE: (StoreUnavailable, _DOCTOR),
    sqlite3.SQLITE_NOTADB: (StoreUnavailable, _DAMAGED),
    sqlite3.SQLITE_NOTICE: (StoreUnavailable, _DOCTOR),
    sqlite3.SQLITE_WARNING: (StoreUnavailable, _DOCTOR),
}
"""SQLite's result codes; an extended code means what its lowest byte means."""

_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


def translate(error: SQLAlchemyError | sqlite3.Error | OSError, path: Path) -> Refused:
    """The error as ours: it names the file and the cause, and never what was to be written."""
    cause = error.orig if isinstance(error, StatementError) and error.orig else error
    if isinstance(cause, OSError):
        full = cause.errno in _NO_SPACE
        kind, remedy = (StoreFull, StoreFull.remedy) if full else (StoreUnavailable, _PLACE)
        return kind(f"The store {path} cannot be used: {cause.strerror}.", remedy=remedy)
    code: int | None = getattr(cause, "sqlite_errorcode", None)
    if code is None:
        return StoreUnavailable(f"The store {path} cannot be used: {type(cause).__name__}.")
    kind, remedy = MEANING[code & 0xFF]
    return kind(f"The store {path} cannot be used: {cause}.", remedy=remedy)


@contextmanager
def translated(path: Path) -> Generator[None]:
    """Whatever goes wrong with the store inside leaves as one of our errors."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        raise translate(error, path) from error
