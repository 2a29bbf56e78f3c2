"""A bar on a terminal for what takes its time; nothing where nobody looks."""

from collections.abc import Callable, Generator
from contextlib import contextmanager


@contextmanager
def bar() -> Generator[Callable[[str, int, int], None]]:
    """Hears what is being done, how many rows are done, and of how many."""
    from rich import progress as rich  # noqa: PLC0415 — not before it is used
    from rich.console import Console  # noqa: PLC0415

    console = Console(stderr=True)
    columns = (
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TimeRemainingColumn(),
    )
    steps: dict[str, rich.TaskID] = {}
    with rich.Progress(*columns, console=console, disable=not console.is_terminal) as progress:

        def told(step: str, done: int, of: int) -> None:
            if step not in steps:
                steps[step] = progress.add_task(step, total=of)
            progress.update(steps[step], completed=done)

        yield told
