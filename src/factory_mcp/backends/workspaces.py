"""The folders a droid may work in: opened by path, judged and described without running anything.

Not even git runs here: a repository can configure programs that git starts.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio.to_thread

from factory_mcp.backends.hooks import dangers, read_file
from factory_mcp.domain.errors import WorkspaceHasHooks, WorkspaceOutsideRoots
from factory_mcp.domain.model import Workspace

_TOP_ENTRIES = 20
_NAME_LENGTH = 80
_PATH_LENGTH = 400

# manifest -> how tests are guessed from it, None if they cannot be
_MANIFESTS: dict[str, str | None] = {
    "Makefile": "make test",
    "pyproject.toml": "pytest",
    "package.json": "npm test",
    "go.mod": "go test ./...",
    "Cargo.toml": "cargo test",
    "setup.py": None,
    "requirements.txt": None,
    "pom.xml": None,
    "build.gradle": None,
    "build.gradle.kts": None,
    "CMakeLists.txt": None,
    "Gemfile": None,
    "composer.json": None,
    "Dockerfile": None,
}


@dataclass(frozen=True, slots=True)
class FolderWorkspaces:
    """Folders inside `roots`, by absolute path.

    `trusted` folders (or folders whose git root is one of them) are opened even if their
    repository would start programs; so is every folder when the droid runs `sandboxed`.
    """

    roots: Sequence[Path]
    trusted: Sequence[Path] = ()
    sandboxed: bool = False

    async def open(self, path: str | None) -> Workspace | None:
        """The workspace at `path`, or at the first root; None without either.

        Raises:
            WorkspaceOutsideRoots: Not an existing folder inside a root.
            WorkspaceHasHooks: It would act by itself, and nobody trusted it.
        """
        try:
            return await anyio.to_thread.run_sync(self._open, path)
        except (OSError, RuntimeError) as error:  # not readable, or a root that is a loop of links
            raise WorkspaceOutsideRoots(f"workspace: cannot be read: {error}") from error

    async def key(self) -> str | None:
        """The first root's key of context chains, whatever the folder holds."""
        return await anyio.to_thread.run_sync(self._key)

    def _key(self) -> str | None:
        if not self.roots:
            return None
        folder = self.roots[0].resolve()
        return _key_of(folder, _find_git(folder))

    def _open(self, path: str | None) -> Workspace | None:
        if path is None:
            return self._inspect(self.roots[0].resolve()) if self.roots else None
        folder = _resolve(path)
        roots = [root.resolve() for root in self.roots]
        if not any(folder.is_relative_to(root) for root in roots):
            allowed = ", ".join(map(str, roots)) or "none"
            raise WorkspaceOutsideRoots(
                f"workspace: {folder} is outside the allowed roots ({allowed})"
            )
        return self._inspect(folder)

    def _inspect(self, folder: Path) -> Workspace:
        if not folder.is_dir():
            raise WorkspaceOutsideRoots(f"workspace: {folder} is not an existing folder")
        git = _find_git(folder)
        if not self._is_trusted(folder, git):
            found = dangers(_read_by_droid(folder, git))
            if found:
                raise WorkspaceHasHooks(
                    f"workspace: {folder} would act by itself under a droid: {'; '.join(found)}"
                )
        return Workspace(path=str(folder), key=_key_of(folder, git), facts=_facts(folder, git))

    def _is_trusted(self, folder: Path, git: "_Git | None") -> bool:
        trusted = {path.resolve() for path in self.trusted}
        return self.sandboxed or folder in trusted or (git is not None and git.root in trusted)


def _resolve(path: str) -> Path:
    wrong = None
    if "\0" in path:
        wrong = "contains a NUL character"
    elif not path.startswith("/"):
        wrong = "is not an absolute path"
    elif ".." in Path(path).parts:
        wrong = "contains '..'"
    if wrong is None:
        try:
            return Path(path).resolve(strict=True)
        except FileNotFoundError:
            wrong = "does not exist"
        except (OSError, RuntimeError, ValueError):  # too long, a loop of links, no such encoding
            wrong = "cannot be opened"
    raise WorkspaceOutsideRoots(f"workspace: {_printable(path, _PATH_LENGTH)!r} {wrong}")


