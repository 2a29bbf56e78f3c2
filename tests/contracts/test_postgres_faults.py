"""Every error of psycopg and of a Postgres server has a name and a remedy here."""

from typing import Final

import psycopg
import pytest
import sqlalchemy.exc
from sqlalchemy.exc import SQLAlchemyError

from factory_mcp.domain.errors import (
    InvalidSetting,
    Refused,
    StoreFull,
    StoreUnavailable,
    TooLarge,
)
from factory_mcp.stores.sql.faults import Collision
from factory_mcp.stores.sql.pg_connection import Address
from factory_mcp.stores.sql.pg_faults import CLASSES, CODES, SAID, translate, translated

PLACE: Final = "db:5432/factory"
SECRET: Final = "hunter2"  # noqa: S105 — nobody's

EXCEPTIONS: Final = sorted(
    {
        error
        for module in (psycopg, psycopg.errors)
        for error in vars(module).values()
        if isinstance(error, type) and issubclass(error, psycopg.Error)
    },
    key=lambda error: error.__name__,
)

TELLING: Final[dict[str, tuple[type[Refused], str]]] = {
    "InvalidPassword": (StoreUnavailable, "user and password"),
    "InvalidCatalogName": (StoreUnavailable, "name"),
    "TooManyConnections": (StoreUnavailable, "max_connections"),
    "DiskFull": (StoreFull, "disk of the database server"),
    "UniqueViolation": (Collision, "doctor"),
    "SerializationFailure": (Collision, "call again"),
    "DeadlockDetected": (Collision, "call again"),
    "StatementCompletionUnknown": (StoreUnavailable, "doctor"),
    "QueryCanceled": (StoreUnavailable, "busy"),
    "LockNotAvailable": (StoreUnavailable, "Another writer"),
    "AdminShutdown": (StoreUnavailable, "restarts"),
    "CannotConnectNow": (StoreUnavailable, "restarts"),
    "ReadOnlySqlTransaction": (StoreUnavailable, "primary"),
    "InsufficientPrivilege": (StoreUnavailable, "db upgrade"),
    "UndefinedTable": (StoreUnavailable, "db upgrade"),
    "DuplicatePreparedStatement": (StoreUnavailable, "max_prepared_statements"),
    "InvalidSqlStatementName": (StoreUnavailable, "max_prepared_statements"),
    "ProgramLimitExceeded": (TooLarge, "Shorten"),
    "DataCorrupted": (StoreUnavailable, "its log"),
    "ConnectionTimeout": (StoreUnavailable, "Start the database server"),
}


@pytest.mark.requirement("PG-8")
@pytest.mark.parametrize("kind", EXCEPTIONS, ids=lambda kind: kind.__name__)
def test_every_exception_of_psycopg_has_a_meaning(kind: type[psycopg.Error]) -> None:
    """Alone and wrapped by SQLAlchemy; neither password nor values show."""
    cause = kind(f"it is {SECRET} that failed.\nDETAIL: secret values")
    wrapped = sqlalchemy.exc.DBAPIError("INSERT …", {"data": "values"}, cause)
    for error in (cause, wrapped):
        found = translate(error, PLACE, SECRET)
        assert f"The store {PLACE} cannot be used: it is *** that failed." == found.message
        expected, remedy = TELLING.get(kind.__name__, (Refused, ""))
        assert isinstance(found, expected)
        assert remedy in found.remedy


@pytest.mark.requirement("PG-8")
def test_no_class_of_sqlstate_is_left_out() -> None:
    """Nor is one made up; each finer meaning is that of a code there is."""
    states = {kind.sqlstate for kind in EXCEPTIONS if kind.sqlstate}
    assert {state[:2] for state in states} == set(CLASSES)
    assert set() == set(CODES) - states
    assert set() == set(TELLING) - {kind.__name__ for kind in EXCEPTIONS}


