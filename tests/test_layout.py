"""The shape of the repository: sizes, dependencies, lock files and what the wheel ships."""

import ast
import json
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "factory_mcp"
LOCKS = ("requirements.lock", "requirements-dev.lock")
MAX_FILE = 400
MAX_FUNCTION = 50
# The SDK's wire types are released with it, at the same version.
PART_OF = {"mcp-types": "mcp"}


def _sources(*folders: str, kinds: tuple[str, ...] = ("*.py",)) -> list[Path]:
    return sorted(path for f in folders for kind in kinds for path in (ROOT / f).rglob(kind))


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


# -------------------------------------------------------------------------------- sizes


@pytest.mark.requirement("HOUSE-2")
def test_no_file_is_longer_than_a_reader_can_hold() -> None:
    """A file is one responsibility."""
    sources = _sources("src", "tests", "bench", "scripts", kinds=("*.py", "*.sh"))
    sources.remove(ROOT / "tests" / "requirements.py")  # a table: a row for every promise
    lengths = {p: len(p.read_text(encoding="utf-8").splitlines()) for p in sources}
    assert {} == {str(p.relative_to(ROOT)): n for p, n in lengths.items() if n > MAX_FILE}


def _lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = function.body[1 if ast.get_docstring(function) and len(function.body) > 1 else 0]
    return (function.end_lineno or 0) - first.lineno + 1


@pytest.mark.requirement("HOUSE-2")
def test_no_function_is_longer_than_a_screen() -> None:
    """A function is one thought; its docstring is not counted."""
    functions = (
        (path, node)
        for path in _sources("src", "bench", "scripts")  # a test may list much that it expects
        if "migrations" not in path.parts  # likewise columns
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    lengths = {f"{p.relative_to(ROOT)}:{node.name}": _lines(node) for p, node in functions}
    long = {name: length for name, length in lengths.items() if length > MAX_FUNCTION}
    assert {} == long


@pytest.mark.requirement("HOUSE-2")
def test_every_file_of_the_package_says_what_it_is_for() -> None:
    """A reader opens a file and knows whether it is the right one."""
    mute = [p for p in sorted(PACKAGE.rglob("*.py")) if not ast.get_docstring(_tree(p))]
    assert [] == [str(path.relative_to(ROOT)) for path in mute]


# ------------------------------------------------------------------------- dependencies


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def _used() -> set[str]:
    """The distributions that the package imports."""
    modules = set(chain.from_iterable(map(_imported, PACKAGE.rglob("*.py"))))
    foreign = modules - sys.stdlib_module_names - {"factory_mcp"}
    providers = packages_distributions()
    names = {canonicalize_name(providers.get(module, [module])[0]) for module in foreign}
    return {PART_OF.get(name, name) for name in names}


def _names(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(text).name) for text in requirements}


@pytest.mark.requirement("HOUSE-3")
def test_the_package_imports_what_it_depends_on_and_nothing_else() -> None:
    """A dependency that came along with another may leave with it; an unused one only weighs."""
    project = _project()
    needed, server = _names(project["dependencies"]), _names(
        project["optional-dependencies"]["server"]
    )
    assert needed == _used() - server
    assert set() == {name for name in server - _used() if "opentelemetry" not in name}


# --------------------------------------------------------------------------- lock files


def _pins(lock: str) -> dict[str, str]:
    text = (ROOT / lock).read_text(encoding="utf-8")
    found = re.findall(r"^([a-z0-9][\w.-]*)==([\w.+!-]+)", text, re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


@pytest.mark.requirement("HOUSE-4")
@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_file_pins_by_hash_and_names_no_address(lock: str) -> None:
    """Whoever serves the packages cannot change them, and anybody may serve them."""
    text = (ROOT / lock).read_text(encoding="utf-8")
    entries = re.split(r"\n(?=[a-z0-9])", text)[1:]
    assert len(entries) == len(_pins(lock))
    assert [] == [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry]
    assert [] == re.findall(r"https?://|file:|--index-url|--find-links|(?<= )/\w+", text)


@pytest.mark.requirement("HOUSE-4")
def test_the_lock_files_pin_what_the_project_asks_for() -> None:
    """An edit of pyproject.toml without `make lock` is found here."""
    project = _project()
    wanted = {
        "requirements.lock": project["dependencies"],
        "requirements-dev.lock": [
            *project["dependencies"],
            *project["optional-dependencies"]["dev"],
        ],
    }
    stale = [
        f"{lock}: {requirement}"
        for lock, requirements in wanted.items()
        for requirement in map(Requirement, requirements)
        if not requirement.specifier.contains(
            _pins(lock).get(canonicalize_name(requirement.name), "0"), prereleases=True
        )
    ]
    assert [] == stale


@pytest.mark.requirement("HOUSE-4")
def test_what_is_tested_is_what_is_run() -> None:
    """The tests' lock holds the server's lock, version by version."""
    assert _pins(LOCKS[0]).items() <= _pins(LOCKS[1]).items()


@pytest.mark.requirement("HOUSE-4")
@pytest.mark.parametrize("folder", ["tests/real/ts", "tests/conformance/npm"])
def test_the_npm_lock_file_pins_by_hash_and_names_no_address(folder: str) -> None:
    """What comes from npm comes from whatever registry the machine uses."""
    lock = json.loads((ROOT / folder / "package-lock.json").read_text(encoding="utf-8"))
    packages = {path: entry for path, entry in lock["packages"].items() if path}
    assert [] == [path for path, entry in packages.items() if "integrity" not in entry]
    assert [] == [path for path, entry in packages.items() if "resolved" in entry]


# -------------------------------------------------------------------------------- wheel


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names of the files in the wheel, as its users get it."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    subprocess.run([*build, "--directory", str(folder)], cwd=ROOT, check=True, capture_output=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        return set(wheel.namelist())


@pytest.mark.requirement("HOUSE-5")
def test_the_wheel_holds_every_file_of_the_package(shipped: set[str]) -> None:
    """What works in the checkout works when it is installed."""
    here = {
        f"factory_mcp/{path.relative_to(PACKAGE).as_posix()}"
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert set() == here - shipped


@pytest.mark.requirement("HOUSE-5")
@pytest.mark.parametrize(
    "pattern",
    [
        r"factory_mcp/droid_specs/code\.md",
        r"factory_mcp/py\.typed",
        r"factory_mcp/(.*/)?hello\.json",
        r"factory_mcp/stores/sql/migrations/.*0001.*\.py",
    ],
)
def test_the_wheel_holds_what_is_read_at_run_time(shipped: set[str], pattern: str) -> None:
    """Specs, the static first answer, the migrations and the types' marker."""
    assert any(re.fullmatch(pattern, name) for name in shipped)


@pytest.mark.requirement("HOUSE-5")
def test_the_wheel_holds_all_droid_specs(shipped: set[str]) -> None:
    """The five of the checkout, no more and no fewer."""
    here = {path.name for path in (ROOT / "droid_specs").glob("*.md")}
    there = {n.rpartition("/")[2] for n in shipped if n.startswith("factory_mcp/droid_specs/")}
    assert here == there
