"""YAML, changed in one list: the items of ours are put, everything else keeps every byte."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, cast

import yaml

from factory_mcp.clients import jsonc
from factory_mcp.clients.jsonc import Item, Unreadable

Document = Mapping[str, Any]
_WIDE: Final = 10_000


def read(text: str) -> dict[str, Any]:
    """The value of a text.

    Raises:
        Unreadable: With the line of the mistake, or there is no mapping.
    """
    try:
        found: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise Unreadable(f"{where}{getattr(error, 'problem', None) or error}") from error
    if found is not None and not isinstance(found, dict):
        raise Unreadable("the whole is no mapping")
    return cast("dict[str, Any]", found or {})


def put(text: str, key: str, name: str, items: Sequence[Document]) -> str:
    """The text with each item in the list `key`, in place of the one with the same `name`.

    Raises:
        Unreadable: The text is no YAML, or its list is written in a way that cannot be changed.
    """
    wanted = _expected(read(text), key, name, items)
    if text.lstrip("\ufeff \t\r\n").startswith("{"):  # JSON is YAML too
        for item in items:
            text = jsonc.put(text, (key, Item(key=name, value=item[name])), item)
        return text
    with suppress(yaml.YAMLError, Unreadable):
        for item in items:
            text = _put(text, key, name, item)
        if read(text) == wanted:
            return text
    raise Unreadable(f"the list {key} is written in a way that cannot be changed")


def _expected(whole: dict[str, Any], key: str, name: str, items: Sequence[Document]) -> Any:
    listed: Any = whole.get(key)
    if listed is None:
        listed = []
    if not isinstance(listed, list):
        raise Unreadable(f"{key} is no list")
    rows = cast("list[Any]", listed)
    for item in items:
        names = [cast("Any", row).get(name) if isinstance(row, dict) else None for row in rows]
        at = names.index(item[name]) if item[name] in names else len(rows)
        rows[at : at + 1] = [dict(item)]
    return whole | {key: rows}


def front_matter(head: Document) -> str:
    """A mapping for the head of a Markdown file."""
    return yaml.safe_dump(dict(head), sort_keys=False, width=_WIDE, allow_unicode=True)


def _put(text: str, key: str, name: str, item: Document) -> str:
    newline = "\r\n" if "\r\n" in text else "\n"
    found = _member(yaml.compose(text, Loader=yaml.SafeLoader), key)
    if found is None:
        before = text if not text or text.endswith("\n") else text + newline
        return f"{before}{key}:{newline}  - {_written(item, 4, newline)}{newline}"
    rows = _children(found)
    if not rows:
        head = text[: found.start_mark.index].rstrip()
        rest = text[found.end_mark.index :]
        return f"{head}{newline}  - {_written(item, 4, newline)}{rest}"
    same = [row for row in rows if _is(row, name, item[name])]
    row = (same or rows)[-1]
    start, end, column = row.start_mark.index, _end(text, row), row.start_mark.column
    if not same:
        line = text[start - column : start]
        return f"{text[:end]}{newline}{line}{_written(item, column, newline)}{text[end:]}"
    if yaml.safe_load(" " * column + text[start:end]) == dict(item):
        return text
    return text[:start] + _written(item, column, newline) + text[end:]


def _children(node: yaml.Node) -> list[yaml.Node]:
    """The items of a list, the values of a mapping."""
    children: list[Any] = [] if isinstance(node, yaml.ScalarNode) else node.value
    return [child[1] if isinstance(child, tuple) else child for child in children]


def _member(node: yaml.Node | None, key: str) -> yaml.Node | None:
    pairs: list[Any] = node.value if isinstance(node, yaml.MappingNode) else []
    return next((value for label, value in pairs if label.value == key), None)


def _is(row: yaml.Node, name: str, value: str) -> bool:
    member = _member(row, name)
    return member is not None and member.value == value


def _end(text: str, node: yaml.Node) -> int:
    """Where a value really ends; the parser counts the blanks and comments behind it in."""
    while not getattr(node, "flow_style", True) and (children := _children(node)):
        node = children[-1]
    return len(text[: node.end_mark.index].rstrip())


def _written(item: Document, column: int, newline: str) -> str:
    """A mapping as YAML that people write: long text as a block, lists one a line."""
    rows = list[str]()
    for key, value in item.items():
        match value:
            case str() if "\n" in value:
                rows += [f"{key}: |", *(f"  {line}" for line in value.splitlines())]
            case list():
                rows += [f"{key}:", *(f"  - {_flow(part)}" for part in cast("list[Any]", value))]
            case _:
                rows.append(f"{key}: {_flow(value)}")
    return (newline + " " * column).join(rows)


def _flow(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=_WIDE, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
