"""The file of a backup: whole, or refused."""

import gzip
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from factory_mcp.domain.backup_errors import BackupUnusable
from factory_mcp.stores.backup_file import BATCH, Batch, Header, Section, Trailer, Writer, read

ROWS: Final = 1200
HEADER: Final = Header(
    revision="0005",
    made_by="0.1.0",
    made_at=1_800_000_000.25,
    made_from="sqlite",
    index="word",
    rows={"nodes": ROWS + 1, "runs": 1},
)
NODES: Final = Section(tenant="acme", table="nodes", columns=("id", "data"), binary=("data",))
RUNS: Final = Section(tenant="acme", table="runs", columns=("id", "ended_at"), binary=())
MORE: Final = Section(tenant="ü \ud800", table="nodes", columns=("id", "data"), binary=("data",))


def written(path: Path, *, force: bool = False) -> Trailer:
    """A backup of two tenants and two tables."""
    writer = Writer(path, HEADER, force=force)
    writer.section(NODES)
    writer.rows("nodes", [(f"ctx_{number}", bytes([number % 256])) for number in range(ROWS)])
    writer.section(RUNS)
    writer.rows("runs", [("run_1", 0.1 + 0.2)])
    writer.section(MORE)
    writer.rows("nodes", [("ctx \0 \ud800", None)])
    return writer.finish()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A whole backup."""
    written(tmp_path / "backup")
    return tmp_path / "backup"


def refused(path: Path) -> str:
    """Why it is not believed."""
    with pytest.raises(BackupUnusable) as error:
        list(read(path))
    return error.value.message


@pytest.mark.requirement("BACKUP-9")
def test_what_was_written_is_read_in_batches(tmp_path: Path) -> None:
    """Any text, any bytes, numbers to the last bit; a reader holds a few rows at a time."""
    trailer = written(tmp_path / "backup")
    header, *batches, last = read(tmp_path / "backup")
    assert (HEADER, trailer) == (header, last)
    found = [(b.section, len(b.rows)) for b in batches if isinstance(b, Batch)]
    nodes = [(NODES, BATCH), (NODES, BATCH), (NODES, ROWS - 2 * BATCH)]
    assert [*nodes, (RUNS, 1), (MORE, 1)] == found
    rows = [row for batch in batches if isinstance(batch, Batch) for row in batch.rows]
    assert [["ctx_1199", b"\xaf"], ["run_1", 0.1 + 0.2], ["ctx \0 \ud800", None]] == rows[-3:]


@pytest.mark.requirement("BACKUP-9")
def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    """For its owner's eyes only; another file is replaced only on demand."""
    path = tmp_path / "backup"
    writer = Writer(path, HEADER)
    assert [0o600] == [stat.S_IMODE(part.stat().st_mode) for part in tmp_path.iterdir()]
    assert not path.exists()
    writer.abandon()
    writer.abandon()
    assert [] == list(tmp_path.iterdir())
    written(path)
    assert ([path], 0o600) == (list(tmp_path.iterdir()), stat.S_IMODE(path.stat().st_mode))
    with pytest.raises(BackupUnusable, match=r"There is a file .* already") as there:
        written(path)
    assert "--force" in there.value.remedy
    before = path.stat().st_ino
    written(path, force=True)
    assert before != path.stat().st_ino


@pytest.mark.requirement("BACKUP-9")
def test_a_file_that_cannot_be_written_says_why(tmp_path: Path) -> None:
    """A folder that is not there, a disk that is full."""
    with pytest.raises(BackupUnusable, match="No such file or directory"):
        Writer(tmp_path / "nowhere" / "backup", HEADER)
    writer = Writer(tmp_path / "backup", HEADER)
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, writer._file.fileno())  # noqa: SLF001 — a disk is full at once
    os.close(full)
    with pytest.raises(BackupUnusable, match="No space left on device"):
        writer.rows("nodes", [("ctx", os.urandom(1_000_000))])
    writer.abandon()
    assert [] == list(tmp_path.iterdir())


@pytest.mark.requirement("BACKUP-10")
@pytest.mark.parametrize("part", [0.0, 0.2, 0.5, 0.9, 0.999])
def test_a_file_that_was_cut_is_refused(file: Path, part: float) -> None:
    """Wherever it was."""
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * part)])
    refused(file)
    lines = gzip.decompress(whole).splitlines(keepends=True)
    file.write_bytes(gzip.compress(b"".join(lines[: int(len(lines) * part)])))
    assert "was cut or changed" in refused(file)


@pytest.mark.requirement("BACKUP-10")
def test_a_flipped_bit_is_found(file: Path) -> None:
    """In every part of the file."""
    whole = file.read_bytes()
    for place in range(10, len(whole), 97):
        changed = bytearray(whole)
        changed[place] ^= 4
        file.write_bytes(changed)
        refused(file)


def _row(lines: list[Any]) -> None:
    lines[2][0] = "ctx_other"


def _less(lines: list[Any]) -> None:
    del lines[5]


def _swapped(lines: list[Any]) -> None:
    lines[3], lines[4] = lines[4], lines[3]


def _stranger(lines: list[Any]) -> None:
    lines[1]["tenant"] = "other"


def _counts(lines: list[Any]) -> None:
    lines[0]["rows"]["runs"] = 2


def _hash(lines: list[Any]) -> None:
    lines[-1]["tables"]["nodes"]["sha256"] = "0" * 64


def _after(lines: list[Any]) -> None:
    lines.append(["ctx_late", None])


def _none(lines: list[Any]) -> None:
    del lines[-1]["tables"]


def _loose(lines: list[Any]) -> None:
    del lines[1]


def _narrow(lines: list[Any]) -> None:
    lines[2] = ["ctx_0"]


def _number(lines: list[Any]) -> None:
    lines[2] = 5


def _header(lines: list[Any]) -> None:
    lines[0]["more"] = 1


@pytest.mark.requirement("BACKUP-10")
@pytest.mark.parametrize(
    "change",
    [
        *(_row, _less, _swapped, _stranger, _counts, _hash),
        *(_after, _none, _loose, _narrow, _number, _header),
    ],
)
def test_a_file_that_was_changed_is_refused(
    file: Path, change: Callable[[list[Any]], None]
) -> None:
    """A row, a tenant, a count, a hash; something left out, moved or added."""
    lines = [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]
    change(lines)
    compact = [json.dumps(line, separators=(",", ":")) for line in lines]
    file.write_bytes(gzip.compress("".join(f"{line}\n" for line in compact).encode()))
    assert "was cut or changed" in refused(file)


@pytest.mark.requirement("BACKUP-10")
def test_what_is_no_backup_is_refused(tmp_path: Path, file: Path) -> None:
    """Text, another program's archive, nothing, a folder; and the format of a later version."""
    path = tmp_path / "theirs"
    path.write_text("hello")
    assert "is no backup of factory-mcp" in refused(path)
    path.write_bytes(gzip.compress(b'{"a": 1}\n'))
    assert "is no backup of factory-mcp" in refused(path)
    path.write_bytes(gzip.compress(b"hello\n"))
    assert "was cut or changed" in refused(path)
    path.write_bytes(file.read_bytes() + file.read_bytes())
    assert "was cut or changed" in refused(path)
    assert "No such file" in refused(tmp_path / "nowhere")
    assert "Is a directory" in refused(tmp_path)
    path.write_bytes(gzip.compress(b'{"factory-mcp backup": 2}\n'))
    assert "has the format 2; this version reads 1" in refused(path)
