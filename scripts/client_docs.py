"""Write the made parts of docs/clients.md anew, from clients.toml: after a change to that table."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from factory_mcp.clients.entry import KEY, Secret, Wish, edited, entry
from factory_mcp.clients.table import Client, client, clients

PAGE: Final = Path(__file__).parents[1] / "docs" / "clients.md"
PROGRAM: Final = "/abs/path/factory-mcp"
URL: Final = "https://mcp.example.com/mcp"
MADE: Final = re.compile(r"(<!-- made: (\S+) -->\n).*?(<!-- made end -->\n)", re.DOTALL)


def made(page: str) -> str:
    """The page with what stands between its marks made anew."""
    return MADE.sub(lambda found: found[1] + _part(found[2]) + found[3], page)


def _part(name: str) -> str:
    tables: Mapping[str, Callable[[], str]] = {"http": _http, "limits": _limits}
    return tables[name]() if name in tables else _client(client(name))


def _client(row: Client) -> str:
    places = [f"`{row.user[0]}`", *(f"`{name}` (project)" for name in row.project)]
    secret = Secret(name=KEY, literal=None if row.variable else "…")
    project = "/abs/path/of/your/project" if "<project>" in str(row.stdio) else None
    wish = Wish(program=PROGRAM, project=project, secret=secret)
    text = f"```{row.format}\n{edited(row, '', wish)}```\n"
    return f"{', '.join(places)}\n\n{text}\n{row.after}\n"


def _http() -> str:
    head = "| client | the entry `factory` |\n|---|---|\n"
    return head + "".join(f"| {row.title} | `{_remote(row)}` |\n" for row in clients().values())


def _remote(row: Client) -> str:
    literal = None if row.variable else "…"
    wish = Wish(program="", url=URL, secret=Secret(name="FACTORY_MCP_KEY", literal=literal))
    found = entry(row, wish)
    if row.format == "json":
        return json.dumps(found, ensure_ascii=False)
    return "; ".join(f"{key} = {json.dumps(value)}" for key, value in found.items())


def _limits() -> str:
    head = (
        "| client | a silent call, at most | a server's start | time-outs in its file | text |"
        " shown to the model |\n|---|---|---|---|---|---|\n"
    )
    return head + "".join(map(_limit, clients().values()))


def _limit(row: Client) -> str:
    limits, more = row.limits, ""
    if row.profile.progress_extends:
        more = ", longer with progress"
    start = f"{limits.start_s:g} s" if limits.start_s else "does not wait, or not known"
    text = f"{limits.text} characters" if limits.text else "no limit known"
    unit = {"s": "seconds", "ms": "milliseconds", "none": "none"}[limits.unit]
    cells = (row.title, f"{limits.call_s:g} s{more}", start, unit, text, row.profile.shows)
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    PAGE.write_text(made(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"wrote {PAGE}")
