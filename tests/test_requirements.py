"""The promises in `requirements.py` and the tests that prove them, held against each other."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import requirements
from tests.requirements import REQUIREMENTS

TESTS = Path(__file__).parent


def _marked(path: Path) -> Iterator[tuple[str, str]]:
    """The ids that a file's `requirement` marks name, with where."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "requirement"
        ):
            for argument in node.args:
                if isinstance(argument, ast.Constant):
                    where = f"{path.relative_to(TESTS)}:{node.lineno}"
                    yield str(argument.value), where


def _proven() -> dict[str, str]:
    return dict(mark for path in sorted(TESTS.rglob("test_*.py")) for mark in _marked(path))


@pytest.mark.requirement("HOUSE-1")
def test_every_promise_is_proven_by_a_test() -> None:
    """An id of the manifest without a test would be a claim."""
    assert [] == sorted(set(REQUIREMENTS) - set(_proven()))


@pytest.mark.requirement("HOUSE-1")
def test_every_mark_names_a_promise() -> None:
    """A mark with an id that nobody promised is a typing mistake."""
    unknown = {name: where for name, where in _proven().items() if name not in REQUIREMENTS}
    assert {} == unknown


def test_no_promise_hides_another() -> None:
    """Two sections with the same id would merge into one."""
    sections = [
        value
        for name, value in vars(requirements).items()
        if name.isupper() and name != "REQUIREMENTS"
    ]
    assert sum(map(len, sections)) == len(REQUIREMENTS)


def test_every_promise_says_what_and_whence() -> None:
    """An id, one sentence, and the place the promise comes from."""
    bad = [
        name
        for name, (promise, source) in REQUIREMENTS.items()
        if not re.fullmatch(r"[A-Z]+-\d+[a-z]?", name) or len(promise) < 10 or not source
    ]
    assert [] == bad