@pytest.mark.requirement("PG-8")
@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ('FATAL:  password authentication failed for user "app"', "user and password"),
        ("fe_sendauth: no password supplied", "user and password"),
        ('FATAL:  no pg_hba.conf entry for host "::1"', "pg_hba.conf"),
        ("FATAL:  no pg_hba.conf entry for user, SSL encryption", "pg_hba.conf"),
        ("FATAL:  no pg_hba.conf entry for user, no encryption", "verify-full"),
        ('FATAL:  role "app" is not permitted to log in', "user and password"),
        ('FATAL:  role "app" does not exist', "user and password"),
        ('FATAL:  database "nope" does not exist', "database's name"),
        ("FATAL:  sorry, too many clients already", "max_connections"),
        ("FATAL:  remaining connection slots are reserved", "max_connections"),
        ('FATAL:  too many connections for role "app"', "max_connections"),
        ("FATAL:  the database system is starting up", "restarts"),
        ("FATAL:  terminating connection due to administrator command", "restarts"),
        ("failed to resolve host 'nowhere': [Errno -2] Name or service not known", "the host"),
        ('could not translate host name "x"', "the host"),
        ("server does not support SSL, but SSL was required", "sslmode"),
        ("SSL error: certificate verify failed", "FACTORY_MCP_CA"),
        ('root certificate file "/no" does not exist', "FACTORY_MCP_CA"),
        ("SSL connection has been closed unexpectedly", "Start the database server"),
        ("SSL SYSCALL error: EOF detected", "Start the database server"),
        ("Connection refused\n\tIs the server running?", "Start the database server"),
    ],
)
def test_what_a_failed_connection_says_has_a_meaning(said: str, remedy: str) -> None:
    """The library hands on the words alone."""
    found = translate(psycopg.OperationalError(f"connection failed: {said}"), PLACE)
    assert remedy in found.remedy
    assert said.splitlines()[0] in found.message


@pytest.mark.requirement("PG-8")
def test_every_word_that_is_looked_for_is_found() -> None:
    """None of them stands behind one that hides it."""
    for words, remedy in SAID:
        assert remedy == translate(psycopg.OperationalError(words), PLACE).remedy


@pytest.mark.requirement("PG-8")
def test_errors_of_the_other_libraries_are_translated() -> None:
    """SQLAlchemy's own, and the operating system's."""
    with pytest.raises(StoreUnavailable, match="cannot be used: no luck"), translated(PLACE, ""):
        raise OSError(5, "no luck")
    found = translate(sqlalchemy.exc.TimeoutError("pool"), PLACE)
    assert f"The store {PLACE} cannot be used: TimeoutError." == found.message
    assert issubclass(sqlalchemy.exc.TimeoutError, SQLAlchemyError)
    empty = translate(psycopg.OperationalError(), PLACE)
    assert f"The store {PLACE} cannot be used: OperationalError." == empty.message


@pytest.mark.requirement("PG-8")
@pytest.mark.parametrize("url", [f"postgresql://a:{SECRET}@[h/d", f"postgres://a:{SECRET}@h/?x=1"])
def test_a_url_that_is_none_is_not_repeated(url: str) -> None:
    """It may hold a password."""
    with pytest.raises(InvalidSetting) as refused:
        Address(url)
    assert "POSTGRES_CONNECTION_STRING cannot be understood." == refused.value.message
    assert None is refused.value.__cause__


@pytest.mark.requirement("PG-8")
@pytest.mark.parametrize(
    ("url", "place"),
    [
        (f"postgres://a:{SECRET}@db/factory", "db:5432/factory"),
        (f"host=db port=6432 dbname=factory password={SECRET}", "db:6432/factory"),
        (f"postgresql://a:{SECRET}@/factory?host=/run/pg", "/run/pg:5432/factory"),
        ("", "localhost:5432/"),
    ],
)
def test_a_place_is_named_without_user_and_password(url: str, place: str) -> None:
    """In every form that libpq takes."""
    assert place == Address(url).place
