"""A backup as a file: JSON lines in gzip, which is whole or refused.

    {"factory-mcp backup": 1, "revision": "0005", "made_by": "0.1.0", "rows": {"runs": 2, …}, …}
    {"tenant": "acme", "table": "runs", "columns": ["id", …], "binary": ["request", …]}
    ["run_1", …]
    …
    {"tables": {"runs": {"rows": 2, "sha256": "…"}, …}, "sha256": "…"}

The last line has the hash of each table's lines, and that of all lines before it: of a file that
was cut or changed nothing is believed. It is no signature: whoever changes the file on purpose can
make the hashes anew. What is sealed, and each tenant's audit chain, have their own proofs.
"""

import gzip
import hashlib
import json
import os
import secrets
import zlib
from base64 import b64decode, b64encode
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Final, cast

from factory_mcp.domain.backup_errors import BackupUnusable

FORMAT: Final = 1
BATCH: Final = 500
"""Rows that a reader gives at a time."""

_MARK: Final = "factory-mcp backup"
_LEVEL: Final = 6

Row = Sequence[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a backup says of itself.

    Args:
        revision: Where its tables stood.
        made_by: The version of this program.
        made_at: Unix seconds.
        made_from: The kind of database.
        index: What the sealer's blind index makes of a word that is always the same.
        rows: How many there are, by table.
    """

    revision: str
    made_by: str
    made_at: float
    made_from: str
    index: str | None
    rows: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Whose rows of which table follow; `tenant` is in none of them."""

    tenant: str
    table: str
    columns: tuple[str, ...]
    binary: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Some rows of a section."""

    section: Section
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """How many rows of a table there are, and the hash over them."""

    rows: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trailer:
    """What the last line says."""

    tables: Mapping[str, Sum]
    sha256: str


class Sums:
    """The hashes over lines, while they come."""

    def __init__(self) -> None:
        self._all = hashlib.sha256()
        self._rows: dict[str, int] = {}
        self._tables: dict[str, Any] = {}

    def head(self, line: bytes) -> None:
        """The first line."""
        self._all.update(line)

    def take(self, table: str, lines: bytes, rows: int) -> None:
        """A section's line, or those of some rows."""
        self._all.update(lines)
        self._tables.setdefault(table, hashlib.sha256()).update(lines)
        self._rows[table] = self._rows.get(table, 0) + rows

    def trailer(self) -> Trailer:
        """What they are by now."""
        tables = {
            name: Sum(rows=self._rows[name], sha256=digest.hexdigest())
            for name, digest in self._tables.items()
        }
        return Trailer(tables=tables, sha256=self._all.hexdigest())


def section_line(section: Section) -> bytes:
    """A section as it stands in the file."""
    return _line(asdict(section))


def row_lines(rows: Sequence[Row]) -> bytes:
    """Rows as they stand in the file."""
    return b"".join(_line([_plain(value) for value in row]) for row in rows)


class Writer:
    """A backup that is being written, under another name until it is whole and on disk.

    Args:
        path: Its name in the end.
        header: What it says of itself.
        force: Whether it may take the place of another file.

    Raises:
        BackupUnusable: There is such a file, or it cannot be written.
    """

    def __init__(self, path: Path, header: Header, *, force: bool = False) -> None:
        self._path, self._sums, self._is_whole = path, Sums(), False
        self._part = path.with_name(f"{path.name}.part-{secrets.token_hex(4)}")
        if path.exists() and not force:
            raise BackupUnusable(
                f"There is a file {path} already.", remedy="Name another one, or add --force."
            )
        with _translated(path):
            descriptor = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            self._file = os.fdopen(descriptor, "wb")
            self._packed = gzip.GzipFile(fileobj=self._file, mode="wb", compresslevel=_LEVEL)
            line = _line({_MARK: FORMAT, **asdict(header)})
            self._sums.head(line)
            self._packed.write(line)

    def section(self, section: Section) -> None:
        """Begin a section."""
        self._write(section.table, section_line(section), 0)

    def rows(self, table: str, rows: Sequence[Row]) -> None:
        """Some of its rows."""
        self._write(table, row_lines(rows), len(rows))

    def finish(self) -> Trailer:
        """Write the last line, and give the file its name once all of it is on disk."""
        trailer = self._sums.trailer()
        with _translated(self._path):
            self._packed.write(_line(asdict(trailer)))
            self._packed.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._part.replace(self._path)
            self._is_whole = True
            _sync(self._path.parent)
        return trailer

    def abandon(self) -> None:
        """Leave nothing behind, unless it is whole."""
        if not self._is_whole:
            with suppress(OSError):
                self._file.close()
            self._part.unlink(missing_ok=True)

    def _write(self, table: str, lines: bytes, rows: int) -> None:
        self._sums.take(table, lines, rows)
        with _translated(self._path):
            self._packed.write(lines)


def read(path: Path) -> Generator[Header | Batch | Trailer]:
    """What a backup holds, some rows at a time; the trailer comes only if all was in order.

    Raises:
        BackupUnusable: It is none, or it was cut or changed.
    """
    with _translated(path), gzip.open(path, "rb") as file:
        lines = cast("IO[bytes]", file)
        sums, head = Sums(), lines.readline()
        header = _header(path, head)
        sums.head(head)
        yield header
        trailer = yield from _batches(path, lines, sums)
        counted = {name: found.rows for name, found in trailer.tables.items()}
        if trailer != sums.trailer() or counted != header.rows or lines.read(1):
            raise _altered(path)
        yield trailer


def _batches(path: Path, lines: IO[bytes], sums: Sums) -> Generator[Batch, None, Trailer]:
    section: Section | None = None
    rows: list[Row] = []
    for line in lines:
        value = json.loads(line)
        if isinstance(value, list) and section is not None:
            sums.take(section.table, line, 1)
            rows.append(_row(cast("list[Any]", value), section))
            if len(rows) < BATCH:
                continue
        if rows and section is not None:
            yield Batch(section=section, rows=rows)
            rows = []
        if isinstance(value, dict):
            said = cast("dict[str, Any]", value)
            if "sha256" in said:
                return _trailer(said)
            section = Section(
                tenant=said["tenant"],
                table=said["table"],
                columns=tuple(said["columns"]),
                binary=tuple(said["binary"]),
            )
            sums.take(section.table, line, 0)
    raise _altered(path)


def _header(path: Path, line: bytes) -> Header:
    said: Any = json.loads(line)
    if not isinstance(said, dict) or _MARK not in said:
        raise BackupUnusable(f"{path} is no backup of factory-mcp.")
    values = cast("dict[str, Any]", said)
    if (version := values.pop(_MARK)) != FORMAT:
        raise BackupUnusable(
            f"The backup {path} has the format {version}; this version reads {FORMAT}.",
            remedy="Restore it with the factory-mcp version that made it, or a newer one.",
        )
    return Header(**values)


def _trailer(said: Mapping[str, Any]) -> Trailer:
    tables = {name: Sum(**found) for name, found in said["tables"].items()}
    return Trailer(tables=tables, sha256=said["sha256"])


def _row(values: list[Any], section: Section) -> Row:
    return [
        b64decode(value) if name in section.binary and value is not None else value
        for name, value in zip(section.columns, values, strict=True)
    ]


def _plain(value: Any) -> Any:
    return b64encode(value).decode() if isinstance(value, bytes) else value


def _line(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _sync(folder: Path) -> None:
    """Make sure that the folder knows the file's new name after a power cut, too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _altered(path: Path) -> BackupUnusable:
    return BackupUnusable(f"The backup {path} is not whole: it was cut or changed.")


@contextmanager
def _translated(path: Path) -> Generator[None]:
    """Whatever is wrong with the file leaves as one of our errors."""
    try:
        yield
    except (EOFError, zlib.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _altered(path) from error
    except gzip.BadGzipFile as error:
        raise BackupUnusable(f"{path} is no backup of factory-mcp, or was damaged.") from error
    except OSError as error:
        raise BackupUnusable(
            f"The backup {path} cannot be read or written: {error.strerror}.",
            remedy="Name a file in a folder that this user can write to, with room for it.",
        ) from error
