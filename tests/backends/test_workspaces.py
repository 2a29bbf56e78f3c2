"""Folders that a droid may work in: which, by what name, and what is known of them unrun."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from factory_mcp.backends.workspaces import FolderWorkspaces
from factory_mcp.domain.errors import WorkspaceHasHooks, WorkspaceOutsideRoots
from factory_mcp.domain.model import Workspace

COMMIT = "0123456789abcdef0123456789abcdef01234567"
HOOK: Any = {"Stop": [{"hooks": [{"type": "command", "command": "true"}]}]}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path.resolve() / "root"
    folder.mkdir()
    return folder


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def repository(folder: Path, head: str = "ref: refs/heads/main") -> None:
    """As much of a repository as git wants to see."""
    for name in ("objects", "refs"):
        (folder / ".git" / name).mkdir(parents=True)
    write(folder / ".git" / "HEAD", head + "\n")


async def opened(root: Path, path: Path | None = None, **more: Any) -> Workspace:
    found = await FolderWorkspaces([root], **more).open(None if path is None else str(path))
    assert found is not None
    return found


async def refusal(root: Path, path: Path | str) -> str:
    with pytest.raises(WorkspaceOutsideRoots) as refused:
        await FolderWorkspaces([root]).open(str(path))
    return refused.value.message


async def hooks_in(root: Path, path: Path | None = None, **more: Any) -> str:
    with pytest.raises(WorkspaceHasHooks) as refused:
        await opened(root, path, **more)
    return refused.value.message


# ----------------------------------------------------------------------------- which ones


@pytest.mark.requirement("DROID-18")
async def test_nothing_named_is_the_first_root(root: Path) -> None:
    """And nothing at all where there is no root."""
    first = await FolderWorkspaces([root, root.parent]).open(None)

    assert first is not None
    assert str(root) == first.path
    assert None is await FolderWorkspaces([]).open(None)


@pytest.mark.requirement("DROID-18")
async def test_a_folder_inside_a_root_is_known_by_its_real_path(root: Path) -> None:
    """A link is followed; a root may be a link itself."""
    (root / "sub").mkdir()
    (root / "link").symlink_to("sub")
    (root.parent / "alias").symlink_to(root)

    assert str(root / "sub") == (await opened(root, root / "link")).path
    assert str(root / "sub") == (await opened(root.parent / "alias", root / "sub")).path


@pytest.mark.requirement("DROID-18")
@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/etc", "/etc is outside the allowed roots (ROOT)"),
        ("ROOT/../root", "'ROOT/../root' contains '..'"),
        ("ROOT/escape", "/etc is outside the allowed roots (ROOT)"),
        ("ROOT-not", "ROOT-not is outside the allowed roots (ROOT)"),
        ("ROOT/file", "ROOT/file is not an existing folder"),
        ("ROOT/none", "'ROOT/none' does not exist"),
        ("ROOT/loop", "'ROOT/loop' cannot be opened"),
        ("ROOT/\ud800", "'ROOT/\ufffd' cannot be opened"),
        ("sub", "'sub' is not an absolute path"),
        ("", "'' is not an absolute path"),
        ("ROOT\0/sub", "'ROOT\ufffd/sub' contains a NUL character"),
    ],
)
async def test_a_path_that_is_no_folder_inside_is_refused(root: Path, path: str, why: str) -> None:
    """One clear error that names the argument and the roots."""
    (root / "file").touch()
    (root / "escape").symlink_to("/etc")
    (root / "loop").symlink_to("loop")
    root.with_name("root-not").mkdir()

    message = await refusal(root, path.replace("ROOT", str(root)))

    assert message.startswith("workspace: ")
    assert why.replace("ROOT", str(root)) in message


@pytest.mark.requirement("DROID-18")
async def test_what_the_system_cannot_open_is_refused(root: Path) -> None:
    """A name too long for it; a root that leads back to itself."""
    (root / "loop").symlink_to("loop")

    assert "cannot be opened" in await refusal(root, root / ("x" * 300))
    with pytest.raises(WorkspaceOutsideRoots, match="workspace: cannot be read"):
        await FolderWorkspaces([root / "loop"]).open(None)


async def test_the_key_of_the_first_root_is_known_whatever_it_holds(root: Path) -> None:
    """Context is read where no droid may work."""
    write(root / ".factory" / "hooks.json", HOOK)

    assert str(root) == await FolderWorkspaces([root]).key()
    assert None is await FolderWorkspaces([]).key()


# ------------------------------------------------------------------ what acts by itself


@pytest.mark.requirement("DROID-16")
@pytest.mark.parametrize(
    ("file", "content", "why"),
    [
        ("settings.json", {"hooks": HOOK}, "hooks"),
        ("settings.local.json", {"hooks": HOOK}, "hooks"),
        ("hooks.json", HOOK, "Stop"),
        ("hooks.json", {"hooks": HOOK}, "hooks"),
        ("hooks/hooks.json", HOOK, "Stop"),
        ("mcp.json", {"mcpServers": {"x": {"command": "true"}}}, "mcpServers"),
        ("mcp.json", {"mcpServers": {"x": {"disabled": True}}}, "mcpServers"),
        ("settings.json", {"enabledPlugins": {"p@m": True}}, "enabledPlugins"),
        ("settings.json", {"customModels": ["x"], "env": {"A": "b"}}, "customModels, env"),
        ("config.json", {"custom_models": ["x"]}, "custom_models"),
        ("settings.local.json", {"commandAllowlist": ["rm"]}, "commandAllowlist"),
        ("settings.json", '{"theme": "dark", // a comment\n}', "cannot be judged"),
        ("hooks.json", "[]", "cannot be judged"),
        ("hooks.json", "null", "cannot be judged"),
        ("mcp.json", "", "cannot be judged"),
        ("mcp.json", " " * ((1 << 20) + 1), "cannot be judged"),
        ("mcp.json", "[" * 100_000, "cannot be judged"),
    ],
)
async def test_a_folder_that_acts_by_itself_is_refused(
    root: Path, file: str, content: object, why: str
) -> None:
    """By name of the file and of what is in it; what cannot be judged is refused too."""
    path = root / ".factory" / file
    write(path, content)

    message = await hooks_in(root)

    assert f"workspace: {root} would act by itself under a droid: {path} ({why})" == message


@pytest.mark.parametrize("kind", ["pipe", "folder", "not utf-8", "loop"])
async def test_a_settings_file_that_is_no_text_is_refused(root: Path, kind: str) -> None:
    """And reading it waits for nobody."""
    path = root / ".factory" / "settings.json"
    path.parent.mkdir()
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "loop":
            path.symlink_to(path.name)
        case _:
            path.write_bytes(b"\xff")

    assert f"{path} (cannot be judged)" in await hooks_in(root)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("settings.json", {"theme": "dark", "hooks": {}, "customModels": []}),
        ("settings.json", {"hooksDisabled": True}),
        ("hooks.json", {"Stop": []}),
        ("hooks.json", {}),
        ("mcp.json", {"mcpServers": {}}),
        ("droids/mine.md", "---\nname: mine\n---\nprompt"),
        ("hooks", "a file in the folder's place"),
    ],
)
async def test_harmless_settings_are_no_reason(root: Path, file: str, content: object) -> None:
    """A repository may have preferences and droids."""
    write(root / ".factory" / file, content)

    assert str(root) == (await opened(root)).path


@pytest.mark.requirement("DROID-16")
async def test_folders_above_count_up_to_the_git_root(root: Path) -> None:
    """Further up the droid does not look; without git it looks nowhere else."""
    shop, inner = root / "shop", root / "shop" / "a" / "b"
    inner.mkdir(parents=True)
    write(root / ".factory" / "hooks.json", HOOK)
    write(shop / "a" / ".factory" / "hooks.json", HOOK)

    assert str(inner) == (await opened(root, inner)).path
    repository(shop)
    between = await hooks_in(root, inner)
    (shop / "a" / ".factory" / "hooks.json").unlink()

    assert f"{shop}/a/.factory/hooks.json" in between
    assert f"{root}/.factory" not in between
    assert str(inner) == (await opened(root, inner)).path


@pytest.mark.requirement("DROID-16")
async def test_a_git_folder_that_is_none_hides_nothing(root: Path) -> None:
    """Git looks further up, the droid does not: both are taken into account."""
    inner = root / "a" / "b"
    (root / "a" / ".git").mkdir(parents=True)
    inner.mkdir()
    write(root / "a" / ".factory" / "hooks.json", HOOK)

    assert f"{root}/a/.factory" in await hooks_in(root, inner)
    repository(root)
    write(root / ".factory" / "hooks.json", HOOK)
    assert f"{root}/.factory" in await hooks_in(root, inner)


@pytest.mark.requirement("DROID-16")
async def test_trust_covers_a_folder_and_its_repository(root: Path) -> None:
    """Not its neighbours; a sandboxed droid may meet anything."""
    repository(root / "shop")
    (root / "shop" / "sub").mkdir()
    write(root / "shop" / ".factory" / "hooks.json", HOOK)
    (root / "link").symlink_to("shop")

    for trusted in (root / "shop", root / "link"):
        await opened(root, root / "shop" / "sub", trusted=[trusted])
    await opened(root, root / "shop" / "sub", trusted=[root / "shop" / "sub"])
    await opened(root, root / "shop", sandboxed=True)
    await hooks_in(root, root / "shop", trusted=[root, root / "shop" / "sub"])


# --------------------------------------------------------------------- what is known of it


@pytest.mark.requirement("DROID-19")
async def test_the_key_is_what_all_worktrees_share(root: Path) -> None:
    """The git common directory, else the folder."""
    repository(root / "shop")
    shared = root / "shop" / ".git"
    write(shared / "worktrees" / "w" / "HEAD", "ref: refs/heads/feature\n")
    write(shared / "worktrees" / "w" / "commondir", "../..\n")
    write(root / "w" / ".git", f"gitdir: {shared}/worktrees/w\n")
    write(shared / "modules" / "m" / "HEAD", "ref: refs/heads/main\n")
    write(root / "shop" / "m" / ".git", "gitdir: ../.git/modules/m\n")
    (root / "shop" / "sub").mkdir()
    (root / "plain").mkdir()

    keys = {
        name: (await opened(root, root / name)).key
        for name in ("shop", "shop/sub", "w", "shop/m", "plain")
    }

    assert {
        "shop": str(shared),
        "shop/sub": str(shared),
        "w": str(shared),
        "shop/m": str(shared / "modules" / "m"),
        "plain": str(root / "plain"),
    } == keys
    assert "feature" == (await opened(root, root / "w")).facts["branch"]


@pytest.mark.parametrize("content", ["nonsense", "", "gitdir: nowhere", b"\xff"])
async def test_a_git_file_that_leads_nowhere_is_no_repository(root: Path, content: Any) -> None:
    """The folder is then its own key."""
    (root / ".git").write_bytes(content if isinstance(content, bytes) else content.encode())

    found = await opened(root)

    assert (str(root), None) == (found.key, found.facts.get("branch"))


@pytest.mark.requirement("DROID-19")
@pytest.mark.parametrize(
    ("head", "branch"),
    [
        ("ref: refs/heads/feature/x", "feature/x"),
        (COMMIT, "detached at 0123456789ab"),
        ("garbage", None),
    ],
)
async def test_the_branch_is_read_not_asked_for(root: Path, head: str, branch: str | None) -> None:
    """No git runs: a repository can configure programs that git starts."""
    repository(root, head)

    assert branch == (await opened(root)).facts.get("branch")


@pytest.mark.requirement("DROID-19")
@pytest.mark.parametrize(
    ("files", "manifests", "tests"),
    [
        ({"Makefile": "build:\n\ntest: build\n\tpytest\n"}, "Makefile", "make test"),
        ({"Makefile": "test := x\n", "go.mod": ""}, "Makefile, go.mod", "go test ./..."),
        ({"pyproject.toml": ""}, "pyproject.toml", "pytest"),
        ({"package.json": {"scripts": {"test": "vitest"}}}, "package.json", "npm test"),
        ({"package.json": {"scripts": {}}}, "package.json", None),
        ({"package.json": "[broken"}, "package.json", None),
        ({"package.json": [1], "Cargo.toml": ""}, "package.json, Cargo.toml", "cargo test"),
        ({"Dockerfile": ""}, "Dockerfile", None),
        ({}, None, None),
    ],
)
async def test_manifests_are_named_and_tests_guessed(
    root: Path, files: dict[str, object], manifests: str | None, tests: str | None
) -> None:
    """Only what a manifest declares, where it has a place to declare it."""
    for name, content in files.items():
        write(root / name, content)

    facts = (await opened(root)).facts

    assert (manifests, tests) == (facts.get("manifests"), facts.get("tests"))


@pytest.mark.requirement("DROID-19")
async def test_the_top_level_is_listed_up_to_a_measure(root: Path) -> None:
    """Twenty names without control characters, folders told by a slash, .git left out."""
    repository(root)
    (root / "a\nb").touch()
    for number in range(22):
        (root / f"d{number:02}").mkdir()

    top = (await opened(root)).facts["top"]

    assert top.startswith("a\ufffdb, d00/, d01/")
    assert top.endswith("d18/ and 3 more")
