"""`factory-mcp install`: write our entry into a client's configuration, and nothing else."""

import difflib
import os
import shutil
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import typer

from factory_mcp.cli.show import AsJson, as_json, one_line_errors
from factory_mcp.clients.entry import KEY, Secret, Wish, edited
from factory_mcp.clients.files import UNTOUCHED, Change, places, read_text, write
from factory_mcp.clients.jsonc import Unreadable
from factory_mcp.clients.modes import agent, roomodes
from factory_mcp.clients.table import Client, client, clients
from factory_mcp.domain.errors import InvalidSetting
from factory_mcp.services.droids import load
from factory_mcp.settings import Settings

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


def install(  # noqa: PLR0913 — each is an option
    name: Annotated[str, typer.Argument(metavar="CLIENT", help=f"One of {', '.join(clients())}.")],
    *,
    remote: Annotated[
        str | None,
        typer.Option("--remote", "--url", help="Call the server there instead of starting one."),
    ] = None,
    project: Annotated[
        Path | None, typer.Option(help="Only for this folder, not for everything you open.")
    ] = None,
    key_env: Annotated[
        str | None, typer.Option(help="The variable that holds the key (or the server's bearer).")
    ] = None,
    modes: Annotated[
        bool, typer.Option("--modes", help="Also a mode or agent for each droid, in the project.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the change only.")] = False,
    json: AsJson = False,
) -> None:
    """Configure a client for factory-mcp; a backup is left beside each file that changes."""
    with one_line_errors():
        chosen = client(name)
        folder = _folder(chosen, project, remote)
        secret = _secret(chosen, remote, key_env, os.environ)
        wish = Wish(
            program=program(),
            url=_address(remote),
            project=str(folder) if folder else None,
            secret=secret,
        )
        changes = [*_entries(chosen, folder, wish)]
        if modes:
            changes += _modes(chosen, (project or Path()).absolute())
        done = [_done(change, secret, dry=dry_run) for change in changes]
    after = [*_notes(chosen, wish), chosen.after]
    if json:
        as_json({"client": chosen.id, "files": done, "after": after})
    else:
        _tell(done, after, dry=dry_run)


def program() -> str:
    """The absolute path of this program, as another program starts it."""
    beside = Path(sys.executable).with_name("factory-mcp")
    return str(beside) if beside.exists() else shutil.which("factory-mcp") or str(beside)


# ----------------------------------------------------------------------------- what is wanted


def _folder(chosen: Client, project: Path | None, remote: str | None) -> Path | None:
    if project is None:
        return None
    if not project.is_dir():
        raise InvalidSetting(f"--project {project} is no folder.")
    named = remote is None and "<project>" in str(chosen.stdio)
    if not chosen.project and not named:
        raise InvalidSetting(
            f"{chosen.title} takes this from the user's configuration only.",
            remedy="Leave --project out: the user's configuration serves every project.",
        )
    return project.absolute()


def _address(remote: str | None) -> str | None:
    if remote is None:
        return None
    url = urlsplit(remote)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise InvalidSetting(f"--remote {remote} is no address: https://HOST/mcp.")
    return remote if url.path.strip("/") else f"{remote.rstrip('/')}/mcp"


def _secret(
    chosen: Client, remote: str | None, key_env: str | None, env: Mapping[str, str]
) -> Secret | None:
    """The secret that the entry names: the one asked for, else the one that is needed and known."""
    name = key_env or (KEY if remote is None else "FACTORY_MCP_KEY")
    if chosen.variable:
        away = remote is not None and urlsplit(remote).hostname not in LOOPBACK
        here = remote is None and env.get(name)
        return Secret(name=name) if key_env or away or here else None
    if key_env is None:
        return None
    if not env.get(name):
        raise InvalidSetting(
            f"{chosen.title} cannot read variables, and {name} is not set here to be copied."
        )
    return Secret(name=name, literal=env[name])


def _notes(chosen: Client, wish: Wish) -> Iterator[str]:
    """What a reader must know about the secret."""
    if wish.secret and wish.secret.literal:
        yield f"The file holds the value of {wish.secret.name} itself: share it with nobody."
    elif wish.secret:
        where = "asks for" if "input:" in chosen.variable else "takes from its environment"
        yield f"The secret is not in the file: {chosen.title} {where} {wish.secret.name}."
    elif wish.url is None:
        yield f"No key is named: log in with `droid`, or name its variable: --key-env {KEY}."


# -------------------------------------------------------------------------------- the changes


def _entries(chosen: Client, folder: Path | None, wish: Wish) -> Iterator[Change]:
    for path in places(chosen, project=folder, env=os.environ):
        before = read_text(path)
        with _sound(path, chosen.format):
            yield Change(path=path, before=before, after=edited(chosen, before or "", wish))


def _modes(chosen: Client, folder: Path) -> list[Change]:
    if chosen.modes is None:
        has = ", ".join(row.id for row in clients().values() if row.modes)
        raise InvalidSetting(f"{chosen.title} has no modes or agents; these have: {has}.")
    specs = load(Settings.load().spec_folders).all()
    kind, path = chosen.modes["kind"], folder / chosen.modes["path"]
    if kind == "roomodes":
        before = read_text(path)
        with _sound(path, "yaml"):
            return [Change(path=path, before=before, after=roomodes(before or "", specs))]
    files = {path / f"factory-{spec.name}.md": agent(kind, spec) for spec in specs}
    return [Change(path=p, before=read_text(p), after=text) for p, text in files.items()]


@contextmanager
def _sound(path: Path, format_: str) -> Generator[None]:
    """What cannot be read is one error that names the file."""
    try:
        yield
    except Unreadable as error:
        message = f"{path} is no sound {format_.upper()}: {error}"
        raise InvalidSetting(message, remedy=UNTOUCHED) from error


# -------------------------------------------------------------------------------- what was done


def _done(change: Change, secret: Secret | None, *, dry: bool) -> dict[str, Any]:
    literal = secret.literal if secret else None
    backup = write(change, private=bool(literal)) if change.needed and not dry else None
    return {
        "path": str(change.path),
        "changed": change.needed,
        "backup": str(backup) if backup else None,
        "diff": _diff(change).replace(literal or "\0", "***"),
    }


def _diff(change: Change) -> str:
    """What changes and nothing around it: other servers' secrets may stand there."""
    before, after = (change.before or "").splitlines(), change.after.splitlines()
    names = ("/dev/null" if change.before is None else str(change.path), str(change.path))
    return "\n".join(difflib.unified_diff(before, after, *names, n=0, lineterm=""))


def _tell(done: Sequence[Mapping[str, Any]], after: Sequence[str], *, dry: bool) -> None:
    for file in done:
        if not file["changed"]:
            print(f"{file['path']}: nothing to change")
        elif dry:
            print(file["diff"])
        else:
            backup = f" (as it was: {file['backup']})" if file["backup"] else ""
            print(f"wrote {file['path']}{backup}")
    print("Nothing was written." if dry else "\n".join(after))
