"""TOML, changed in one table: comments, order and layout of everything else stay."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, cast

import tomlkit
from tomlkit.exceptions import TOMLKitError

from factory_mcp.clients.jsonc import Unreadable


def read(text: str) -> dict[str, Any]:
    """The value of a text.

    Raises:
        Unreadable: With the line of the mistake.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Unreadable(str(error)) from error


def put(text: str, path: Sequence[str], value: Mapping[str, Any]) -> str:
    """The text with the table `value` at `path`; the text itself where it stands there already.

    Raises:
        Unreadable: The text is no TOML, or something else stands on the path.
    """
    found: Any = read(text)
    for step in path:
        found = cast("dict[str, Any]", found).get(step, {})
        if not isinstance(found, dict):
            raise Unreadable(f"{'.'.join(path)} has no place: {step} is no table")
    if found == value:
        return text
    with suppress(TOMLKitError, Unreadable):
        changed = _changed(text, path, value) if found else _appended(text, path, value)
        if read(changed) == _expected(text, path, value):
            return changed
    raise Unreadable(f"the table {'.'.join(path)} is written in a way that cannot be changed")


def _expected(text: str, path: Sequence[str], value: Mapping[str, Any]) -> dict[str, Any]:
    """The whole as it must be afterwards, and nothing else."""
    whole = read(text)
    table: dict[str, Any] = whole
    for step in path[:-1]:
        table = table.setdefault(step, {})
    table[path[-1]] = dict(value)
    return whole


def _appended(text: str, path: Sequence[str], value: Mapping[str, Any]) -> str:
    newline = "\r\n" if "\r\n" in text else "\n"
    before = text if not text or text.endswith("\n") else text + newline
    gap = newline if before.strip() else ""
    rows = [f"[{'.'.join(path)}]", *_rows(value)]
    return before + gap + newline.join(rows) + newline


def _rows(value: Mapping[str, Any]) -> list[str]:
    written: dict[str, Any] = {key: tomlkit.item(item) for key, item in value.items()}
    return [f"{key} = {item.as_string()}" for key, item in written.items()]


def _changed(text: str, path: Sequence[str], value: Mapping[str, Any]) -> str:
    """Change the keys where they stand; new ones go right below the table's head."""
    document: Any = tomlkit.parse(text)
    table = document
    for step in path:
        table = table[step]
    for key in [key for key in table if key not in value]:
        del table[key]
    for key in [key for key in table if table[key] != value[key]]:
        table[key] = value[key]
    fresh = {key: item for key, item in value.items() if key not in table}
    name = r"\s*\.\s*".join(map(re.escape, path))
    head = re.compile(rf"^[ \t]*\[\s*{name}\s*\].*?(?=\r?$)", re.MULTILINE)
    written = cast("str", document.as_string())
    if len(head.findall(written)) != 1:  # an inline table
        table.update(fresh)
        return cast("str", document.as_string())
    newline = "\r\n" if "\r\n" in text else "\n"
    return head.sub(lambda line: newline.join([line.group(), *_rows(fresh)]), written)