# ------------------------------------------------------------------------------------- git


def _key_of(folder: Path, git: "_Git | None") -> str:
    """The git common directory where there is one, else the folder."""
    return str(_common_directory(git.directory) if git and git.directory else folder)


@dataclass(frozen=True, slots=True)
class _Git:
    """The git root above a folder; `directory` is None if its `.git` is no repository."""

    root: Path
    directory: Path | None


def _find_git(folder: Path) -> _Git | None:
    """The innermost repository; failing that, the innermost `.git` of any kind."""
    found = [
        _Git(above, _git_directory(above / ".git"))
        for above in (folder, *folder.parents)
        if (above / ".git").exists()
    ]
    return next((git for git in found if git.directory), found[0] if found else None)


def _git_directory(dot_git: Path) -> Path | None:
    """Where `.git` leads: itself, or the folder that a worktree's or submodule's file names."""
    if dot_git.is_dir():
        directory = dot_git.resolve()
        known = ("HEAD", "objects", "refs")
    else:
        named = _first_line(dot_git)
        if not named.startswith("gitdir:"):
            return None
        directory = (dot_git.parent / named.removeprefix("gitdir:").strip()).resolve()
        known = ("HEAD",)
    return directory if all((directory / name).exists() for name in known) else None


def _common_directory(git_directory: Path) -> Path:
    """The directory that all worktrees of a repository share."""
    named = _first_line(git_directory / "commondir")
    return (git_directory / named).resolve() if named else git_directory


def _first_line(path: Path) -> str:
    try:
        return ((read_file(path) or "").splitlines() or [""])[0].strip()
    except (OSError, ValueError):
        return ""


def _read_by_droid(folder: Path, git: _Git | None) -> list[Path]:
    """The folders whose `.factory` a droid in `folder` reads."""
    if git is None:
        return [folder]
    above = [folder, *folder.parents]
    return above[: above.index(git.root) + 1]


# ----------------------------------------------------------------------------------- facts


def _facts(folder: Path, git: _Git | None) -> dict[str, str]:
    names = sorted(entry.name for entry in folder.iterdir() if entry.name != ".git")
    manifests = [name for name in _MANIFESTS if name in names]
    facts = {
        "branch": _branch(git.directory) if git and git.directory else "",
        "top": _top(folder, names),
        "manifests": ", ".join(manifests),
        "tests": _tests(folder, manifests),
    }
    return {name: value for name, value in facts.items() if value}


def _branch(git_directory: Path) -> str:
    head = _first_line(git_directory / "HEAD")
    if head.startswith("ref: refs/heads/"):
        return _printable(head.removeprefix("ref: refs/heads/"))
    return f"detached at {head[:12]}" if re.fullmatch("[0-9a-f]{40,64}", head) else ""


def _top(folder: Path, names: Sequence[str]) -> str:
    first = names[:_TOP_ENTRIES]
    shown = [_printable(name) + ("/" if (folder / name).is_dir() else "") for name in first]
    left = len(names) - len(shown)
    return ", ".join(shown) + (f" and {left} more" if left > 0 else "")


def _tests(folder: Path, manifests: Sequence[str]) -> str:
    for manifest in manifests:
        command = _MANIFESTS[manifest]
        if command and _has_tests(folder / manifest):
            return command
    return ""


def _has_tests(manifest: Path) -> bool:
    """Whether the manifest declares tests, where it has a place to declare them."""
    try:
        text = read_file(manifest) or ""
        if manifest.name == "Makefile":
            return re.search(r"^test\s*:(?!=)", text, re.MULTILINE) is not None
        if manifest.name == "package.json":
            package: Any = json.loads(text)
            return bool(package["scripts"]["test"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return False
    return True


def _printable(name: str, length: int = _NAME_LENGTH) -> str:
    """A name without control characters or lone surrogates, of a bounded length."""
    return "".join(c if c.isprintable() else "\ufffd" for c in name[:length])
