"""Every error of psycopg and of a Postgres server, as one of ours that says what to do."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Final

import psycopg
from sqlalchemy.exc import SQLAlchemyError, StatementError

from factory_mcp.domain.errors import Refused, StoreFull, StoreUnavailable, TooLarge
from factory_mcp.stores.sql.faults import Collision

Meaning = tuple[type[Refused], str]

_SETTING: Final = "POSTGRES_CONNECTION_STRING"
_AWAY: Final = f"Start the database server, or correct host and port in {_SETTING}."
_LOGIN: Final = (
    f"Correct user and password in {_SETTING}, or let the server's pg_hba.conf admit it."
)
_NAME: Final = f"Correct the database's name in {_SETTING}, or create the database."
_TLS: Final = (
    f"Use sslmode=verify-full and the name in its certificate in {_SETTING};"
    " FACTORY_MCP_CA names who signed it."
)
_HOST: Final = f"Correct the host in {_SETTING}: its name leads nowhere."
_MANY: Final = "Raise max_connections of the server, or put a pool in front of it."
_UPGRADE: Final = "Run `factory-mcp db upgrade` as the user who owns the tables."
_PRIMARY: Final = f"Name the primary in {_SETTING}: this server only reads."
_HELD: Final = "Another writer holds the rows; call again."
_SLOW: Final = "Call again; if it stays so, look at what keeps the database server busy."
_RESTART: Final = "The database server restarts; call again."
_POOLER: Final = "Give the pooler prepared statements (pgbouncer: max_prepared_statements)."
_SERVER: Final = "The database server failed; its log says how."
_SPACE: Final = "Free space on the disk of the database server, then call again."
_DOCTOR: Final = StoreUnavailable.remedy

CLASSES: Final[Mapping[str, Meaning]] = {
    "02": (StoreUnavailable, _DOCTOR),
    "03": (StoreUnavailable, _DOCTOR),
    "08": (StoreUnavailable, _AWAY),
    "09": (StoreUnavailable, _DOCTOR),
    "0A": (StoreUnavailable, _DOCTOR),
    "0B": (StoreUnavailable, _DOCTOR),
    "0F": (StoreUnavailable, _DOCTOR),
    "0L": (StoreUnavailable, _UPGRADE),
    "0P": (StoreUnavailable, _UPGRADE),
    "0Z": (StoreUnavailable, _DOCTOR),
    "10": (StoreUnavailable, _DOCTOR),
    "20": (StoreUnavailable, _DOCTOR),
    "21": (StoreUnavailable, _DOCTOR),
    "22": (StoreUnavailable, _DOCTOR),
    "23": (Collision, _DOCTOR),
    "24": (StoreUnavailable, _DOCTOR),
    "25": (StoreUnavailable, _DOCTOR),
    "26": (StoreUnavailable, _POOLER),
    "27": (StoreUnavailable, _DOCTOR),
    "28": (StoreUnavailable, _LOGIN),
    "2B": (StoreUnavailable, _DOCTOR),
    "2D": (StoreUnavailable, _DOCTOR),
    "2F": (StoreUnavailable, _DOCTOR),
    "34": (StoreUnavailable, _DOCTOR),
    "38": (StoreUnavailable, _DOCTOR),
    "39": (StoreUnavailable, _DOCTOR),
    "3B": (StoreUnavailable, _DOCTOR),
    "3D": (StoreUnavailable, _NAME),
    "3F": (StoreUnavailable, _UPGRADE),
    "40": (Collision, _HELD),
    "42": (StoreUnavailable, _UPGRADE),
    "44": (StoreUnavailable, _DOCTOR),
    "53": (StoreUnavailable, _SERVER),
    "54": (TooLarge, TooLarge.remedy),
    "55": (StoreUnavailable, _HELD),
    "57": (StoreUnavailable, _RESTART),
    "58": (StoreUnavailable, _SERVER),
    "72": (StoreUnavailable, _SLOW),
    "F0": (StoreUnavailable, _SERVER),
    "HV": (StoreUnavailable, _DOCTOR),
    "P0": (StoreUnavailable, _DOCTOR),
    "XX": (StoreUnavailable, _SERVER),
}
"""What the classes of SQLSTATE mean, the first two characters."""

CODES: Final[Mapping[str, Meaning]] = {
    "22023": (StoreUnavailable, _UPGRADE),  # also: role "factory_app" does not exist
    "25006": (StoreUnavailable, _PRIMARY),
    "25P03": (StoreUnavailable, _SLOW),
    "25P04": (StoreUnavailable, _SLOW),
    "40003": (StoreUnavailable, _DOCTOR),
    "42P05": (StoreUnavailable, _POOLER),
    "53100": (StoreFull, _SPACE),
    "53300": (StoreUnavailable, _MANY),
    "55000": (StoreUnavailable, _PRIMARY),
    "57014": (StoreUnavailable, _SLOW),
    "57P04": (StoreUnavailable, _NAME),
}
"""Those that mean something else than their class."""

SAID: Final[tuple[tuple[str, str], ...]] = (
    ("password authentication failed", _LOGIN),
    ("no password supplied", _LOGIN),
    ("SSL encryption", _LOGIN),
    ("no encryption", _TLS),
    ("pg_hba.conf", _LOGIN),
    ("not permitted to log in", _LOGIN),
    ('FATAL:  role "', _LOGIN),
    ('FATAL:  database "', _NAME),
    ("too many connections", _MANY),
    ("too many clients", _MANY),
    ("connection slots", _MANY),
    ("the database system is", _RESTART),
    ("due to administrator command", _RESTART),
    ("failed to resolve host", _HOST),
    ("could not translate host name", _HOST),
    ("closed", _AWAY),  # before the next: a connection with TLS that was lost names it too
    ("SYSCALL", _AWAY),
    ("certificate", _TLS),
    ("SSL", _TLS),
)
"""What a connection that fails says: libpq hands on the words only, and no SQLSTATE."""


def translate(error: Exception, place: str, secret: str = "") -> Refused:
    """The error as ours: it names place and cause, and never a password or what was written.

    Args:
        error: Of psycopg, SQLAlchemy or the operating system.
        place: Which database it was.
        secret: The password, cut out wherever it should show.
    """
    cause = error.orig if isinstance(error, StatementError) and error.orig else error
    kind, remedy = _meaning(cause)
    reason = _reason(cause)
    if secret:
        reason = reason.replace(secret, "***")
    return kind(f"The store {place} cannot be used: {reason}.", remedy=remedy)


@contextmanager
def translated(place: str, secret: str) -> Generator[None]:
    """Whatever goes wrong with the database inside leaves as one of our errors."""
    try:
        yield
    except (SQLAlchemyError, psycopg.Error, OSError) as error:
        raise translate(error, place, secret) from error


def _meaning(cause: BaseException) -> Meaning:
    state = cause.sqlstate if isinstance(cause, psycopg.Error) else None
    if state is not None:
        return CODES.get(state) or CLASSES.get(state[:2], (StoreUnavailable, _DOCTOR))
    if isinstance(cause, psycopg.OperationalError | OSError):
        words = str(cause)
        return StoreUnavailable, next((fix for said, fix in SAID if said in words), _AWAY)
    return StoreUnavailable, _DOCTOR


def _reason(cause: BaseException) -> str:
    """What the server or libpq said, in one line; not the details, which repeat what is stored."""
    if isinstance(cause, psycopg.Error):
        lines = (cause.diag.message_primary or str(cause)).strip().splitlines()
        return lines[0].rstrip(".") if lines else type(cause).__name__
    if isinstance(cause, OSError):
        return cause.strerror or type(cause).__name__
    return type(cause).__name__
