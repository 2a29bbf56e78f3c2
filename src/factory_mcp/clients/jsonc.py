"""JSON with comments, changed in one place: what is put is inserted, every other byte stays.

Editors allow comments and trailing commas in their files, so the standard parser cannot read them
and a parser that writes anew would lose them. This one remembers where each value stands.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn, cast

_GAP: Final = re.compile(r"(?:[ \t\r\n]+|//[^\r\n]*|/\*.*?\*/)*", re.DOTALL)
_REST_OF_LINE: Final = re.compile(r"(?:[ \t]+(?=//|/\*)|/\*[^\r\n]*?\*/|//[^\r\n]*)*")
_SCALAR: Final = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"|-?\d[\d.eE+-]*|true|false|null')
_DEEPEST: Final = 200


class Unreadable(ValueError):
    """A text is not what its format says, or has no place for what should be put there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A step into an array: the object whose member `key` is `value`."""

    key: str
    value: str


Step = str | Item


@dataclass(frozen=True, slots=True)
class _Node:
    """A value and its span; its members in order, an array's under the key ""."""

    start: int
    end: int
    value: Any
    members: tuple["_Member", ...] = ()


@dataclass(frozen=True, slots=True)
class _Member:
    key: str
    start: int
    node: _Node


def read(text: str) -> Any:
    """The value of a text; an empty one is an empty object.

    Raises:
        Unreadable: With the line of the mistake.
    """
    return _parse(text).value if text.strip("\ufeff \t\r\n") else {}


def put(text: str, path: Sequence[Step], value: Any) -> str:
    """The text with `value` at `path`; the text itself where it stands there already.

    Raises:
        Unreadable: The text is no JSON, or something else stands on the path.
    """
    if not text.strip("\ufeff \t\r\n"):
        text = text.rstrip() + "{}\n"
    root = node = _parse(text)
    for depth, step in enumerate(path):
        found = _child(node, step, path[:depth])
        if found is None:
            return _insert(text, root, node, step, _wrapped(path[depth + 1 :], value))
        node = found
    if _same(node.value, value):
        return text
    style = _Style(text, root)
    one_line = node.members and "\n" not in text[node.start : node.end]
    written = _dump(value) if one_line else style.written(value, style.indent_of(node.start))
    return text[: node.start] + written + text[node.end :]


def _same(one: Any, other: Any) -> bool:
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _wrapped(path: Sequence[Step], value: Any) -> Any:
    for step in reversed(path):
        value = {step: value} if isinstance(step, str) else [value]
    return value


def _child(node: _Node, step: Step, path: Sequence[Step]) -> _Node | None:
    wanted = dict if isinstance(step, str) else list
    if not isinstance(node.value, wanted):
        where = ".".join(map(str, path)) or "the whole"
        raise Unreadable(f"{where} is no {'object' if wanted is dict else 'array'}")
    found = [m.node for m in node.members if _is_at(m, step)]
    if len(found) > 1:
        raise Unreadable(f"{step} stands there {len(found)} times")
    return found[0] if found else None


def _is_at(member: _Member, step: Step) -> bool:
    if isinstance(step, str):
        return member.key == step
    return any(m.key == step.key and m.node.value == step.value for m in member.node.members)


# ---------------------------------------------------------------------------------- writing


