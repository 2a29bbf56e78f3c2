"""The droids there are: specs loaded from folders and looked up by name."""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from factory_mcp.domain.errors import SpecInvalid, UnknownTool
from factory_mcp.domain.spec import DroidSpec
from factory_mcp.domain.spec_text import parse
from factory_mcp.domain.tools import SUFFIX
from factory_mcp.telemetry import log


class Droids:
    """Sound specs by name."""

    def __init__(self, specs: Iterable[DroidSpec]) -> None:
        self._by_name = {spec.name: spec for spec in specs}

    def all(self) -> tuple[DroidSpec, ...]:
        """Every droid, in the order of the folders and their files."""
        return tuple(self._by_name.values())

    def get(self, name: str) -> DroidSpec:
        """The droid `architect`, also by its tool's name `architect_droid`.

        Raises:
            UnknownTool: No such droid; the message gives the nearest name.
        """
        spec = self._by_name.get(name) or self._by_name.get(name.removesuffix(SUFFIX))
        if spec is None:
            near = difflib.get_close_matches(name.removesuffix(SUFFIX), self._by_name, n=1)
            known = f"known are {', '.join(self._by_name)}"
            hint = f"did you mean `{near[0]}`?" if near else f"{known}."
            raise UnknownTool(f"There is no droid `{name[:80]}`; {hint}")
        return spec


def load(folders: Sequence[Path]) -> Droids:
    """Every droid of the folders; a later folder adds to the earlier ones or overrides by name.

    Raises:
        SpecInvalid: The problems of all files, one line each; or there is no droid at all.
    """
    specs: dict[str, DroidSpec] = {}
    problems: list[str] = []
    for found in read(folders):
        if isinstance(found, SpecInvalid):
            problems.append(found.message)
            continue
        if found.name in specs:
            log.info("droid.overridden", droid=found.name, source=found.source)
        specs[found.name] = found
    if not specs and not problems:
        problems.append(f"No droid spec (*.md) in {', '.join(map(str, folders)) or 'no folder'}.")
    if problems:
        raise SpecInvalid("\n".join(problems))
    return Droids(specs.values())


def read(folders: Iterable[Path]) -> Iterator[DroidSpec | SpecInvalid]:
    """What each `*.md` file directly in the folders holds: a spec, or its problems."""
    for folder in folders:
        if not folder.is_dir():
            yield SpecInvalid(f"{folder}: is no folder")
            continue
        for file in sorted(folder.glob("*.md")):
            yield _read(file)


def _read(file: Path) -> DroidSpec | SpecInvalid:
    try:
        return parse(file.read_text(encoding="utf-8"), str(file))
    except UnicodeDecodeError as error:
        return SpecInvalid(f"{file}: is no UTF-8 text (byte {error.start})")
    except OSError as error:
        return SpecInvalid(f"{file}: cannot be read ({error.strerror})")
    except SpecInvalid as error:
        return error
