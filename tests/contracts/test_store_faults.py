"""Every error of SQLite, SQLAlchemy and the file system has a name and a remedy here."""

import errno
import sqlite3
from pathlib import Path
from typing import Final

import pytest
import sqlalchemy.exc
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from factory_mcp.domain.errors import Refused, StoreFull, StoreUnavailable, TooLarge
from factory_mcp.stores.sql.faults import MEANING, Collision, Held, translate, translated

PATH: Final = Path("/data/factory.db")
HELD, RIGHTS, DAMAGED, DEVICE, DOCTOR = "Another process", "writable", "backup", "log", "doctor"

EXPECTED: Final[dict[str, tuple[type[Refused], str]]] = {
    "SQLITE_ERROR": (StoreUnavailable, DOCTOR),
    "SQLITE_INTERNAL": (StoreUnavailable, DOCTOR),
    "SQLITE_PERM": (StoreUnavailable, RIGHTS),
    "SQLITE_ABORT": (StoreUnavailable, DOCTOR),
    "SQLITE_BUSY": (Held, HELD),
    "SQLITE_BUSY_SNAPSHOT": (Held, HELD),
    "SQLITE_LOCKED": (Held, HELD),
    "SQLITE_NOMEM": (StoreUnavailable, DEVICE),
    "SQLITE_READONLY": (StoreUnavailable, RIGHTS),
    "SQLITE_READONLY_DIRECTORY": (StoreUnavailable, RIGHTS),
    "SQLITE_INTERRUPT": (StoreUnavailable, DOCTOR),
    "SQLITE_IOERR": (StoreUnavailable, DEVICE),
    "SQLITE_IOERR_FSYNC": (StoreUnavailable, DEVICE),
    "SQLITE_CORRUPT": (StoreUnavailable, DAMAGED),
    "SQLITE_CORRUPT_INDEX": (StoreUnavailable, DAMAGED),
    "SQLITE_NOTFOUND": (StoreUnavailable, DOCTOR),
    "SQLITE_FULL": (StoreFull, "Free space"),
    "SQLITE_CANTOPEN": (StoreUnavailable, "FACTORY_MCP_DATA"),
    "SQLITE_PROTOCOL": (Held, HELD),
    "SQLITE_EMPTY": (StoreUnavailable, DOCTOR),
    "SQLITE_SCHEMA": (StoreUnavailable, DOCTOR),
    "SQLITE_TOOBIG": (TooLarge, "Shorten"),
    "SQLITE_CONSTRAINT": (Collision, DOCTOR),
    "SQLITE_CONSTRAINT_UNIQUE": (Collision, DOCTOR),
    "SQLITE_MISMATCH": (StoreUnavailable, DOCTOR),
    "SQLITE_MISUSE": (StoreUnavailable, DOCTOR),
    "SQLITE_NOLFS": (StoreUnavailable, DEVICE),
    "SQLITE_AUTH": (StoreUnavailable, RIGHTS),
    "SQLITE_FORMAT": (StoreUnavailable, DAMAGED),
    "SQLITE_RANGE": (StoreUnavailable, DOCTOR),
    "SQLITE_NOTADB": (StoreUnavailable, DAMAGED),
    "SQLITE_NOTICE": (StoreUnavailable, DOCTOR),
    "SQLITE_WARNING": (StoreUnavailable, DOCTOR),
}


@pytest.mark.requirement("STORE-21")
@pytest.mark.parametrize("name", EXPECTED)
def test_every_result_code_of_sqlite_has_a_meaning(name: str) -> None:
    """The message names file and cause, never the values that were to be written."""
    cause = sqlite3.OperationalError("the cause")
    cause.sqlite_errorcode = getattr(sqlite3, name)
    wrapped = OperationalError("INSERT …", {"data": "SECRET"}, cause)
    kind, remedy = EXPECTED[name]
    for error in (cause, wrapped):
        found = translate(error, PATH)
        assert kind is type(found)
        assert remedy in found.remedy
        assert "The store /data/factory.db cannot be used: the cause." == found.message


@pytest.mark.requirement("STORE-21")
def test_no_result_code_is_left_out() -> None:
    """SQLite has 28 that are failures; the others are OK, ROW and DONE, and finer ones of these."""
    assert set(range(1, 29)) == set(MEANING)
    assert set(MEANING) == {getattr(sqlite3, name) & 0xFF for name in EXPECTED}


@pytest.mark.requirement("STORE-21")
@pytest.mark.parametrize(
    ("number", "kind", "remedy"),
    [
        (errno.ENOSPC, StoreFull, "Free space"),
        (errno.EDQUOT, StoreFull, "Free space"),
        (errno.EACCES, StoreUnavailable, "FACTORY_MCP_DATA"),
        (errno.EROFS, StoreUnavailable, "FACTORY_MCP_DATA"),
        (errno.EIO, StoreUnavailable, "FACTORY_MCP_DATA"),
    ],
)
def test_the_file_systems_errors_have_a_meaning(
    number: int, kind: type[Refused], remedy: str
) -> None:
    """A full disk is told apart."""
    with pytest.raises(kind, match="The store /data/factory") as refused, translated(PATH):
        raise OSError(number, "no luck")
    assert remedy in refused.value.remedy


@pytest.mark.requirement("STORE-21")
def test_every_exception_of_the_libraries_is_translated() -> None:
    """Those of sqlite3 and SQLAlchemy have a root each; what is left is no error."""
    theirs = {
        error
        for module in (sqlite3, sqlalchemy.exc)
        for error in vars(module).values()
        if isinstance(error, type) and issubclass(error, Exception)
    }
    caught = (SQLAlchemyError, sqlite3.Error, OSError, Warning)
    left = {error for error in theirs if not issubclass(error, caught)}
    wrapped = sqlalchemy.exc.EmulatedDBAPIException  # SQLAlchemy hands it on in one of its own
    assert {sqlite3.Warning, wrapped} == left
    found = translate(sqlalchemy.exc.TimeoutError("pool"), PATH)
    assert "The store /data/factory.db cannot be used: TimeoutError." == found.message
