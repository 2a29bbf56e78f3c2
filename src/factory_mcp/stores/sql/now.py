"""The database's own clock as an expression: Unix seconds, the same for all who use it."""

from typing import Any

from sqlalchemy import Float
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.elements import ColumnElement


class Now(ColumnElement[float]):
    """The time at which a statement runs, to the millisecond."""

    inherit_cache = True
    type = Float()


@compiles(Now, "sqlite")
def _sqlite(element: Now, compiler: Any, **options: Any) -> str:  # noqa: ARG001
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(Now, "postgresql")
def _postgresql(element: Now, compiler: Any, **options: Any) -> str:  # noqa: ARG001
    return "extract(epoch FROM clock_timestamp())::float8"
