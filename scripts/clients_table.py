"""The table of clients in docs/clients.md, from what the tests of real clients wrote down.

clients_table.py check RECORD    fail where RECORD and docs/clients.json differ, seconds apart
clients_table.py take RECORD     make RECORD docs/clients.json, and write the table anew
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

DOCS = Path(__file__).parents[1] / "docs"
RECORD = DOCS / "clients.json"
PAGE = DOCS / "clients.md"
BEGIN = "<!-- tried: written by scripts/clients_table.py from clients.json -->\n"
END = "<!-- tried end -->\n"
HEAD = """\
| client | version | transport: protocol, seconds | shown to the model | 75 s run |
|---|---|---|---|---|
"""

Json = dict[str, Any]


def table(record: Json) -> str:
    """The rows in Markdown, by title."""
    clients: list[Json] = sorted(record.values(), key=lambda client: client["title"].casefold())
    return HEAD + "".join(map(_row, clients))


def _row(client: Json) -> str:
    ways = [(way, client[way]) for way in ("stdio", "http", "sse") if way in client]
    calls = "; ".join(f"{way}: {tried['protocol']}, {tried['seconds']} s" for way, tried in ways)
    shown = ", ".join(sorted({tried["shown"] for _, tried in ways}))
    run = f"collected after {client['long_run']['seconds']} s"
    return f"| {client['title']} | {client['version']} | {calls} | {shown} | {run} |\n"


def between_marks(page: str) -> tuple[str, str, str]:
    """The page before the table, the table, the page after it."""
    before, _, rest = page.partition(BEGIN)
    old, _, after = rest.partition(END)
    return before + BEGIN, old, END + after


def differences(old: Any, new: Any, where: str = "") -> Iterator[str]:
    """Where two records say different things; how many seconds is nobody's promise."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        if old != new:
            yield f"{where[1:]}: {old!r} in docs/clients.json, now {new!r}"
        return
    was, now = cast("Json", old), cast("Json", new)
    for key in sorted(was.keys() | now.keys()):
        if key != "seconds":
            yield from differences(was.get(key), now.get(key), f"{where}.{key}")


def main(command: str, path: str) -> int:
    """Check or take a record; the exit code."""
    record: Json = json.loads(Path(path).read_text(encoding="utf-8"))
    if command == "check":
        known: Json = json.loads(RECORD.read_text(encoding="utf-8"))
        found = list(differences(known, record))
        for difference in found:
            print(difference)
        if found:
            print(f"To take them: .venv/bin/python scripts/clients_table.py take {path}")
        return bool(found)
    before, _, after = between_marks(PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(before + table(record) + after, encoding="utf-8")
    RECORD.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
