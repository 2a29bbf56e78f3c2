"""YAML front matter, read so that every mistake can be named with its line and its mend."""

import contextlib
import difflib
import re
from collections.abc import Collection
from typing import Any, Final, TypeAlias, cast

import yaml

from factory_mcp.domain.errors import SpecInvalid
from factory_mcp.domain.model import Json

Path: TypeAlias = tuple[str, ...]

_FENCE: Final = re.compile(r"\A---[ \t]*\n(.*?)^---[ \t]*$\n?(.*)\Z", re.DOTALL | re.MULTILINE)
_FIRST_LINE: Final = 2  # of the YAML, in the file
_SHOWN: Final = 60
_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # 2 ms instead of 30
_TAG: Final = "tag:yaml.org,2002:"
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(s|m|h)")
_UNIT: Final = {"s": 1, "m": 60, "h": 3600}


class Findings:
    """The problems of one file, in the order found. A path is the names down to a field."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._lines: dict[Path, int] = {(): 1}
        self._problems: list[str] = []

    def locate(self, path: Path, line: int) -> None:
        """Remember where a field stands."""
        self._lines.setdefault(path, line)

    def add(self, path: Path, what: str, line: int | None = None) -> None:
        """Note a problem; a field that is missing is reported where it should be."""
        ends = range(len(path), -1, -1)
        known = next(path[:end] for end in ends if path[:end] in self._lines)
        field = f"{'.'.join(path)}: " if path else ""
        message = f"{self._source}:{line or self._lines[known]}: {field}{what}"
        self._problems.append(" ".join(message.split()))

    def error(self) -> SpecInvalid | None:
        """All of them, a line each; None if there are none."""
        return SpecInvalid("\n".join(self._problems)) if self._problems else None

    def fatal(self, what: str, line: int | None = None) -> SpecInvalid:
        """The error of a file that cannot be read on."""
        self.add((), what, line)
        return SpecInvalid("\n".join(self._problems))


def read(text: str, findings: Findings) -> tuple[Json, str]:
    """The front matter's values and the body below it.

    `on`, `off`, `yes` and `no` are words, as in YAML 1.2 and for Factory's droid. A key twice in
    one mapping and an alias are problems.

    Raises:
        SpecInvalid: There is no front matter, or it is no YAML mapping.
    """
    match = _FENCE.match(text.removeprefix("\ufeff").replace("\r\n", "\n"))
    if match is None:
        raise findings.fatal("a spec begins with YAML front matter between two lines of `---`")
    return _front(match[1], findings), match[2].strip()


def _front(text: str, findings: Findings) -> Json:
    try:
        root = yaml.compose(text, Loader=_LOADER)
        if isinstance(root, yaml.MappingNode):
            return _Reader(findings).mapping(root, ())
    except (yaml.YAMLError, RecursionError) as error:
        mark: yaml.Mark | None = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or str(error)
        line = mark.line + _FIRST_LINE if mark else None
        raise findings.fatal(f"not valid YAML: {what}", line) from error
    raise findings.fatal("the front matter must be a mapping of names to values")


class _Reader:
    """Turns YAML nodes into plain values and notes where each stands."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._seen: set[int] = set()

    def mapping(self, node: yaml.MappingNode, path: Path) -> Json:
        values: Json = {}
        for key, value in cast("list[tuple[yaml.Node, yaml.Node]]", node.value):
            name = str(key.value) if isinstance(key, yaml.ScalarNode) else "?"
            inner = (*path, name)
            line = key.start_mark.line + _FIRST_LINE
            if name in values:
                self._findings.add(inner, "stands here a second time; remove one of them", line)
                continue
            self._findings.locate(inner, line)
            values[name] = self._value(value, inner)
        return values

    def _value(self, node: yaml.Node, path: Path) -> Any:
        self._findings.locate(path, node.start_mark.line + _FIRST_LINE)
        if id(node) in self._seen:
            self._findings.add(path, "is an alias; write its value out")
            return None
        self._seen.add(id(node))
        match node:
            case yaml.MappingNode():
                return self.mapping(node, path)
            case yaml.SequenceNode():
                items = cast("list[yaml.Node]", node.value)
                return [self._value(item, (*path, str(at))) for at, item in enumerate(items, 1)]
            case _:
                return _scalar(str(node.value), node.tag.removeprefix(_TAG))


