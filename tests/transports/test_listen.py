"""The port: loopback only, and who holds a busy one."""

import os
import socket

import pytest

from factory_mcp.domain.errors import InvalidSetting, NotLoopback, PortBusy
from factory_mcp.transports.listen import listen

REACHABLE = ["0.0.0.0", "10.0.0.1", "::", "a.example", ""]  # noqa: S104 — refused, not bound


@pytest.mark.parametrize("host", REACHABLE)
@pytest.mark.requirement("TRANSPORT-7")
def test_an_address_that_others_reach_is_refused(host: str) -> None:
    """There are no keys yet."""
    with pytest.raises(NotLoopback, match="API keys"):
        listen(host, 0)


@pytest.mark.requirement("TRANSPORT-7")
def test_a_busy_port_names_its_holder_and_the_flag() -> None:
    """One error with what to stop, or what else to do."""
    with listen("127.0.0.1", 0) as holder, pytest.raises(PortBusy) as caught:
        listen("127.0.0.1", holder.getsockname()[1])
    assert f"(pid {os.getpid()})" in caught.value.message
    assert "--port" in caught.value.remedy


def test_a_holder_that_the_system_does_not_name_is_another_program() -> None:
    """Somebody has bound the port and does not listen."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        with pytest.raises(PortBusy, match="another program"):
            listen("127.0.0.1", silent.getsockname()[1])


def test_an_address_that_does_not_exist_is_an_invalid_setting() -> None:
    """With the system's words."""
    with pytest.raises(InvalidSetting, match="cannot listen on"):
        listen("::1%nosuch", 0)
