"""What `doctor` says of the droid program."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from factory_mcp.backends.droid_check import INSTALL, process_list, version
from tests.backends.scenario import Stub
from tests.fakes import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.mark.requirement("DROID-14")
@pytest.mark.parametrize(
    ("scenario", "ok", "detail"),
    [
        ({}, True, "version 0.225.2"),
        ({"version": "0.214.9"}, True, "0.214.9 (outside the tested range 0.215.0 to 0.225.2)"),
        ({"version": "1.0.0"}, True, "1.0.0 (outside the tested range 0.215.0 to 0.225.2)"),
        ({"version": "nonsense"}, False, "does not say its version"),
    ],
)
async def test_the_version_is_probed(
    tmp_path: Path, clock: FakeClock, scenario: dict[str, Any], ok: bool, detail: str
) -> None:
    """An untested one is worth a word, none at all is red."""
    program, *_ = await Stub(tmp_path, clock, scenario).cli.check()

    assert ok == program.ok
    assert program.detail.endswith(detail)
    assert ok or program.fix == INSTALL


@pytest.mark.requirement("DROID-14")
async def test_a_program_that_does_not_start_has_no_version(
    tmp_path: Path, clock: FakeClock
) -> None:
    """The launcher says so with its status."""
    stub = Stub(tmp_path, clock, {})
    (stub.folder / "droid").write_bytes(b"\x7fELF nonsense")

    program, *_ = await stub.cli.check()

    assert not program.ok


@pytest.mark.requirement("DROID-14")
async def test_a_program_that_says_nothing_has_no_version_either(tmp_path: Path) -> None:
    """`doctor` does not wait for ever."""
    assert None is await version(["/bin/sleep", "60"], tmp_path, within_s=0.05)


@pytest.mark.requirement("DROID-14")
async def test_a_machine_without_ps_is_told_how_to_get_it(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it the droid kills every command that it runs."""
    monkeypatch.setenv("PATH", str(tmp_path))
    missing = process_list()
    (tmp_path / "ps").touch(mode=0o700)
    _, found, *_ = await Stub(tmp_path, clock, {}).cli.check()

    assert (False, "Debian, Ubuntu: apt-get install procps") == (missing.ok, missing.fix)
    assert ("ps", True, str(tmp_path / "ps")) == (found.name, found.ok, found.detail)


@pytest.mark.requirement("DROID-14")
async def test_access_is_a_key_a_login_or_a_custom_model(tmp_path: Path, clock: FakeClock) -> None:
    """Each way in is named; a variable that would not reach the droid is red."""
    stub = Stub(tmp_path, clock, {})
    factory = tmp_path / "home" / ".factory"
    factory.mkdir(parents=True)
    plain = replace(stub.cli, home=tmp_path / "home", api_key=None)

    async def access(**changes: Any) -> tuple[bool, str, str | None]:
        check = (await replace(plain, **changes).check())[-1]
        return check.ok, check.detail, check.fix

    nothing = await access()
    key = await access(api_key="fk-mine")
    (factory / "config.json").write_text('{"custom_models": [{"model": "a"}]}')
    (factory / "settings.json").write_text("no JSON")
    (factory / "settings.local.json").write_text("[1]")
    (factory / "auth.v2.file").touch()
    both = await access()
    (factory / "settings.json").write_text('{"customModels": [{"apiKey": "${A_KEY}"}]}')
    lost = await access()
    found = await access(env={"A_KEY": "x"})

    assert (False, f"no Factory key, no login and no custom model in {factory}") == nothing[:2]
    assert nothing[2] is not None
    assert (True, "a Factory key", None) == key
    assert (True, "a login, 1 custom model(s)", None) == both
    assert (False, "Set them, and add them to droid_env in config.yaml: [A_KEY]") == lost[::2]
    assert (True, "a login, 2 custom model(s)", None) == found
