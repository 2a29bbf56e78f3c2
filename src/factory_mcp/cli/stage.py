"""How the tour looks: scenes, calls, answers; in colour, plain, or as a picture."""

import json
import re
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.text import Text

WIDTH: Final = 110


class Stage:
    """Prints a tour as it happens, and can save it as an SVG."""

    def __init__(self, *, plain: bool) -> None:
        self._console = Console(
            width=WIDTH,
            record=True,
            highlight=False,
            no_color=plain or None,
            force_terminal=False if plain else None,
        )
        self._scenes = 0

    def server(self, what: str, tools: int, seconds: float) -> None:
        """A server is up."""
        line = f"\n$ factory-mcp stdio   ({what}; up in {1e3 * seconds:.0f} ms, {tools} tools)"
        self._print(line, "dim")

    def scene(self, title: str) -> None:
        """What comes next."""
        self._scenes += 1
        self._print(f"\n{self._scenes} · {title}", "bold cyan")

    def call(self, tool: str, arguments: dict[str, Any]) -> None:
        """A tool call."""
        self._print(f"→ {tool} {json.dumps(arguments, ensure_ascii=False)}", "yellow")

    def answer(self, text: str, lines: int, seconds: float) -> None:
        """The first lines of what a model reads."""
        shown = [line for line in text.splitlines() if line.strip()]
        for line in shown[:lines]:
            self._print(f"  {line}", "bold green" if line.startswith("DONE") else "default")
        rest = len(shown) - lines
        more = f"… {rest} more line{'s' * (rest > 1)}, " if rest > 0 else ""
        self._print(f"  ({more}{seconds:.2f} s)", "dim")

    def end(self, line: str) -> None:
        """The last line."""
        self._print(f"\n{line}", "dim")

    def save(self, path: Path) -> None:
        """Write what was shown as an SVG that fetches nothing from anywhere."""
        picture = self._console.export_svg(title="factory-mcp demo")
        path.write_text(re.sub(r"@font-face {.*?}\s*", "", picture, flags=re.DOTALL), "utf-8")

    def _print(self, line: str, style: str) -> None:
        self._console.print(Text(line, style))
