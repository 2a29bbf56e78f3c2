"""How the command line prints: tables by default, JSON on demand, errors in one line."""

import json
import re
import sys
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Final, TypeVar

import anyio
import typer

from factory_mcp.domain.errors import ConfigError, FactoryError
from factory_mcp.ports import Check

_LONE: Final = re.compile("[\ud800-\udfff]")

T = TypeVar("T")
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


def as_json(value: Any) -> None:
    """Print JSON for another program; half a surrogate pair, which no file can hold, escaped."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    print(_LONE.sub(lambda half: f"\\u{ord(half[0]):04x}", text))


def check_line(check: Check) -> str:
    """One line of doctor; a red one with its fix below."""
    mark = "ok " if check.ok else "BAD"
    fix = f"\n      fix: {check.fix}" if check.fix else ""
    return f"{mark}  {check.name}: {check.detail}{fix}"


@contextmanager
def one_line_errors() -> Generator[None]:
    """An error of ours is one line and its remedy on stderr; exit 2 for a wrong setting."""
    try:
        yield
    except (FactoryError, BaseExceptionGroup) as raised:
        error = _innermost(raised)
        if not isinstance(error, FactoryError):
            raise
        print(f"error: {error.message} [{error.code}]\n  {error.remedy}", file=sys.stderr)
        raise typer.Exit(2 if isinstance(error, ConfigError) else 1) from error


def _innermost(error: Any) -> Any:
    """The error that task groups wrapped, if they wrapped only one."""
    while len(getattr(error, "exceptions", ())) == 1:
        error = error.exceptions[0]
    return error


def run(work: Callable[[], Awaitable[T]]) -> T:
    """Run one command's async work."""
    with one_line_errors():
        return anyio.run(work)