def _scalar(text: str, kind: str) -> Any:
    match kind:
        case "null":
            return None
        case "bool" if text.casefold() in ("true", "false"):
            return text.casefold() == "true"
        case "int" | "float":
            return _number(text)
        case _:
            return text


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


class Section:
    """One mapping of the front matter, read field by field.

    Each reader notes what is wrong and gives the default then, so that one pass finds all.
    """

    def __init__(self, findings: Findings, path: Path, values: Json) -> None:
        self._findings = findings
        self._path = path
        self.values = values

    def wrong(self, what: str, *below: str) -> None:
        """Note a problem of the section itself, or of what stands below it."""
        self._findings.add((*self._path, *below), what)

    def only(self, *known: str) -> None:
        """Note every key that is not one of these."""
        for key in self.values:
            if key not in known:
                self.wrong(f"no such key{nearest(key, known)}", key)

    def text(self, key: str, *, default: str | None = None, most: int = 500) -> str:
        """A text of 1 to `most` characters; without a default it must be there."""
        value = self.values.get(key, default)
        if value is None:
            self.wrong("is missing", key)
        elif not isinstance(value, str) or not value.strip():
            self.wrong(f"must be a text, not {show(value)}", key)
        elif len(value) > most:
            self.wrong(f"has {len(value)} characters; at most {most} are allowed", key)
        else:
            return value.strip()
        return default or ""

    def word(self, key: str, known: Collection[str], *, default: str) -> str:
        """One of the known words; the default where the key is absent."""
        if key not in self.values:
            return default
        value: Any = self.values[key]
        if isinstance(value, str) and value in known:
            return value
        self.wrong(f"{show(value)} is not known{nearest(str(value), known)}", key)
        return default

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts; () where the key is absent."""
        value = self.values.get(key, [])
        items = cast("list[Any]", value) if isinstance(value, list) else [value]
        if value is items and all(isinstance(item, str) and item.strip() for item in items):
            return tuple(item.strip() for item in items)
        self.wrong(f"must be a list of texts, not {show(value)}", key)
        return ()

    def integer(self, key: str, *, default: int, most: int) -> int:
        """A whole number from 0 to `most`."""
        value = self.values.get(key, default)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most:
            return value
        self.wrong(f"must be a whole number from 0 to {most}, not {show(value)}", key)
        return default

    def seconds(self, key: str, *, default: float, most: float) -> float:
        """A length of time: a number of seconds, or such as `90s`, `30m`, `2h`."""
        value = self.values.get(key, default)
        if isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
            value = float(match[1]) * _UNIT[match[2]]
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= most:
            return float(value)
        rule = f"must be seconds, or such as `30m`, above 0 and up to {most:g} s"
        self.wrong(f"{rule}, not {show(value)}", key)
        return default

    def section(self, key: str) -> "Section":
        """A mapping inside; an empty one where the key is absent."""
        value = self.values.get(key, {})
        if not isinstance(value, dict):
            self.wrong(f"must be a mapping of names to values, not {show(value)}", key)
            value = {}
        return Section(self._findings, (*self._path, key), cast("Json", value))

    def sections(self) -> "dict[str, Section]":
        """Every mapping inside, by name."""
        return {key: self.section(key) for key in self.values}


def nearest(name: str, known: Collection[str]) -> str:
    """The end of a sentence about an unknown name: the nearest right one, else all of them."""
    by_folded = {word.casefold(): word for word in known}
    near = difflib.get_close_matches(name.casefold(), by_folded, n=1)
    if near:
        return f"; did you mean `{by_folded[near[0]]}`?"
    return f"; known are {', '.join(known)}"


def show(value: Any) -> str:
    """A value as a problem quotes it."""
    text = str(value)
    return f"`{text}`" if len(text) <= _SHOWN else f"`{text[:_SHOWN]}…`"