class _Style:
    """How a file is laid out: its line ends and its indentation."""

    def __init__(self, text: str, root: _Node) -> None:
        self.text = text
        self.newline = "\r\n" if "\r\n" in text else "\n"
        first = self.indent_of(root.members[0].start) if root.members else ""
        self.unit = first or "  "

    def indent_of(self, at: int) -> str:
        """The indentation of the line on which a position stands."""
        line = self.text[self.text.rfind("\n", 0, at) + 1 : at]
        return line[: len(line) - len(line.lstrip(" \t"))]

    def written(self, value: Any, indent: str) -> str:
        """A value over several lines, its short lists on one."""
        inner, empty = indent + self.unit, not value
        if isinstance(value, dict) and not empty:
            members = cast("dict[str, Any]", value).items()
            rows = (f"{_dump(key)}: {self.written(item, inner)}" for key, item in members)
            ends = "{}"
        elif isinstance(value, list) and any(isinstance(i, dict | list) for i in _list(value)):
            rows = (self.written(item, inner) for item in _list(value))
            ends = "[]"
        else:
            return _dump(value)
        body = f",{self.newline}{inner}".join(rows)
        return f"{ends[0]}{self.newline}{inner}{body}{self.newline}{indent}{ends[1]}"


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value)


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _insert(text: str, root: _Node, parent: _Node, step: Step, value: Any) -> str:
    style = _Style(text, root)
    key = f"{_dump(step)}: " if isinstance(step, str) else ""
    if not parent.members:
        return _fill(style, parent, key, value)
    last = parent.members[-1]
    end = last.node.end
    gap = _GAP.match(text, end)
    comma = gap.end() if gap and text[gap.end()] == "," else None
    after = end if comma is None else comma + 1
    if "\n" not in text[parent.start : last.start]:  # all on one line
        comma_text = ", " if comma is None else " "
        return text[:after] + comma_text + key + _dump(value) + text[after:]
    rest = _REST_OF_LINE.match(text, after)
    place = rest.end() if rest else after
    indent = style.indent_of(last.start)
    member = style.newline + indent + key + style.written(value, indent)
    comma_text = "," if comma is None else ""
    return text[:end] + comma_text + text[end:place] + member + text[place:]


def _fill(style: _Style, parent: _Node, key: str, value: Any) -> str:
    """Put the first member into an empty object or array; comments in it stay before it."""
    text = style.text
    inside = text[parent.start + 1 : parent.end - 1]
    place = parent.start + 1 + len(inside.rstrip())
    base = style.indent_of(parent.start)
    indent = base + style.unit
    closing = "" if "\n" in text[place : parent.end] else style.newline + base
    member = style.newline + indent + key + style.written(value, indent)
    return text[:place] + member + closing + text[place:]


# ---------------------------------------------------------------------------------- reading


def _parse(text: str) -> _Node:
    reader = _Reader(text)
    root = reader.value(0)
    reader.gap()
    if reader.at < len(text):
        reader.fail("something follows the end")
    return root


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 1 if text.startswith("\ufeff") else 0

    def fail(self, what: str) -> NoReturn:
        raise Unreadable(f"line {self.text.count(chr(10), 0, self.at) + 1}: {what}")

    def gap(self) -> str:
        """Skip blanks and comments; the character that follows, "" at the end."""
        found = _GAP.match(self.text, self.at)
        self.at = found.end() if found else self.at
        return self.text[self.at : self.at + 1]

    def value(self, depth: int) -> _Node:
        if depth > _DEEPEST:
            self.fail("too deep")
        match self.gap():
            case "{":
                return self.object(depth)
            case "[":
                return self.array(depth)
            case _:
                return self.scalar()

    def scalar(self) -> _Node:
        found = _SCALAR.match(self.text, self.at)
        if found is None:
            self.fail("a value is missing" if self.gap() in ("", "}", "]", ",") else "no JSON")
        try:
            value = json.loads(found.group())
        except ValueError:
            self.fail("no JSON")
        self.at = found.end()
        return _Node(found.start(), found.end(), value)

    def object(self, depth: int) -> _Node:
        start, members = self.at, list[_Member]()
        self.at += 1
        while self.gap() != "}":
            key = self.scalar()
            if not isinstance(key.value, str):
                self.fail("a key is no string")
            if self.gap() != ":":
                self.fail("a colon is missing")
            self.at += 1
            members.append(_Member(key.value, key.start, self.value(depth + 1)))
            self.comma("}")
        self.at += 1
        value = {member.key: member.node.value for member in members}
        return _Node(start, self.at, value, tuple(members))

    def array(self, depth: int) -> _Node:
        start, members = self.at, list[_Member]()
        self.at += 1
        while self.gap() != "]":
            node = self.value(depth + 1)
            members.append(_Member("", node.start, node))
            self.comma("]")
        self.at += 1
        return _Node(start, self.at, [m.node.value for m in members], tuple(members))

    def comma(self, closing: str) -> None:
        found = self.gap()
        if found == ",":
            self.at += 1
        elif found != closing:
            self.fail(f"a comma or {closing} is missing")
