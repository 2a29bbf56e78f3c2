"""What the ports Clock, Rng and Host promise, for this machine's own."""

import json
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import anyio
import pytest

from factory_mcp.domain.model import Owner
from factory_mcp.stores.host import LinuxHost, SystemClock, SystemRng

DAY = 24 * 3600.0

# ------------------------------------------------------------------------ clock, chance


@pytest.mark.requirement("STORE-17")
def test_durations_are_measured_by_a_clock_that_never_goes_back() -> None:
    """The wall clock is another one."""
    clock = SystemClock()
    times = [clock.monotonic() for _ in range(1000)]
    assert sorted(times) == times
    assert clock.now() > 1_700_000_000


@pytest.mark.requirement("STORE-17")
async def test_a_sleep_lasts_as_long_as_it_says_and_can_be_cut_short() -> None:
    """No wait outlives who waits."""
    clock = SystemClock()
    began = clock.monotonic()
    await clock.sleep(0.01)
    assert clock.monotonic() - began >= 0.01
    with anyio.fail_after(10):
        with anyio.move_on_after(0) as cut:
            await clock.sleep(DAY)
        assert cut.cancelled_caught


@pytest.mark.requirement("STORE-17")
def test_chance_has_the_size_and_the_range_that_are_asked_for() -> None:
    """And nothing comes twice."""
    rng = SystemRng()
    tokens = {rng.token(16) for _ in range(100)}
    assert [16] * 100 == [len(token) for token in tokens]
    assert b"" == rng.token(0)
    numbers = {rng.uniform(2.0, 3.0) for _ in range(100)}
    assert 100 == len(numbers)
    assert all(2 <= number <= 3 for number in numbers)


# --------------------------------------------------------------------------------- host


@contextmanager
def child() -> Generator[tuple[subprocess.Popen[str], Owner]]:
    """A process, and itself as an owner of leases."""
    program = "import tests.contracts.test_clock_and_host as it; it.say_who_i_am()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process, Owner(**json.loads(process.stdout.readline()))


def say_who_i_am() -> None:
    """What the child does, until its stdin ends."""
    print(json.dumps(asdict(LinuxHost().me())), flush=True)  # noqa: T201
    sys.stdin.read()


@pytest.mark.requirement("STORE-18")
def test_a_process_is_dead_once_it_has_ended() -> None:
    """Not before; and then also while its parent has not waited for it yet."""
    host = LinuxHost()
    assert not host.is_dead(host.me())
    with child() as (process, owner):
        assert not host.is_dead(owner)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert host.is_dead(owner)
    assert host.is_dead(owner)


@pytest.mark.requirement("STORE-18")
def test_a_pid_that_another_process_has_now_is_no_sign_of_life() -> None:
    """The start time tells them apart."""
    host = LinuxHost()
    assert host.is_dead(replace(host.me(), started="1"))


@pytest.mark.requirement("STORE-18")
@pytest.mark.parametrize("place", [{"boot_id": "of another machine"}, {"pid_ns": "pid:[1]"}])
def test_nothing_is_known_of_a_process_elsewhere(place: dict[str, str]) -> None:
    """On another machine, before a restart, in another container."""
    host = LinuxHost()
    assert not host.is_dead(replace(host.me(), **place, pid=2**22 + 1, started="1"))


@pytest.mark.requirement("STORE-18")
def test_each_start_of_the_program_is_an_owner_of_its_own() -> None:
    """Which owns the leases of no other one."""
    one, other = LinuxHost().me(), LinuxHost().me()
    assert one.id != other.id
    assert one == replace(other, id=one.id)


def proc(folder: Path, **stats: str) -> LinuxHost:
    """A host whose /proc shows these processes, and this one."""
    for name, text in {f"pid_{os.getpid()}": f"{os.getpid()} (me) S" + " 9" * 20, **stats}.items():
        (folder / name.removeprefix("pid_")).mkdir()
        (folder / name.removeprefix("pid_") / "stat").write_text(text)
    (folder / "sys/kernel/random").mkdir(parents=True)
    (folder / "sys/kernel/random/boot_id").write_text("boot\n")
    (folder / "self/ns").mkdir(parents=True)
    (folder / "self/ns/pid").symlink_to("pid:[7]")
    return LinuxHost(folder)


@pytest.mark.requirement("STORE-18")
def test_a_process_may_have_any_name(tmp_path: Path) -> None:
    """Its start time is still the twenty-second field."""
    host = proc(tmp_path, pid_5="5 (a) b (c) S" + " 0" * 18 + " 77 0", pid_6="6 (x) Z" + " 0" * 20)
    owner = replace(host.me(), pid=5)
    assert ("boot", "pid:[7]") == (owner.boot_id, owner.pid_ns)
    assert not host.is_dead(replace(owner, started="77"))
    assert host.is_dead(replace(owner, started="78"))
    assert host.is_dead(replace(owner, pid=6, started="0"))


@pytest.mark.requirement("STORE-18")
def test_what_cannot_be_read_says_nothing(tmp_path: Path) -> None:
    """Where there is no /proc nobody is ever declared dead."""
    blind = LinuxHost(tmp_path / "nowhere")
    assert not blind.is_dead(replace(blind.me(), pid=2**22 + 1))
    host = proc(tmp_path)
    (tmp_path / "8" / "stat").mkdir(parents=True)
    assert not host.is_dead(replace(host.me(), pid=8))
