"""SQLite for asyncio with one change of threads per statement, where aiosqlite makes four.

A statement costs more in waking its thread than in the database: beginning the transaction,
opening the cursor, running it, reading its rows and closing it are done in one go here.
"""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Self

import aiosqlite

_ALONE: Final = ("PRAGMA", "VACUUM")
"""Statements that are no part of a transaction."""


class Cursor:
    """What SQLAlchemy needs of a cursor: everything is fetched when `execute` returns."""

    arraysize = 1

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection
        self._rows: list[Any] = []
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None

    async def __aenter__(self) -> Self:
        """Nothing to open yet."""
        return self

    async def execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Run one statement and fetch its rows."""
        await self._connection.in_thread(self._run, sqlite3.Cursor.execute, sql, parameters)

    async def executemany(self, sql: str, parameters: Iterable[Sequence[Any]]) -> None:
        """Run one statement for each row of parameters."""
        await self._connection.in_thread(self._run, sqlite3.Cursor.executemany, sql, parameters)

    async def fetchall(self) -> list[Any]:
        """The rows that `execute` brought."""
        return self._rows

    async def close(self) -> None:
        """Closed already."""

    def _run(self, cursor: sqlite3.Cursor, method: Any, sql: str, parameters: Any) -> None:
        method(cursor, sql, parameters)
        self.description = cursor.description
        self._rows = cursor.fetchall()
        self.rowcount = cursor.rowcount
        self.lastrowid = cursor.lastrowid


class Connection(aiosqlite.Connection):
    """A connection and the thread it lives in, which never keeps the process alive.

    Args:
        connector: Opens the file; called in the thread.
        begin: The statement with which a transaction begins: before the first statement outside
            of one, PRAGMAs excepted.
    """

    def __init__(self, connector: Callable[[], sqlite3.Connection], begin: str) -> None:
        super().__init__(connector, iter_chunk_size=64)
        self._thread.daemon = True
        self._begin = begin

    def cursor(self) -> Cursor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """A cursor, at no cost."""
        return Cursor(self)

    async def in_thread(self, run: Any, method: Any, sql: str, parameters: Any) -> None:
        """Call `run(sqlite3 cursor, method, sql, parameters)` in the connection's thread."""
        await self._execute(  # pyright: ignore[reportUnknownMemberType] — aiosqlite's is untyped
            self._with_cursor, run, method, sql, parameters
        )

    async def commit(self) -> None:
        """Commit, if there is anything to."""
        if self.in_transaction:
            await super().commit()

    async def rollback(self) -> None:
        """Roll back, if there is anything to."""
        if self.in_transaction:
            await super().rollback()

    def _with_cursor(self, run: Any, method: Any, sql: str, parameters: Any) -> None:
        connection = self._conn
        if not connection.in_transaction and not sql.startswith(_ALONE):
            connection.execute(self._begin)
        cursor = connection.cursor()
        try:
            run(cursor, method, sql, parameters)
        finally:
            cursor.close()


def connect(database: str, *, begin: str, pragmas: Sequence[str], **options: Any) -> Connection:
    """A connection to a file, not yet open: await it.

    Args:
        database: The file.
        begin: The statement with which a transaction begins.
        pragmas: `name=value` each, set before anything else.
        options: What `sqlite3.connect` takes.
    """

    def open_file() -> sqlite3.Connection:
        connection = sqlite3.connect(database, isolation_level=None, **options)
        try:
            for pragma in pragmas:
                connection.execute(f"PRAGMA {pragma}")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    return Connection(open_file, begin)
